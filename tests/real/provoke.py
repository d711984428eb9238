"""A running QEMU -> trouble of one kind, over when the owner's monitor has seen its events.

QEMU writes an event to one monitor after the other, so the exporter's has it at about the same time, and what reads it
may be later: a test of metrics still waits for them. A function that ends later, or that leaves
something to be undone, says so.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import rfb
import spice
from qmp_exporter.demo.qemu import Answer, Order, Qemu, dying_with_us

Operation = Literal["read", "write"]
BAD = {"read": Order.READ_BAD, "write": Order.WRITE_BAD}
PVPANIC = ("-device", "pvpanic")
STORM_WITHIN = 60.0  # seconds; for ten thousand requests QEMU 11.1 needs ten, and forty on a busy machine
GOOD = {"read": Order.READ_GOOD, "write": Order.WRITE_GOOD}


def version(qemu: Qemu) -> tuple[int, int]:
    """-> major, minor: what some of the following depends on"""
    known = qemu.greeting["version"]["qemu"]
    return known["major"], known["minor"]


# Disks


async def traffic(qemu: Qemu, operation: Operation, times: int) -> None:
    """`times` requests of 512 bytes each that succeed; no event."""
    assert await qemu.order(GOOD[operation], times) is Answer.DONE


async def io_error(qemu: Qemu, operation: Operation) -> None:
    """A request that fails under the policy report, or seems to succeed under ignore."""
    await qemu.order(BAD[operation])
    await qemu.event("BLOCK_IO_ERROR", operation=operation)


async def io_error_storm(qemu: Qemu, operation: Operation, times: int) -> None:
    """Failing requests without a pause, an event each; since 9.2 QEMU sends one of them a second."""
    qemu.send(BAD[operation], times)
    await qemu.answer(STORM_WITHIN)
    await qemu.execute("query-status")  # its reply comes after the events


async def io_error_stop(qemu: Qemu, operation: Operation) -> None:
    """A request that stops the machine (policy stop, or enospc with ENOSPC); `cont` tries it again."""
    qemu.send(BAD[operation])
    await qemu.event("BLOCK_IO_ERROR", operation=operation, action="stop")
    await qemu.event("STOP")


async def io_error_retried(qemu: Qemu) -> None:
    """`cont` after io_error_stop on a disk that is still broken: the machine stops again."""
    await resume(qemu)
    await qemu.event("BLOCK_IO_ERROR", action="stop")
    await qemu.event("STOP")


async def io_error_mended(qemu: Qemu) -> None:
    """`cont` after io_error_stop on a disk that is well now (Fault(once=True)): the request succeeds."""
    await resume(qemu)
    assert await qemu.answer() is Answer.DONE


# Run state


async def stop(qemu: Qemu) -> None:
    await qemu.execute("stop")
    await qemu.event("STOP")


async def resume(qemu: Qemu) -> None:
    await qemu.execute("cont")
    await qemu.event("RESUME")


async def system_reset(qemu: Qemu) -> None:
    """By the owner; the firmware resets once more. Over when the guest is ready again."""
    await qemu.execute("system_reset")
    await qemu.event("RESET", guest=False, reason="host-qmp-system-reset")
    await qemu.ready()


async def guest_reset(qemu: Qemu) -> None:
    """By the guest; over when it is ready again."""
    await qemu.order(Order.RESET)
    await qemu.event("RESET", guest=True, reason="guest-reset")
    await qemu.ready()


async def reset_while_stopped(qemu: Qemu) -> None:
    """From paused or io-error to prelaunch with nothing but a RESET."""
    await qemu.execute("system_reset")
    await qemu.event("RESET", guest=False, reason="host-qmp-system-reset")


async def quit_(qemu: Qemu) -> None:
    await qemu.execute("quit")
    await qemu.event("SHUTDOWN", guest=False, reason="host-qmp-quit")
    await _ended_well(qemu)


async def sigterm(qemu: Qemu) -> None:
    qemu.terminate()
    await qemu.event("SHUTDOWN", guest=False, reason="host-signal")
    await _ended_well(qemu)


async def sigkill(qemu: Qemu) -> None:
    """No event at all."""
    qemu.kill()
    assert await qemu.ended() == -9


async def sigsegv(qemu: Qemu) -> None:
    """As by a bug of its own."""
    os.kill(qemu.process.pid, signal.SIGSEGV)
    assert await qemu.ended() == -signal.SIGSEGV


async def power_off(qemu: Qemu) -> None:
    """By the guest; QEMU ends, or with -no-shutdown (Machine.no_shutdown) stays in the state shutdown."""
    await qemu.order(Order.POWER_OFF)
    await qemu.event("SHUTDOWN", guest=True, reason="guest-shutdown")
    if qemu.machine.no_shutdown:
        await qemu.event("STOP")
    else:
        await _ended_well(qemu)


async def _ended_well(qemu: Qemu) -> None:
    """Before 6.0 QEMU may abort after all else is done, if somebody asks it something just then."""
    status = await qemu.ended()
    assert status == 0 or (status == -signal.SIGABRT and version(qemu) < (6, 0)), qemu.said()


# Devices


async def panic(qemu: Qemu) -> None:
    """By the guest; needs Machine(extra=PVPANIC). QEMU ends, or with -no-shutdown stays in guest-panicked."""
    await qemu.order(Order.PANIC)
    await qemu.event("GUEST_PANICKED")
    if qemu.machine.no_shutdown:
        await qemu.event("STOP")
    else:
        await qemu.event("SHUTDOWN", reason="guest-panic")
        await _ended_well(qemu)


async def suspend(qemu: Qemu) -> None:
    """S3 by the guest, to be undone with `wake_up`."""
    await qemu.order(Order.SUSPEND)
    await qemu.event("SUSPEND")


async def wake_up(qemu: Qemu) -> None:
    """The firmware, finding nothing to go back to, resets; over when the guest is ready."""
    await qemu.execute("system_wakeup")
    await qemu.event("WAKEUP")
    await qemu.ready()


@contextlib.contextmanager
def hung(qemu: Qemu) -> Iterator[None]:
    """Inside, QEMU does nothing and answers nobody."""
    qemu.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        qemu.process.send_signal(signal.SIGCONT)


async def set_clock(qemu: Qemu) -> None:
    """One minute on or back. QEMU reports one change a second: the second of two within it comes at its end."""
    await qemu.order(Order.SET_CLOCK)
    await qemu.event("RTC_CHANGE")


async def watchdog(qemu: Qemu, action: Literal["none", "pause", "reset"]) -> None:
    """Needs Machine(watchdog=...); pause is to be undone with `resume`, reset is over when the guest is ready.

    QEMU sends one WATCHDOG a second: a second one within it comes at its end, after the STOP or RESET it causes.
    """
    await qemu.execute("watchdog-set-action", action=action)
    await qemu.order(Order.LET_WATCHDOG_EXPIRE)
    await qemu.event("WATCHDOG", action=action)
    if action == "pause":
        await qemu.event("STOP")
    elif action == "reset":
        await qemu.event("RESET")
        await qemu.ready()


async def watchdog_poweroff(qemu: Qemu) -> None:
    """QEMU ends, and its last word is not SHUTDOWN."""
    await qemu.execute("watchdog-set-action", action="poweroff")
    qemu.send(Order.LET_WATCHDOG_EXPIRE)
    await qemu.event("WATCHDOG", action="poweroff")
    await _ended_well(qemu)


async def open_tray(qemu: Qemu) -> None:
    await qemu.execute("blockdev-open-tray", id=qemu.machine.cdrom_qdev)
    await tray_moved(qemu, is_open=True)


async def close_tray(qemu: Qemu) -> None:
    await qemu.execute("blockdev-close-tray", id=qemu.machine.cdrom_qdev)
    await tray_moved(qemu, is_open=False)


async def eject(qemu: Qemu) -> None:
    """Opens the tray and takes the medium out."""
    await qemu.execute("eject", id=qemu.machine.cdrom_qdev)
    await tray_moved(qemu, is_open=True)


async def tray_moved(qemu: Qemu, *, is_open: bool) -> None:
    await qemu.event("DEVICE_TRAY_MOVED", **{"id": qemu.machine.cdrom_qdev, "tray-open": is_open})


# Monitors


@contextlib.asynccontextmanager
async def held(qemu: Qemu) -> AsyncIterator[None]:
    """Inside, another client has the exporter's monitor.

    It waits for its turn, as libvirt does, when clients that have given up still fill QEMU's queue; asyncio would fail.
    """
    client = socket.socket(socket.AF_UNIX)
    await asyncio.to_thread(client.connect, str(qemu.monitor))
    reader, writer = await asyncio.open_unix_connection(sock=client)
    try:
        assert b"QMP" in await reader.readline()
        yield
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


# Screens


async def vnc_address(qemu: Qemu, number: int = 0) -> rfb.Tcp | Path:
    """-> where that display's clients connect"""
    if qemu.machine.vnc[number].unix:
        return qemu.files.vnc(number)
    servers = await qemu.execute("query-vnc-servers")
    ident = "default" if number == 0 else f"vnc{number}"
    (address,) = (server["server"][0] for server in servers if server["id"] == ident)
    return rfb.Tcp(address["host"], int(address["service"]))


@contextlib.asynccontextmanager
async def vnc_session(qemu: Qemu, number: int = 0) -> AsyncIterator[None]:
    """Connected and initialized inside, disconnected after it."""
    async with rfb.logged_in(await vnc_address(qemu, number)):
        await qemu.event("VNC_CONNECTED")
        await qemu.event("VNC_INITIALIZED")
        yield
    await qemu.event("VNC_DISCONNECTED")


@contextlib.asynccontextmanager
async def vnc_visit(qemu: Qemu, number: int = 0) -> AsyncIterator[None]:
    """A client that says its version and no more: connected inside, disconnected after it, never initialized."""
    async with rfb.connected(await vnc_address(qemu, number)) as viewer:
        await viewer.say_version()
        await qemu.event("VNC_CONNECTED")
        yield
    await qemu.event("VNC_DISCONNECTED")


async def vnc_failed_login(qemu: Qemu, number: int = 0) -> None:
    """A wrong answer to the challenge; needs Vnc(password=True)."""
    await qemu.execute("set_password", protocol="vnc", password="secret")  # noqa: S106  # of a machine that lives a second
    async with rfb.connected(await vnc_address(qemu, number)) as viewer:
        await viewer.say_version()
        with contextlib.suppress(rfb.LoginRefusedError):
            await viewer.log_in(response=bytes(16))
            raise AssertionError("the server let a wrong password in")
    await qemu.event("VNC_CONNECTED")
    await qemu.event("VNC_DISCONNECTED")


STORM = """
import socket, sys
while True:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(sys.argv[1])
"""


@contextlib.asynccontextmanager
async def vnc_storm(qemu: Qemu, number: int = 0) -> AsyncIterator[None]:
    """Inside, a client connects and leaves as fast as QEMU lets it; needs Vnc(unix=True), where connect() waits."""
    caller = await asyncio.create_subprocess_exec(
        *dying_with_us(), *(sys.executable, "-c", STORM, qemu.files.vnc(number))
    )
    try:
        await qemu.event("VNC_DISCONNECTED")
        yield
    finally:
        caller.kill()
        await caller.wait()


@contextlib.asynccontextmanager
async def spice_session(qemu: Qemu) -> AsyncIterator[list[int]]:
    """The types of its four channels (1 is the main one) inside; all disconnected after it."""
    async with spice.client(qemu.spice_port):
        channels = [await qemu.event("SPICE_INITIALIZED") for _ in range(4)]
        yield [channel.data["client"]["channel-type"] for channel in channels]
    for _ in channels:
        await qemu.event("SPICE_CONNECTED")
        await qemu.event("SPICE_DISCONNECTED")
