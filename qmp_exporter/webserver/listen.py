"""Addresses -> listening sockets; with an application -> it is served there."""

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from aiohttp import web, web_response

from qmp_exporter.runtime.own_socket import make_way
from qmp_exporter.runtime.supervisor import restart_on_crash
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.connections import LIMITS, Connections, Limits
from qmp_exporter.webserver.metrics import Metrics

SHUTDOWN_GRACE = 1.0  # seconds for answers under way; aiohttp waits for it twice
BACKLOG = 128  # connections that the kernel holds until they are accepted

# aiohttp would write a traceback for every port scanner, and a bug of ours never gets to it.
_silent = logging.getLogger(__name__)
_silent.setLevel(logging.CRITICAL + 1)
# aiohttp would name its own version and Python's in every answer, and so their known faults. It has no setting for it,
# and calls no hook for the answers that it makes itself, such as the one to a request that is no HTTP.
web_response.SERVER_SOFTWARE = "qmp-exporter"  # type: ignore[attr-defined]  # an import of its own


def named(listener: socket.socket) -> str:
    """As it would be given to --web.listen-address."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{address}"
    return f"[{address[0]}]:{address[1]}" if listener.family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


class AddressError(ValueError):
    """A listen address that means nothing; says what was wanted."""


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    listeners: Sequence[socket.socket],
    access: AccessControl,
    stats: Metrics,
    limits: Limits = LIMITS,
) -> AsyncIterator[None]:
    """Serve on all of these sockets, which are closed in the end."""
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

    connections = Connections(make_handler, access, stats, limits)
    app.middlewares.extend([connections.middleware, access.middleware])
    app.on_response_prepare.append(access.headers)
    with contextlib.ExitStack() as opened:
        for listener in listeners:
            opened.enter_context(listener)
        await runner.setup()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(connections.accept(listener, group)) for listener in listeners]
            running.append(group.create_task(restart_on_crash(access.run)))
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
                await runner.cleanup()
                connections.close()


async def bound(addresses: Iterable[str]) -> list[socket.socket]:
    """`:PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`, each -> what listens there.

    :raise OSError: one of them, its `filename`, cannot be bound.
    :raise AddressError: one of them is none.
    """
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                listeners += await _bound(address)
            except (
                OSError
            ) as error:  # asyncio's own words bury the reason in a tuple; getaddrinfo has numbers of its own
                why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
                raise OSError(error.errno, why, f"cannot listen on {address}") from error
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


async def _bound(address: str) -> list[socket.socket]:
    """More than one for a host that has several addresses."""
    if address.startswith("unix:/"):
        return [_unix(address.removeprefix("unix:"))]
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"{address!r}: wanted :PORT, HOST:PORT, [IPV6]:PORT or unix:/path")
    host = match["six"] or match["host"] or None
    # asyncio knows how to bind to all that a host means; accepting is another matter.
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host, int(match["port"]), start_serving=False
    )
    listeners = [listener.dup() for listener in server.sockets]
    server.close()
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def _unix(path: str) -> socket.socket:
    make_way(Path(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener
