"""Nothing -> a VM that lives: a real QEMU where one is installed, else the simulator."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
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
    """A VM in which things happen until the block is left."""
    async with _real(rng) if shutil.which(BINARY) else _simulated(rng) as embedded:
        yield embedded


@asynccontextmanager
async def _real(rng: Random) -> AsyncIterator[Embedded]:
    disk = DataDisk(faults=(Fault("write"),), werror="report")
    async with Qemu(Machine(name="demo", disk=disk, cdrom=Cdrom(), vnc=(Vnc(),))) as qemu, asyncio.TaskGroup() as group:
        version = qemu.greeting["version"]["qemu"]
        life = group.create_task(_live(qemu, rng))
        what = f"a real QEMU {version['major']}.{version['minor']}.{version['micro']} ({BINARY}) with a tiny guest"
        try:
            yield Embedded(str(qemu.monitor), what)
        finally:
            life.cancel()


async def _live(qemu: Qemu, rng: Random) -> None:
    """The guest reads and writes, now and then a sector that is bad; its owner moves the tray, mirrors the disk."""
    mirrored = qemu.directory / "mirror.img"
    mirrored.write_bytes(b"")
    mirrored.open("r+b").truncate(qemu.files.data.stat().st_size)
    tray_open = False
    for step in range(1 << 62):
        await asyncio.sleep(STEP)
        await qemu.order(rng.choice((Order.WRITE_GOOD, Order.READ_GOOD)), times=rng.randrange(1, 20))
        if step % 10 == 4:
            await qemu.order(Order.WRITE_BAD)
        if step % 15 == 7:
            tray_open = not tray_open
            await qemu.execute("blockdev-open-tray" if tray_open else "blockdev-close-tray", id=qemu.machine.cdrom_qdev)
        if step % 60 == 2:
            await qemu.execute("drive-mirror", **MIRROR, target=str(mirrored))
        if step % 60 == 40:  # a mirror that is cancelled when ready has completed
            await qemu.execute("block-job-cancel", device=MIRROR["job-id"])


@asynccontextmanager
async def _simulated(rng: Random) -> AsyncIterator[Embedded]:
    vm = SimulatedVm("demo")
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        path = str(Path(directory, "monitor.sock"))
        async with Monitor(vm, path), asyncio.TaskGroup() as group:
            life = group.create_task(live(vm, rng))
            try:
                yield Embedded(path, f"a simulated VM: install {BINARY} to see a real one")
            finally:
                life.cancel()
