"""A running QEMU, or an exporter -> a change that no event tells in full, over when it has happened.

What happens to QEMU is known to have happened from the owner's monitor, so that the time until a page is right can be
taken from there.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import provoke
from exporter import Exporter
from qmp_exporter.demo.machine import DataDisk, Fault, Machine
from qmp_exporter.demo.qemu import Qemu
from waiting import awaited

STATE_FILE = "state"  # of a machine that was migrated away, in its directory


def at(path: Path, **parts: Any) -> Machine:
    """A machine with one more monitor, whose place outlives it."""
    socket = f"socket,id=exporter,path={path},server=on,wait=off"
    monitor = ("-chardev", socket, "-mon", "chardev=exporter,mode=control")
    return Machine(disk=DataDisk((Fault("write"),), werror="report"), extra=monitor, **parts)


def incoming(*, paused: bool) -> Machine:
    """One that waits for the state of a plain Machine(); `paused` as by -S, so that it does not run when it has it."""
    return Machine(paused=paused, extra=("-incoming", "defer"))


# Run state


async def stop_at_an_io_error(qemu: Qemu) -> None:
    await provoke.io_error_stop(qemu, "write")


async def open_the_tray_and_reset(qemu: Qemu) -> None:
    """RESET, and nothing about the tray."""
    await provoke.open_tray(qemu)
    await provoke.reset_while_stopped(qemu)


async def migrate_away(qemu: Qemu) -> None:
    """To a file, until QEMU says that it is done: then the machine is in postmigrate."""
    await qemu.execute("migrate", uri=f"exec:cat > {qemu.directory / STATE_FILE}")
    await _migrated(qemu, "completed")
    await _is(qemu, "postmigrate")


async def migrate_away_aloud(qemu: Qemu) -> None:
    """With MIGRATION events, which somebody has to ask for."""
    await qemu.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    await migrate_away(qemu)


async def migrate_in(qemu: Qemu, file: Path) -> None:
    """A machine of `incoming(paused=True)` gets a state, and is paused."""
    await qemu.execute("migrate-incoming", uri=f"exec:cat {file}")
    await _is(qemu, "paused")


async def _migrated(qemu: Qemu, status: str) -> None:
    async def ask() -> bool | None:
        return (await qemu.execute("query-migrate"))["status"] == status or None

    await awaited(ask, lambda: f"the migration is not {status}; {qemu.said()}")


async def _is(qemu: Qemu, state: str) -> None:
    async def ask() -> bool | None:
        return (await qemu.execute("query-status"))["status"] == state or None

    await awaited(ask, lambda: f"the machine is not {state}; {qemu.said()}")


# Drives


async def remove_medium(qemu: Qemu) -> None:
    """Out of an open tray; no event."""
    await qemu.execute("blockdev-remove-medium", id=qemu.machine.cdrom_qdev)


# Time and place


@contextlib.contextmanager
def asleep(exporter: Exporter) -> Iterator[None]:
    """Inside, the exporter does nothing; what it is sent meanwhile waits for it."""
    exporter.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        exporter.process.send_signal(signal.SIGCONT)


async def pass_time(seconds: float) -> None:
    """Where time itself is what a test is about."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def everything_going_on(qemu: Qemu) -> AsyncIterator[None]:
    """Inside: a tray open, a client behind a unix socket, and the machine paused; for Machine(cdrom, vnc unix)."""
    await provoke.open_tray(qemu)
    async with provoke.vnc_session(qemu):
        await provoke.stop(qemu)
        yield
