"""A command -> a running process: its CPU time, its memory, what it says; its end is certain."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from qmp_exporter.demo.qemu import dying_with_us

SCHEDULED = 2  # CPUCLOCK_SCHED: nanoseconds as the scheduler counted them, not ticks
BLOCK = 512  # bytes of stat(2)'s blocks
STOPPED_WITHIN = 10.0  # seconds from SIGTERM on


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def cpu(self) -> float:
        """Seconds of CPU that all its threads took so far, by the clock that clock_getcpuclockid(3) gives a process.

        Those of the processes that it has started are among them.
        """
        return sum(time.clock_gettime(~pid << 3 | SCHEDULED) for pid in self._pids())

    def resident(self) -> int:
        """Bytes of memory that it and the processes that it has started occupy; of what is shared, their part."""
        return sum(psutil.Process(pid).memory_full_info().pss for pid in self._pids()) + self._in_files()

    def _in_files(self) -> int:
        """Of its files in memory, which nobody maps."""
        descriptors = Path(f"/proc/{self.process.pid}/fd").iterdir()
        files = [one for one in descriptors if str(one.readlink()).startswith("/memfd:")]
        return sum(file.stat().st_blocks * BLOCK for file in files)

    def _pids(self) -> list[int]:
        return [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))]

    async def line(self) -> str:
        """The next line it writes.

        :raise EOFError: it has ended.
        """
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise EOFError(f"process {self.process.pid} ended")
        return line.decode().rstrip()


@asynccontextmanager
async def running(*command: str | Path, orders: bool = False) -> AsyncIterator[Process]:
    """`orders`: it reads from a pipe; else it has nothing to read.  What goes wrong stands on standard error."""
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(),
        *command,
        stdin=asyncio.subprocess.PIPE if orders else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOPPED_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()


def raise_file_limit() -> None:
    """Inherited by all processes: a simulated VM takes two descriptors, a watched one takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
