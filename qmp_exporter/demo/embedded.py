"""Nothing -> two VMs, real QEMUs where one is installed, else simulated: one lives, one stops on a full disk."""

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Vnc
from qmp_exporter.demo.qemu import BINARY, Order, Qemu
from qmp_exporter.simulator import Monitor, SimulatedVm, live

LIVING, FULL = "demo", "demo-full-disk"  # the VMs
FULL_UUID = "0f1c2a57-7d0a-4a39-8d26-6b1e5d0c9a11"
STEP = 1.0  # seconds between two things that happen in a VM
FILLS_AFTER = 5.0  # seconds until the disk is full: the page has seen it well
TRIES_AGAIN = 120.0  # seconds until somebody resumes the VM, whose disk is still full
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
    """`sockets` are the monitors by the names of their VMs, `what` says in words what is behind them."""

    sockets: dict[str, str]
    what: str


@asynccontextmanager
async def embedded_vms(rng: Random) -> AsyncIterator[Embedded]:
    """VMs in which things happen until the block is left.

    A signal while it boots cancels the caller, or QEMU's directory would stay; the daemon then has its own handlers.
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
    bad_sector = DataDisk(faults=(Fault("write"),), werror="report")
    living = Machine(name=LIVING, disk=bad_sector, cdrom=Cdrom(), vnc=(Vnc(),))
    full = Machine(name=FULL, uuid=FULL_UUID, disk=DataDisk(faults=(Fault("write", errno=errno.ENOSPC),)))
    async with AsyncExitStack() as stack:
        qemus = [await stack.enter_async_context(Qemu(machine)) for machine in (living, full)]
        await stack.enter_async_context(_going_on(_live(qemus[0], rng)))
        await stack.enter_async_context(_going_on(_fill(qemus[1])))
        version = qemus[0].greeting["version"]["qemu"]
        what = f"two real QEMUs {version['major']}.{version['minor']}.{version['micro']} ({BINARY}) with a tiny guest"
        yield Embedded({qemu.machine.name: str(qemu.monitor) for qemu in qemus}, what)


async def _fill(qemu: Qemu) -> None:
    """The guest writes to a disk that has no room left: QEMU stops it, as often as it is resumed."""
    await _stays(qemu, FILLS_AFTER)
    qemu.send(Order.WRITE_BAD)
    while True:
        await _stays(qemu, TRIES_AGAIN)
        await qemu.execute("cont")


async def _stays(qemu: Qemu, seconds: float) -> None:
    """Let time pass.

    :raise ConnectionResetError: QEMU has ended meanwhile.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await qemu.process.wait()
            raise ConnectionResetError("QEMU has ended")


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
            viewer = await _open_viewer(qemu)
        if step % 20 == 12 and viewer is not None:
            viewer.close()
        if step % 60 == 2:
            await qemu.execute("drive-mirror", **MIRROR, target=str(mirrored))
        if step % 60 == 40:  # a mirror that is cancelled when ready has completed
            await qemu.execute("block-job-cancel", device=MIRROR["job-id"])


async def _open_viewer(qemu: Qemu) -> asyncio.StreamWriter:
    """-> a VNC session, which lasts until that is closed; the bytes are those of RFB 3.8 (RFC 6143, 7.1 to 7.3)"""
    ((address,),) = (server["server"] for server in await qemu.execute("query-vnc-servers"))
    reader, writer = await asyncio.open_connection(address["host"], int(address["service"]))
    for words in (b"RFB 003.008\n", b"\x01", b"\x01"):  # the version; no password; others may stay
        await reader.read(64)
        writer.write(words)
    return writer


@asynccontextmanager
async def _simulated(rng: Random) -> AsyncIterator[Embedded]:
    living, full = SimulatedVm(LIVING), SimulatedVm(FULL)
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        sockets = {vm.name: str(Path(directory, f"{vm.name}.sock")) for vm in (living, full)}
        async with (
            Monitor(living, sockets[LIVING]),
            Monitor(full, sockets[FULL]),
            _going_on(live(living, rng)),
            _going_on(_fill_simulated(full)),
        ):
            yield Embedded(sockets, f"two simulated VMs: install {BINARY} to see real ones")


async def _fill_simulated(vm: SimulatedVm) -> None:
    await asyncio.sleep(FILLS_AFTER)
    disk = next(block for block in vm.blocks if not block.cdrom)
    while True:
        vm.io_error(disk.id, action="stop", nospace=True)
        await asyncio.sleep(TRIES_AGAIN)
        vm.cont()
