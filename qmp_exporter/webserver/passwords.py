"""An Authorization header -> whether it names a user and the password; bcrypt runs in a thread, one at a time.

A check takes 50 ms of a core by design. Prometheus pays that once: what was right is remembered for each user, and
nothing that others send can push it out. Those who guess stand in line, one line for each address, and only the first
of every line counts in the common one: the one who comes from somewhere else is next but one.
"""

import asyncio
import base64
import hmac
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Final

import bcrypt

from qmp_exporter.runtime.threads import run_in_daemon_thread

LINE: Final = 8  # who may stand in one address' line
REMEMBERED: Final = 256  # wrong ones, so that a scraper with an old password costs little
BCRYPT_BYTES: Final = 72  # of a password; bcrypt takes no more, and Go ignores the rest


class TooManyChecks(Exception):
    """From one address; a later one may get its turn."""


class Passwords:
    def __init__(self, users: Mapping[str, bytes]) -> None:
        self.users = users
        self._key = os.urandom(32)  # what is kept in memory is worth nothing elsewhere
        self._right: dict[str, bytes] = {}  # user -> digest of the password
        self._wrong: dict[bytes, None] = {}  # digests, the oldest first
        self._standing: Counter[str] = Counter()
        self._lines: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._common = asyncio.Lock()

    async def admit(self, authorization: str, address: str) -> bool:
        """Whether a request with this header may be answered.

        :raise TooManyChecks: LINE of this address are standing there already.
        """
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        digest = hmac.digest(self._key, authorization.encode(errors="surrogateescape"), "sha256")
        known = self._known(user, digest)
        if known is not None:
            return known
        if self._standing[address] >= LINE:
            raise TooManyChecks
        self._standing[address] += 1
        try:
            async with self._lines[address], self._common:
                return await self._check(user, password, digest)
        finally:
            self._standing[address] -= 1
            if not self._standing[address]:
                del self._standing[address], self._lines[address]

    def _known(self, user: str, digest: bytes) -> bool | None:
        if hmac.compare_digest(self._right.get(user, b""), digest):
            return True
        return False if digest in self._wrong else None

    async def _check(self, user: str, password: bytes, digest: bytes) -> bool:
        known = self._known(user, digest)
        if known is not None:  # somebody before us in the line asked the same
            return known
        # A user that there is not costs the same time as one that there is, and is refused after it.
        hashed = self.users.get(user) or next(iter(self.users.values()))
        right = (
            await run_in_daemon_thread(partial(bcrypt.checkpw, password[:BCRYPT_BYTES], hashed)) and user in self.users
        )
        if right:
            self._right[user] = digest
        else:
            self._wrong[digest] = None
            if len(self._wrong) > REMEMBERED:
                del self._wrong[next(iter(self._wrong))]
        return right


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:  # binascii.Error is one
        return None
    return (user.decode(errors="surrogateescape"), password) if colon and scheme.lower() == "basic" else None
