"""A MemoryError, wherever it is met -> the process ends at once, so that the one who watches it starts it again.

A process that goes on would refuse its clients one by one and still say that it is alive. Nothing is told by it, for
that takes memory: its exit status says it.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

EXIT_STATUS: Final = 3


def end_when_met_by(loop: asyncio.AbstractEventLoop) -> None:
    """From now on; what a callback or a transport meets comes nowhere else."""
    loop.set_exception_handler(_handle)


@contextlib.contextmanager
def ends_the_process() -> Iterator[None]:
    """Around what somebody else would catch, and take for a bug."""
    try:
        yield
    except MemoryError:
        os._exit(EXIT_STATUS)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(context.get("exception"), MemoryError):
        os._exit(EXIT_STATUS)
    loop.default_exception_handler(context)
