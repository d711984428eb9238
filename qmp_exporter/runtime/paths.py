"""Calls that look up a path -> their results, from threads: behind a path may be a storage that hangs.

A directory that hangs holds one thread, and the one who asks for another path in it is told so at once.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final, TypeVar

from qmp_exporter.runtime.threads import run_in_daemon_thread

DEADLINE: Final = 2.0  # seconds
LAST_WAIT: Final = 0.1  # seconds at most that one who is cancelled waits, so that nothing that was made is lost
AT_ONCE: Final = 64  # threads, and those that hang

T = TypeVar("T")


class UnresponsiveError(OSError):
    """The file system does not answer."""

    def __init__(self, path: str) -> None:
        super().__init__(None, "the file system does not answer", path)


class PathCalls:
    def __init__(self) -> None:
        self._hanging: set[str] = set()  # directories
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self, path: str, call: Callable[[], T], dispose: Callable[[T], None] = lambda _: None) -> T:
        """What `call` returns or raises, which looks up this path; `dispose` gets what comes too late.

        :raise UnresponsiveError: it takes longer than DEADLINE, or another one in that directory does.
        """
        directory = os.path.dirname(path)  # noqa: PTH120  no Path is needed for it
        async with self._room:
            if directory in self._hanging:
                raise UnresponsiveError(path)
            result = run_in_daemon_thread(call)
            try:
                await asyncio.wait([result], timeout=DEADLINE)
            except asyncio.CancelledError:
                await asyncio.wait([result], timeout=LAST_WAIT)
                if result.done():
                    self._came_late(directory, result, dispose)
                raise
            finally:
                if not result.done():
                    self._hanging.add(directory)
                    result.add_done_callback(lambda late: self._came_late(directory, late, dispose))
        if not result.done():
            raise UnresponsiveError(path)
        return result.result()

    def _came_late(self, directory: str, late: "asyncio.Future[T]", dispose: Callable[[T], None]) -> None:
        self._hanging.discard(directory)
        if not late.cancelled() and late.exception() is None:
            dispose(late.result())
