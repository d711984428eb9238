"""A task that must go on forever -> the same task started again after a bug, so that none ends the others."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

RESTART = 30.0  # seconds before what met a bug of ours starts again

log = structlog.get_logger()


async def restart_on_crash(run: Callable[[], Awaitable[None]], **who: str) -> None:
    """`who` is told with the bug; never returns."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("task crashed; restarting in 30 s", **who)
            await asyncio.sleep(RESTART)
