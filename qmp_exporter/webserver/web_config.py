"""A web configuration file, in the exporter-toolkit's format → who may ask, and how answers travel."""

import platform
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from qmp_exporter.documents.check import checked
from qmp_exporter.documents.document import ConfigError, Document, Location, Wrong, quoted, read
from qmp_exporter.documents.duration import between
from qmp_exporter.documents.file import content_of, lines, text_of
from qmp_exporter.webserver.settings import Pem, RateLimit, Tls, WebConfig
from qmp_exporter.webserver.suites import CIPHERS, CURVES, can_be_set

PEM_BYTES: Final = 1 << 20
COST: Final = 15  # of a bcrypt hash; at that, each new password takes two seconds of a core
NO_CLIENTS: Final = "NoClientCert"
# The toolkit lets these be set and no others; only some values of some.
HEADERS: Final = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}


def load(path: Path) -> WebConfig:
    """Read it and the certificates that it names.

    :raise ConfigError: with every mistake.
    """
    document = read(text_of(path), str(path), 'wanted at least "{}"')
    content = checked(File, document)
    config = content.config(document, path) if content else None
    if config is None or document.wrongs:
        raise ConfigError(lines(str(path), document.wrongs))
    return config


def _one_of(names: Collection[str], why: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """`why`: what others know and we cannot have."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"wanted {' or '.join(names)}" + (f": {why[name]}" if why and name in why else ""))
        return name

    return check


def _hash(value: object) -> bytes:
    """A mistake must not show the value: it may be the password itself."""
    match = re.fullmatch(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", value) if isinstance(value, str) else None
    if match is None:
        wanted = 'found something else, wanted a bcrypt hash, such as `htpasswd -nBC 10 ""` prints without its colon'
        raise PydanticCustomError("secret", wanted)
    if not 4 <= int(match[1]) <= COST:
        text = "found a bcrypt hash of cost {cost}, wanted one of 4 to {most}: each check would take seconds of CPU"
        raise PydanticCustomError("secret", text, {"cost": int(match[1]), "most": COST})
    return match[0].encode()


def _pem(value: object) -> str:
    if not isinstance(value, str) or "-----BEGIN " not in value:
        raise PydanticCustomError("secret", "found something else, wanted text in PEM, with -----BEGIN and -----END")
    return value


_VERIFIED: Final = (NO_CLIENTS, "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
_UNVERIFIED: Final = dict.fromkeys(
    ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"),
    "OpenSSL, as Python has it, asks for no certificate without verifying it",
)
_OLD: Final = dict.fromkeys(("TLS10", "TLS11"), "OpenSSL no longer speaks it at its usual security level")
_Pem = Annotated[str, BeforeValidator(_pem)]
_Version = Annotated[str, AfterValidator(_one_of(("TLS12", "TLS13"), _OLD))]
_Cipher = Annotated[str, AfterValidator(_one_of(CIPHERS))]
_Curve = Annotated[str, AfterValidator(_one_of(CURVES))]


_OTHER_WAY: Final = "OpenSSL's own configuration can, as docs/web.md shows"


def _single(curves: list[str]) -> list[str]:
    if len(curves) > 1:
        raise ValueError(f"wanted a single one: Python cannot set more of them before its 3.15; {_OTHER_WAY}")
    return curves


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class TlsServer(_Strict):
    cert: _Pem | None = None
    cert_file: str | None = None
    key: _Pem | None = None
    key_file: str | None = None
    client_ca: _Pem | None = None
    client_ca_file: str | None = None
    client_auth_type: Annotated[str, AfterValidator(_one_of(_VERIFIED, _UNVERIFIED))] = NO_CLIENTS
    client_allowed_sans: list[str] | None = Field(None, min_length=1)
    min_version: _Version = "TLS12"
    max_version: _Version = "TLS13"
    cipher_suites: list[_Cipher] | None = None
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[list[_Curve], AfterValidator(_single)] | None = None


class HttpServer(_Strict):
    http2: bool = False  # the toolkit's default is true; we have no HTTP/2 to offer
    headers: dict[Annotated[str, AfterValidator(_one_of(HEADERS))], str] | None = None


class Rate(_Strict):
    interval: Annotated[float, BeforeValidator(between("0s", "1h", "100ms"))] = 0.0
    burst: int = Field(1, ge=1)


class File(_Strict):
    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer | None = None
    basic_auth_users: dict[str, Annotated[bytes, BeforeValidator(_hash)]] | None = None
    rate_limit: Rate | None = None

    def config(self, document: Document, path: Path) -> WebConfig:
        http = self.http_server_config or HttpServer()
        limit = self.rate_limit
        files = _Files(document, path)
        headers = http.headers or {}
        _check_headers(headers, document)
        return WebConfig(
            tls=_tls(self.tls_server_config, files) if self.tls_server_config else None,
            headers=headers,
            users=self.basic_auth_users or {},
            rate_limit=RateLimit(limit.interval, limit.burst) if limit and limit.interval else None,
            http2=http.http2,
            files=(path, *files.read),
        )


def _check_headers(headers: Mapping[str, str], document: Document) -> None:
    for name, value in headers.items():
        wanted = " or ".join(HEADERS[name]) if HEADERS[name] else "printable ASCII"
        if value not in HEADERS[name] if HEADERS[name] else not (value.isprintable() and value.isascii()):
            location = ("http_server_config", "headers", name)
            text = f"found {document.found(location, value)}, wanted {wanted}"
            document.wrongs.append(Wrong(document.values[location], location, text))


class _Files:
    """Reads what `tls_server_config` names, and keeps what is wrong with it."""

    def __init__(self, document: Document, path: Path) -> None:
        self.read: list[Path] = []
        self._document = document
        self._path = path

    def wrong(self, key: str, text: str) -> None:
        location = ("tls_server_config", key)
        known = self._document.values
        self._document.wrongs.append(Wrong(known.get(location, known[location[:-1]]), location, text))

    def pem(self, server: TlsServer, key: str) -> Pem | None:
        """What is said by `key`, or is in the file that `key`_file names."""
        text, name = getattr(server, key), getattr(server, f"{key}_file")
        if text is not None and name is not None:
            self.wrong(key, f"found this and {key}_file, wanted one of them")
        if text is not None:
            return self._located(key, text.encode())
        return self._from_file(f"{key}_file", self._path.parent / name) if name is not None else None

    def _from_file(self, key: str, path: Path) -> Pem | None:
        self.read.append(path)
        try:
            return self._located(key, content_of(path, PEM_BYTES))  # bounded: a device may never end
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            why = error.strerror if isinstance(error, OSError) else str(error)
            self.wrong(key, f"{quoted(str(path))} cannot be read: {why}")
            return None

    def _located(self, key: str, text: bytes) -> Pem:
        location: Location = ("tls_server_config", key)
        (where,) = lines(str(self._path), [Wrong(self._document.values[location], location, "")])
        return Pem(text, where)


def _curve(server: TlsServer, files: _Files) -> str | None:
    """OpenSSL's name of the one that is said; None: those that OpenSSL takes for good."""
    for name in server.curve_preferences or ():
        if not can_be_set(CURVES[name]):
            wanted = " or ".join(other for other, curve in CURVES.items() if can_be_set(curve))
            why = f"Python {platform.python_version()} cannot set it"
            files.wrong("curve_preferences", f"found {quoted(name)}, wanted {wanted}: {why}; {_OTHER_WAY}")
        return CURVES[name]
    return None


def _tls(server: TlsServer, files: _Files) -> Tls | None:
    cert, key, client_ca = (files.pem(server, name) for name in ("cert", "key", "client_ca"))
    for name in ("cert", "key"):
        if getattr(server, name) is None and getattr(server, f"{name}_file") is None:
            files.wrong(f"{name}_file", f"missing, wanted {name} or {name}_file: without, there is no TLS")
    has_ca = server.client_ca is not None or server.client_ca_file is not None
    if has_ca and server.client_auth_type == NO_CLIENTS:
        text = f"wanted {' or '.join(_VERIFIED[1:])}, for there is a client CA"
        files.wrong("client_auth_type", text)
    if not has_ca and server.client_auth_type != NO_CLIENTS:
        files.wrong("client_auth_type", "wanted client_ca or client_ca_file with it: whose certificates are good?")
    if server.client_allowed_sans is not None and server.client_auth_type != _VERIFIED[-1]:
        files.wrong("client_allowed_sans", f"wanted client_auth_type: {_VERIFIED[-1]} with it")
    if server.min_version > server.max_version:
        files.wrong("min_version", f"found {server.min_version}, wanted no more than max_version")
    ciphers = tuple(CIPHERS[name] for name in server.cipher_suites or () if CIPHERS[name])
    if server.cipher_suites and not ciphers and server.max_version == "TLS12":
        files.wrong("cipher_suites", "found only suites of TLS 1.3, wanted one that TLS 1.2 has")
    curve = _curve(server, files)
    if cert is None or key is None:
        return None
    return Tls(
        cert,
        key,
        client_ca,
        server.client_auth_type,
        None if server.client_allowed_sans is None else frozenset(server.client_allowed_sans),
        # As in Go: who names no suite that TLS 1.2 has, speaks TLS 1.3 alone.
        "TLS13" if server.cipher_suites and not ciphers else server.min_version,
        server.max_version,
        ciphers or None,
        server.prefer_server_cipher_suites,
        curve,
    )
