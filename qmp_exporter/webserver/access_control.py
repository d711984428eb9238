"""A web configuration file, whenever it changes -> TLS for each connection, and whether a request is answered.

The file and the certificates that it names are read in a thread: they may be on a storage that hangs, which must not
hang the exporter. What has become bad changes nothing and is reported; it is read again when it changes, or later.
"""

import asyncio
import ssl
import time
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from qmp_exporter.documents.document import ConfigError
from qmp_exporter.runtime.bucket import Bucket
from qmp_exporter.runtime.threads import run_in_daemon_thread
from qmp_exporter.webserver.metrics import Metrics
from qmp_exporter.webserver.passwords import Passwords, TooManyChecks
from qmp_exporter.webserver.policy import Policy, file_stamps, rules
from qmp_exporter.webserver.settings import RateLimit
from qmp_exporter.webserver.tls import alternative_names

CHECK_EVERY: Final = 1.0  # seconds between two checks of the files: a stat() of each
RETRY: Final = 10.0  # seconds until what was bad is read again, though it looks the same: it may name a file that comes
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="qmp-exporter", charset="UTF-8"'}

log = structlog.get_logger()


class AccessControl:
    """Knows who may come in: everybody in plain HTTP, unless there is a file."""

    def __init__(self, rules: Policy, stats: Metrics) -> None:
        self._stats = stats
        self._rules = rules
        self._passwords = Passwords(rules.config.users)
        self._bucket = _bucket(rules.config.rate_limit)
        self._seen = self._changed = rules.stamps
        self._errors: tuple[str, ...] = ()
        self._read_at = time.monotonic()
        stats.web_config_successful.set(1)
        if rules.config.http2:
            log.info("HTTP/2 is asked for in the web configuration, but HTTP/1.1 is what there is")

    @property
    def context(self) -> ssl.SSLContext | None:
        """For the next connection; None: it is not encrypted."""
        return self._rules.context

    def admits(self, certificate: object) -> bool:
        """Whether the owner of this certificate, which OpenSSL has verified (getpeercert()), may come in."""
        tls = self._rules.config.tls
        return tls is None or tls.client_sans is None or bool(tls.client_sans & alternative_names(certificate))

    async def run(self) -> None:
        """Look at the files now and then; never returns."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            if self._rules.config.files:
                await self.check()

    async def check(self) -> None:
        """Wait for a hanging storage as long as it takes: another try would hang beside it.

        A change counts when a second look finds the same: until then somebody may still be writing.
        """
        files = self._rules.config.files
        seen = await run_in_daemon_thread(partial(file_stamps, files))
        is_still_written = seen != self._changed
        self._changed = seen
        is_retry = bool(self._errors) and time.monotonic() - self._read_at > RETRY
        if is_still_written or (seen == self._seen and not is_retry):
            return
        self._seen, self._read_at = seen, time.monotonic()
        try:
            new = await run_in_daemon_thread(partial(rules, files[0]))
        except ConfigError as error:
            self._keep(error.errors)
            return
        if weaker := _weaker(self._rules, new):
            self._keep((f"{files[0]}: found {weaker}, which takes a restart",))
        else:
            self._use(new)

    def _keep(self, errors: tuple[str, ...]) -> None:
        self._stats.web_config_successful.set(0)
        for line in errors if errors != self._errors else ():
            log.error("bad web configuration; the one before holds", error=line)
        self._errors = errors

    def _use(self, new: Policy) -> None:
        before = self._rules.config
        self._rules, self._seen, self._errors = new, new.stamps, ()
        self._stats.web_config_successful.set(1)
        if new.config.users != before.users:
            self._passwords = Passwords(new.config.users)
        if new.config.rate_limit != before.rate_limit:
            self._bucket = _bucket(new.config.rate_limit)
        log.info("web configuration was read again", file=str(new.config.files[0]))

    async def headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """For on_response_prepare. What a page says for itself is more exact."""
        for name, value in self._rules.config.headers.items():
            response.headers.setdefault(name, value)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """In the toolkit's order: the rate comes first, so that guessing is limited by it too."""
        if self._bucket and not self._bucket.take(time.monotonic()):
            return self._refuse("rate_limit", web.Response(status=429, text="Too Many Requests\n"))
        if not self._passwords.users:
            return await handler(request)
        try:
            admitted = await self._passwords.admit(request.headers.get("Authorization", ""), request.remote or "")
        except TooManyChecks:
            return self._refuse("checks", web.Response(status=429, text="Too many passwords are being checked\n"))
        if not admitted:
            return self._refuse("password", web.Response(status=401, text="Unauthorized\n", headers=CHALLENGE))
        return await handler(request)

    def _refuse(self, reason: str, response: web.Response) -> web.Response:
        self._stats.http_refused.labels(reason).inc()
        return response


def _weaker(old: Policy, new: Policy) -> str:
    """What a change of the file must not do by itself: half of a file that is written is a good file, too."""
    if (new.context is None) != (old.context is None):
        return "TLS switched on or off"
    if old.config.users and not new.config.users:
        return "no users any more"
    if old.config.tls and old.config.tls.client_ca and not (new.config.tls and new.config.tls.client_ca):
        return "no authority of clients any more"
    return ""


def _bucket(limit: RateLimit | None) -> Bucket | None:
    return Bucket(limit.interval, limit.burst, time.monotonic()) if limit else None
