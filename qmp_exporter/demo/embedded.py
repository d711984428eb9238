"""Nothing -> a VM that lives: a real QEMU where one is installed, else the simulator."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Vnc
from qmp_exporter.demo.qemu import BINARY, Order, Qemu
from qmp_exporter.simulator import Monitor, SimulatedVm, live

STEP = 1.0  # seconds between two things that happen in the VM
MIRROR: dict[str, Any] = {
    "job-id": "mirror0",
    "device": "drive-virtio1",
    "sync": "full",
    "format": "raw",
    "mode": "existing",
    "speed": 1 << 20,
    "buf-size": 512 << 10,  # with the default of 10 MiB it leaps and then stands still
}


class Embedded(NamedTuple):
    """`socket` is the VM's monitor, `what` says in words what is behind it."""

    socket: str
    what: str


@asynccontextmanager
async def embedded_vm(rng: Random) -> AsyncIterator[Embedded]:
    """A VM in which things happen until the block is left.

    A signal while it boots cancels whoever asked for it, or QEMU's directory would stay; the daemon then has its own
    handlers.
    """
    if asker := asyncio.current_task():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, asker.cancel)
    async with _real(rng) if shutil.which(BINARY) else _simulated(rng) as embedded:
        yield embedded


@asynccontextmanager
async def _going_on(life: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """`life` goes on while the block does; if either fails, both end and that failure is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(life)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@asynccontextmanager
async def _real(rng: Random) -> AsyncIterator[Embedded]:
    disk = DataDisk(faults=(Fault("write"),), werror="report")
    async with Qemu(Machine(name="demo", disk=disk, cdrom=Cdrom(), vnc=(Vnc(),))) as qemu, _going_on(_live(qemu, rng)):
        version = qemu.greeting["version"]["qemu"]
        what = f"a real QEMU {version['major']}.{version['minor']}.{version['micro']} ({BINARY}) with a tiny guest"
        yield Embedded(str(qemu.monitor), what)


async def _live(qemu: Qemu, rng: Random) -> None:
    """The guest uses its disk, of which one sector is bad; its owner moves the tray, mirrors the disk and looks in."""
    mirrored = qemu.directory / "mirror.img"
    mirrored.touch()
    os.truncate(mirrored, qemu.files.data.stat().st_size)
    tray_open = False
    viewer: asyncio.StreamWriter | None = None
    for step in range(1 << 62):
        await asyncio.sleep(STEP)
        await qemu.order(rng.choice((Order.WRITE_GOOD, Order.READ_GOOD)), times=rng.randrange(1, 20))
        if step % 10 == 4:
            await qemu.order(Order.WRITE_BAD)
        if step % 15 == 7:
            tray_open = not tray_open
            await qemu.execute("blockdev-open-tray" if tray_open else "blockdev-close-tray", id=qemu.machine.cdrom_qdev)
        if step % 20 == 1:
            viewer = await _look_in(qemu)
        if step % 20 == 12 and viewer is not None:
            viewer.close()
        if step % 60 == 2:
            await qemu.execute("drive-mirror", **MIRROR, target=str(mirrored))
        if step % 60 == 40:  # a mirror that is cancelled when ready has completed
            await qemu.execute("block-job-cancel", device=MIRROR["job-id"])


async def _look_in(qemu: Qemu) -> asyncio.StreamWriter:
    """-> a VNC session, which lasts until that is closed; the bytes are those of RFB 3.8 (RFC 6143, 7.1 to 7.3)"""
    ((address,),) = (server["server"] for server in await qemu.execute("query-vnc-servers"))
    reader, writer = await asyncio.open_connection(address["host"], int(address["service"]))
    for words in (b"RFB 003.008\n", b"\x01", b"\x01"):  # the version; no password; others may stay
        await reader.read(64)
        writer.write(words)
    return writer


@asynccontextmanager
async def _simulated(rng: Random) -> AsyncIterator[Embedded]:
    vm = SimulatedVm("demo")
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        path = str(Path(directory, "monitor.sock"))
        async with Monitor(vm, path), _going_on(live(vm, rng)):
            yield Embedded(path, f"a simulated VM: install {BINARY} to see a real one")
