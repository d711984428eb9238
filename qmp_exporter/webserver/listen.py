"""An application and listening sockets -> it is served there."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence

from aiohttp import web, web_response

from qmp_exporter.runtime.supervisor import restart_on_crash
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.connections import LIMITS, Connections, Limits
from qmp_exporter.webserver.metrics import Metrics

SHUTDOWN_GRACE = 1.0  # seconds for answers under way; aiohttp waits for it twice

# aiohttp would write a traceback for every port scanner, and a bug of ours never gets to it.
_silent = logging.getLogger(__name__)
_silent.setLevel(logging.CRITICAL + 1)
# aiohttp would name its own version and Python's in every answer, and so their known faults. It has no setting for it,
# and calls no hook for the answers that it makes itself, such as the one to a request that is no HTTP.
web_response.SERVER_SOFTWARE = "qmp-exporter"  # type: ignore[attr-defined]  # an import of its own


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
