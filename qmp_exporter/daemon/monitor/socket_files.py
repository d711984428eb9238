"""Paths of sockets and what was seen there -> who waits for one is told when it is another, each second.

Nothing tells of a new file without being polled. One thread looks at all of them; where it hangs, that directory is
left out until it answers.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

from qmp_exporter.daemon.monitor.approach import FileStamp, file_stamp
from qmp_exporter.runtime.paths import DEADLINE
from qmp_exporter.runtime.threads import run_in_daemon_thread
from qmp_exporter.runtime.waiting import happens

CHECK_EVERY: Final = 1.0  # seconds; a stat costs nobody anything


class _Wait:
    def __init__(self, path: str, seen: FileStamp | None) -> None:
        self.path = path
        self.directory = os.path.dirname(path)  # noqa: PTH120  no Path is needed for it
        self.seen = seen
        self.changed = asyncio.Event()


class SocketFiles:
    def __init__(self) -> None:
        self._waiting: dict[_Wait, None] = {}
        self._hanging: set[str] = set()  # directories
        self._checking: asyncio.Task[None] | None = None

    async def has_changed(self, path: str, seen: FileStamp | None, seconds: float) -> bool:
        """Wait until there is another file than was seen, but no longer than some seconds."""
        wait = _Wait(path, seen)
        self._waiting[wait] = None
        if self._checking is None or self._checking.done():
            self._checking = asyncio.get_running_loop().create_task(self._check())
        try:
            return await happens(wait.changed, seconds)
        finally:
            del self._waiting[wait]

    async def _check(self) -> None:
        while self._waiting:
            await asyncio.sleep(CHECK_EVERY)
            waits = [wait for wait in self._waiting if wait.directory not in self._hanging]
            for wait, stamp in zip(waits, await self._stamps(waits), strict=False):
                if stamp != wait.seen:
                    wait.changed.set()

    async def _stamps(self, waits: Sequence[_Wait]) -> Sequence[FileStamp | None]:
        """Of the first ones, if one of them hangs; the others are looked at the next time."""
        stamps: list[FileStamp | None] = []

        def check() -> None:
            for wait in waits:
                stamps.append(file_stamp(wait.path))  # noqa: PERF401  the caller sees how far it has come

        checking = run_in_daemon_thread(check)
        await asyncio.wait([checking], timeout=DEADLINE)
        if not checking.done():
            directory = waits[min(len(stamps), len(waits) - 1)].directory
            self._hanging.add(directory)
            checking.add_done_callback(lambda _: self._hanging.discard(directory))
        return tuple(stamps)
