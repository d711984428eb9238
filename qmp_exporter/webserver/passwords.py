"""An Authorization header -> whether it names a user and the password; bcrypt runs in a thread, one at a time.

A check takes 50 ms of a core by design. Prometheus pays that once: what was right is remembered for each user, and
nothing that others send can push it out. Those who guess stand in line, one line for each network, and only the first
of every line counts in the common one: the one who comes from somewhere else is next but one. The common one is short,
and after a wrong password the processor rests as long as it has worked: guessing takes half of a core at most.
"""

import asyncio
import base64
import hmac
import ipaddress
import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Final, TypeVar

import bcrypt

from qmp_exporter.runtime.threads import run_in_daemon_thread

LINE: Final = 8  # who may stand in the line of one network
COMMON: Final = 16  # lines; beyond it only networks that knew a password: a right one waits some seconds at most
REMEMBERED: Final = 256  # networks, and wrong passwords, so that a scraper with an old password costs little
BCRYPT_BYTES: Final = 72  # of a password; bcrypt takes no more, and Go ignores the rest

T = TypeVar("T")


class TooManyChecks(Exception):
    """A later request may get its turn."""


class Passwords:
    def __init__(self, users: Mapping[str, bytes]) -> None:
        self.users = users
        self._key = os.urandom(32)  # what is kept in memory is worth nothing elsewhere
        self._right: dict[str, bytes] = {}  # user -> digest of the password
        self._wrong: dict[bytes, None] = {}  # digests, the oldest first
        self._standing: Counter[str] = Counter()
        self._welcome: dict[str, None] = {}  # networks from which a right password came, the oldest first
        self._lines: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._common = asyncio.Lock()

    async def admit(self, authorization: str, address: str) -> bool:
        """Whether a request with this header may be answered.

        :raise TooManyChecks: LINE of its network are standing there already, or COMMON networks.
        """
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        digest = hmac.digest(self._key, authorization.encode(errors="surrogateescape"), "sha256")
        known = self._known(user, digest)
        if known is not None:
            return known
        network = network_of(address)
        is_full = network not in self._standing and len(self._standing) >= COMMON and network not in self._welcome
        if is_full or self._standing.get(network, 0) >= LINE:
            raise TooManyChecks
        self._standing[network] += 1
        try:
            async with self._lines[network], self._common:
                return await self._check(user, password, digest, network)
        finally:
            self._standing[network] -= 1
            if not self._standing[network]:
                del self._standing[network], self._lines[network]

    def _known(self, user: str, digest: bytes) -> bool | None:
        if hmac.compare_digest(self._right.get(user, b""), digest):
            return True
        return False if digest in self._wrong else None

    async def _check(self, user: str, password: bytes, digest: bytes, network: str) -> bool:
        known = self._known(user, digest)
        if known is not None:  # somebody before us in the line asked the same
            return known
        hashed = self.users.get(user) or self._hash_for_nobody(user)
        began = time.monotonic()
        fits = await run_in_daemon_thread(partial(bcrypt.checkpw, password[:BCRYPT_BYTES], hashed))
        if fits and user in self.users:
            self._right[user] = digest
            _remember(self._welcome, network)
            return True
        _remember(self._wrong, digest)
        await asyncio.sleep(time.monotonic() - began)
        return False

    def _hash_for_nobody(self, user: str) -> bytes:
        """A user that there is not costs the time of one that there is, always of the same, and is refused after it."""
        hashes = tuple(self.users.values())
        number = int.from_bytes(hmac.digest(self._key, user.encode(errors="surrogateescape"), "sha256"), "big")
        return hashes[number % len(hashes)]


def network_of(address: str) -> str:
    """What one who guesses has many addresses of: a /24 of IPv4, a /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # of a unix socket there is none
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(ipaddress.ip_network((mapped, 24 if mapped.version == 4 else 64), strict=False))


def _remember(kept: dict[T, None], new: T) -> None:
    kept[new] = None
    if len(kept) > REMEMBERED:
        del kept[next(iter(kept))]


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:  # binascii.Error is one
        return None
    return (user.decode(errors="surrogateescape"), password) if colon and scheme.lower() == "basic" else None
