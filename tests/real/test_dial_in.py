"""Real QEMUs that dial in -> their pages, the one who was there first and the one who is started again."""

import asyncio
import os
import signal
import socket as sockets
import stat
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

import provoke
from dialling import dialling, monitor
from exporter import Exporter, Vm, exporting
from page import Page
from qmp_exporter.demo.machine import DataDisk, Fault, Machine
from qmp_exporter.demo.qemu import Qemu
from waiting import awaited

pytestmark = pytest.mark.real

OTHER = "22222222-6d2f-4c53-9f0a-0123456789ab"
MET_WITHIN = 2.5  # seconds; QEMU tries once a second, and the page is asked for
FAILING = DataDisk((Fault("write"),), werror="report")
ONE_ERROR = 'qemu_block_io_errors_total{device="drive-virtio1",operation="write",action="report"} 1'


@pytest.fixture
def socket(short_path: Path) -> Path:
    return short_path / "dial-in.sock"


@pytest.fixture
def export(short_path: Path, socket: Path) -> Callable[..., AbstractAsyncContextManager[Exporter]]:
    """An exporter for those who come to the socket; asked about web01."""
    return partial(exporting, short_path, Vm("web01", socket), listen={"socket": str(socket)})


@pytest.fixture
def machine(socket: Path, qemu_binary: str) -> Callable[..., Machine]:
    return partial(dialling, socket, qemu_binary)


async def test_two_machines_on_one_socket_are_told_apart(machine, boot, export, socket):
    async with export(poll="1s") as exporter:
        await boot(machine(name="web01"))
        failing = await boot(machine(name="db01", uuid=OTHER, disk=FAILING))
        await provoke.io_error(failing, "write")
        other = exporter.about(Vm("db01", socket))
        page = await other.says(f"qemu_up 1\n{ONE_ERROR}")
        assert page.values("uuid")["qemu_vm_info"] == {OTHER}
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        page = await exporter.says("qemu_up 1\nqemu_vm_running 1")
        assert not any(page.family("qemu_block_io_errors_total").values())
        await other.shows(has_the_process(failing.process.pid))
    assert not socket.exists()


def has_the_process(pid: int) -> Callable[[Page], Iterable[str]]:
    """By the credentials of its connection."""
    resident = "qemu_process_resident_memory_bytes"

    def wrong(page: Page) -> list[str]:
        if not page.family(resident):
            return ["no process yet"]
        pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
        told = page[resident]
        return [] if told == pytest.approx(pages * os.sysconf("SC_PAGESIZE"), rel=0.3) else [f"{told} bytes"]

    return wrong


async def test_a_machine_that_was_there_before_the_exporter_is_met(machine, boot, export, figure):
    await boot(machine())
    clock = asyncio.get_running_loop().time
    async with export() as exporter:
        listened = clock()
        await exporter.says("qemu_up 1\nqemu_vm_running 1", deadline=MET_WITHIN)
        figure(f"met {clock() - listened:.2f} s after the exporter was ready")


async def test_an_exporter_that_is_started_again_meets_its_machine_again(machine, boot, export, figure):
    """Its counters begin again, which Prometheus sees as a restart."""
    qemu = await boot(machine(disk=FAILING))
    clock = asyncio.get_running_loop().time
    async with export() as exporter:
        await exporter.says("qemu_up 1")
        await provoke.io_error(qemu, "write")
        await exporter.says(ONE_ERROR)
    async with export() as exporter:
        ready = clock()
        await exporter.says(
            f"qemu_up 1\nqemu_monitor_connects_total 1\n{ONE_ERROR.removesuffix('1')}0", deadline=MET_WITHIN
        )
        figure(f"met again {clock() - ready:.2f} s after the exporter was ready again")


async def test_the_socket_of_an_exporter_that_was_killed_is_replaced(machine, boot, export, socket):
    left_behind(socket)
    await boot(machine())
    async with export() as exporter:
        await exporter.says("qemu_up 1", deadline=MET_WITHIN)


def left_behind(path: Path) -> None:
    """A file, and nobody behind it."""
    with sockets.socket(sockets.AF_UNIX) as killed:
        killed.bind(str(path))


async def test_a_machine_that_is_killed_and_started_again_goes_on_counting(machine, qemu_binary, export, figure):
    clock = asyncio.get_running_loop().time
    async with export() as exporter:
        async with Qemu(machine(disk=FAILING), qemu_binary) as qemu:
            await exporter.says("qemu_up 1")
            await provoke.io_error(qemu, "write")
            before = await exporter.says(ONE_ERROR)
            killed = clock()
            qemu.kill()
            await exporter.says(
                f"""
                qemu_up 0
                qemu_monitor_state{{state="missing"}} 1
                qemu_monitor_disconnects_total{{after="none"}} 1
                {ONE_ERROR}
                """,
                absent=before.gauges(),
            )
            figure(f"qemu_up 0 after {clock() - killed:.2f} s")
        async with Qemu(machine(disk=FAILING), qemu_binary) as qemu:
            await exporter.says(f"qemu_up 1\nqemu_monitor_connects_total 2\n{ONE_ERROR}")
            await provoke.io_error(qemu, "write")
            await exporter.says(ONE_ERROR.removesuffix("1") + "2")


async def test_another_machine_of_that_name_begins_at_zero(machine, qemu_binary, export):
    async with export() as exporter:
        async with Qemu(machine(disk=FAILING), qemu_binary) as qemu:
            await exporter.says("qemu_up 1")
            await provoke.io_error(qemu, "write")
            await exporter.says(ONE_ERROR)
        async with Qemu(machine(disk=FAILING, uuid=OTHER), qemu_binary):
            await exporter.says(f"qemu_up 1\n{ONE_ERROR.removesuffix('1')}0")


async def test_a_machine_that_says_that_it_ends_is_no_crash(machine, boot, export):
    qemu = await boot(machine())
    async with export() as exporter:
        await exporter.says("qemu_up 1")
        await provoke.quit_(qemu)
        await exporter.says("""
            qemu_up 0
            qemu_monitor_state{state="missing"} 1
            qemu_monitor_disconnects_total{after="shutdown"} 1
            qemu_monitor_disconnects_total{after="none"} 0
        """)


async def test_a_machine_that_takes_the_name_of_another_gets_none(machine, boot, export):
    """Its series would be those of the other one; when that one ends, the name is free."""
    async with export() as exporter:
        first = await boot(machine())
        await exporter.says("qemu_up 1")
        second = await boot(machine(uuid=OTHER))
        await provoke.stop(second)
        await is_logged(exporter, "another VM that is connected has the name web01")
        await exporter.says(
            'qemu_vm_running 1\nqemu_monitor_connects_total 1\nqmp_exporter_targets{state="connected"} 1'
        )
        first.kill()
        page = await exporter.says('qemu_up 1\nqemu_vm_state{state="paused"} 1')
        assert page.values("uuid")["qemu_vm_info"] == {OTHER}


async def test_a_machine_that_moves_to_another_process_is_met_there_when_the_old_one_ends(machine, boot, export):
    """As when it migrates on this host: two processes have its name and its uuid for a while."""
    async with export() as exporter:
        source = await boot(machine())
        await exporter.says("qemu_up 1\nqemu_vm_running 1")
        await boot(machine(paused=True))
        await is_logged(exporter, "web01 is connected already")
        await exporter.says("qemu_vm_running 1\nqemu_monitor_connects_total 1")
        source.kill()
        await exporter.says('qemu_vm_state{state="prelaunch"} 1\nqemu_monitor_connects_total 2')


async def is_logged(exporter: Exporter, words: str) -> None:
    async def found() -> bool | None:
        return words in exporter.logged() or None

    await awaited(found, exporter.logged)


async def test_a_machine_that_daemonizes_dials_in_and_its_process_is_the_one(qemu_binary, export, socket):
    """`-daemonize` sets a umask that keeps the exporter out of a monitor socket of QEMU's own."""
    command = [qemu_binary, "-daemonize", "-pidfile", socket.with_name("pid"), "-name", "web01", "-nodefaults"]
    command += ["-display", "none", "-accel", "tcg", "-machine", "pc", "-m", "32", *monitor(socket, qemu_binary)]
    async with export(poll="1s") as exporter:
        await asyncio.to_thread(subprocess.run, command, check=True)
        pid = int((socket.with_name("pid")).read_text())
        try:
            await exporter.shows(has_the_process(pid))
        finally:
            os.kill(pid, signal.SIGKILL)
