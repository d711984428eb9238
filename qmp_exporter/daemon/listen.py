"""An application and addresses -> listening sockets that serve it."""

import asyncio
import contextlib
import logging
import re
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from qmp_exporter.daemon.connections import LIMITS, Connections, Limits, Tls
from qmp_exporter.daemon.selfstats import Selfstats

SHUTDOWN_GRACE = 1.0  # seconds for answers under way; aiohttp waits for it twice
BACKLOG = 128  # connections that the kernel holds until they are accepted

# aiohttp would write a traceback for every port scanner, and a bug of ours never gets to it.
_silent = logging.getLogger(__name__)
_silent.setLevel(logging.CRITICAL + 1)


class AddressError(ValueError):
    """A listen address that means nothing; says what was wanted."""


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, addresses: Sequence[str], tls: Tls, stats: Selfstats, limits: Limits = LIMITS
) -> AsyncIterator[list[Any]]:
    """Serve on all of these addresses; gives what they became: a port 0 is another one now.

    :raise OSError: one of them cannot be bound.
    :raise AddressError: one of them is none.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=SHUTDOWN_GRACE,
        keepalive_timeout=2 * limits.idle,  # never: the connections have their own deadlines
        lingering_time=0.0,  # no request has a body that would have to be waited for
        logger=_silent,
    )

    def make_handler() -> asyncio.Protocol:
        assert runner.server is not None  # noqa: S101  it is there from setup() to cleanup()
        return runner.server()

    connections = Connections(make_handler, tls, stats, limits)
    app.middlewares.insert(0, connections.middleware)
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(listener) for address in addresses for listener in await _bound(address)]
        await runner.setup()
        async with asyncio.TaskGroup() as group:
            accepting = [group.create_task(connections.accept(listener, group)) for listener in listeners]
            try:
                yield [listener.getsockname() for listener in listeners]
            finally:
                for task in accepting:
                    task.cancel()
                await runner.cleanup()
                connections.close()


async def _bound(address: str) -> list[socket.socket]:
    """`:PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`; a host may have several addresses."""
    if address.startswith("unix:/"):
        return [_unix(address.removeprefix("unix:"))]
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"{address!r}: wanted :PORT, HOST:PORT, [IPV6]:PORT or unix:/path")
    host = match["six"] or match["host"] or None
    # asyncio knows how to bind to all that a host means; accepting is another matter.
    bound = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host, int(match["port"]), start_serving=False
    )
    listeners = [listener.dup() for listener in bound.sockets]
    bound.close()
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def _unix(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            Path(path).unlink()  # of the exporter before this one
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener
