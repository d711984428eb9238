"""A watched VM, real where QEMU is installed -> what the polls cost it: commands, bytes, time of its main loop."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from qmp_exporter.demo.machine import Cdrom, DataDisk, Machine, Vnc
from qmp_exporter.demo.qemu import BINARY, Qemu
from qmp_exporter.simulator import Monitor, SimulatedVm
from tests.bench.contest import POLL, exporting
from tests.bench.scale import Scale
from tests.bench.table import Number, numbers

HOUR = 3600
CHUNK = 64 * 1024


class Relay:
    """Stands between an exporter and a monitor, and counts."""

    def __init__(self, monitor: Path) -> None:
        self.commands = self.asked = self.answered = 0
        self._monitor = monitor

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_monitor, to_monitor = await asyncio.open_unix_connection(self._monitor)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._questions(reader, to_monitor))
            group.create_task(self._answers(from_monitor, writer))

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            self.commands += len(re.findall(b'"execute"', chunk))
            self.asked += len(chunk)
            writer.write(chunk)
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            self.answered += len(chunk)
            writer.write(chunk)
        writer.close()

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.commands, self.asked, self.answered


@asynccontextmanager
async def relaying(monitor: Path, directory: Path) -> AsyncIterator[tuple[Relay, Path]]:
    relay, socket = Relay(monitor), directory / f"relay-{monitor.parent.name}.sock"
    server = await asyncio.start_unix_server(relay.serve, socket)
    try:
        yield relay, socket
    finally:
        server.close()


async def run(scale: Scale) -> str:
    if shutil.which(BINARY):
        return await _real(scale)
    with tempfile.TemporaryDirectory() as directory:
        monitor = Path(directory) / "monitor.sock"
        async with Monitor(SimulatedVm("web01"), monitor):
            rows, _ = await _watched(scale, {POLL: monitor}, {})
    return f"A simulated VM, since no QEMU is installed here; so nothing of its main loop:\n\n{numbers(rows)}"


async def _real(scale: Scale) -> str:
    """Three alike in the same minute: one alone, one polled as usual, one polled every second."""
    machine = Machine(disk=DataDisk(), cdrom=Cdrom(), vnc=(Vnc(),))
    async with Qemu(machine) as alone, Qemu(machine) as usual, Qemu(machine) as poll_now:
        processes = {0: alone.process.pid, POLL: usual.process.pid, 1: poll_now.process.pid}
        rows, loops = await _watched(scale, {POLL: usual.monitor, 1: poll_now.monitor}, processes)
        version = ".".join(str(alone.greeting["version"]["qemu"][part]) for part in ("major", "minor", "micro"))
    quarter = [seconds * 1e3 for seconds in loops[0]]
    per_poll = [1e3 * (busy - idle) / scale.quarter for busy, idle in zip(loops[1], loops[0], strict=True)]
    usually = [1e3 * (busy - idle) for busy, idle in zip(loops[POLL], loops[0], strict=True)]
    rows += [
        Number(f"main loop of one not watched, in {scale.quarter} s", quarter, "ms"),
        Number(f"main loop polled every {POLL} s, more than that", usually, "ms"),
        Number("main loop polled every second, more for each poll", per_poll, "ms"),
        Number(f"so for an hour of polls every {POLL} s", [ms * HOUR / POLL / 1e3 for ms in per_poll], "s"),
    ]
    return f"QEMU {version}, two disks, a CD-ROM drive, VNC; `query-block` every minute included:\n\n{numbers(rows)}"


async def _watched(
    scale: Scale, monitors: dict[int, Path], processes: dict[int, int]
) -> tuple[list[Number], dict[int, list[float]]]:
    """What went over the wire at the usual interval; for each process the time of its main loop in each quarter."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qmp-exporter-bench-")))
        relays = {}
        for poll, monitor in monitors.items():
            relays[poll], socket = await stack.enter_async_context(relaying(monitor, directory))
            exporter = await stack.enter_async_context(exporting({"web01": socket}, poll))
            await exporter.all_up(1)
        before = relays[POLL].counts
        loops: dict[int, list[float]] = {poll: [] for poll in processes}
        for _ in range(4):
            started = {poll: main_loop(pid) for poll, pid in processes.items()}
            await asyncio.sleep(scale.quarter)
            for poll, pid in processes.items():
                loops[poll].append(main_loop(pid) - started[poll])
        commands, asked, answered = (
            (now - then) * HOUR / (4 * scale.quarter) for now, then in zip(relays[POLL].counts, before, strict=True)
        )
    rows = [Number("commands in an hour", [commands]), Number("bytes to QEMU in an hour", [asked / 1024], "KiB")]
    return [*rows, Number("bytes from QEMU in an hour", [answered / 1024], "KiB")], loops


def main_loop(pid: int) -> float:
    """CPU seconds of a QEMU's main thread, in which it runs its commands; finer than the ticks of /proc/PID/stat."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9
