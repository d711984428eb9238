"""What a web configuration file says, once it was read; without what reads it, which takes 10 MiB."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Pem:
    """A certificate or a key, and the place in the configuration that it is said at."""

    text: bytes = field(repr=False)
    where: str


@dataclass(frozen=True)
class Tls:
    cert: Pem
    key: Pem
    client_ca: Pem | None
    client_auth: str  # NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert
    client_sans: frozenset[str] | None  # None: the one who the CA has signed
    min_version: str  # TLS12 or TLS13
    max_version: str
    ciphers: tuple[str, ...] | None  # OpenSSL's names of those before TLS 1.3; None: what OpenSSL takes for good
    server_order: bool
    curve: str | None  # OpenSSL's name


@dataclass(frozen=True)
class RateLimit:
    interval: float  # seconds in which one request is earned
    burst: int


@dataclass(frozen=True)
class WebConfig:
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # -> bcrypt hash
    rate_limit: RateLimit | None = None
    http2: bool = False  # it was asked for
    files: tuple[Path, ...] = ()  # that it was read from
