"""An application and addresses -> listening sockets that serve it."""

import re

from aiohttp import web

SHUTDOWN_GRACE = 2.0  # seconds for answers under way


class AddressError(ValueError):
    """A listen address that means nothing; says what was wanted."""


async def listen(app: web.Application, addresses: list[str]) -> web.AppRunner:
    """Serve on all of these addresses; the caller cleans the runner up.

    :raise OSError: one of them cannot be bound.
    :raise AddressError: one of them is none.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_GRACE)
    await runner.setup()
    try:
        for address in addresses:
            await _site(runner, address).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def _site(runner: web.AppRunner, address: str) -> web.BaseSite:
    """`:PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`."""
    if address.startswith("unix:/"):
        return web.UnixSite(runner, address.removeprefix("unix:"))
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"{address!r}: wanted :PORT, HOST:PORT, [IPV6]:PORT or unix:/path")
    return web.TCPSite(runner, match["six"] or match["host"] or None, int(match["port"]))
