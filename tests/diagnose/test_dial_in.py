"""QEMUs that were started to dial in, some of which are connected -> what is told of the socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from qmp_exporter.config import parse
from qmp_exporter.diagnose.dial_in import examine_listener
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host


@contextlib.asynccontextmanager
async def qemu(path: Path, *mon: str, connects: bool = True) -> AsyncIterator[asyncio.subprocess.Process]:
    """What looks like one from outside: a shell with its arguments and its connection."""
    chardev = f"socket,id=exporter,path={path},server=off,reconnect=1"
    with socket.socket(socket.AF_UNIX) as line:
        if connects:
            line.connect(str(path))
        process = await asyncio.create_subprocess_exec(
            *("qemu-system-x86_64", "-c", "read wait", "-name", "web77", "-chardev", chardev, *mon),
            executable="/bin/sh",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[line.fileno()],
        )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


QMP = ("-mon", "chardev=exporter,mode=control")


def examined(path: Path) -> Finding:
    return examine_listener(parse(f"listen: [{{socket: {path}}}]", "config").listen[0], Host())


@pytest.fixture
def listener(directory: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{directory}/dial-in.sock")
        listening.listen()
        yield listening


async def test_a_vm_that_is_connected_is_good(directory: Path, listener: socket.socket) -> None:
    async with qemu(directory / "dial-in.sock", *QMP) as process:
        connection, _ = listener.accept()
        with connection:
            finding = examined(directory / "dial-in.sock")
    assert (finding.verdict, finding.problem) == ("good", "VMs that have dialled in: 1.")
    assert f"connected: pid {process.pid} (" in finding.seen[0]


@pytest.mark.usefixtures("listener")
async def test_a_vm_that_should_be_connected_and_is_not_is_told(directory: Path) -> None:
    async with qemu(directory / "dial-in.sock", *QMP, connects=False) as process:
        finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "denied"
    assert f"not connected: pid {process.pid} (" in finding.seen[0]


async def test_a_human_monitor_that_dials_in_is_told(directory: Path, listener: socket.socket) -> None:
    async with qemu(directory / "dial-in.sock", "-mon", "chardev=exporter"):
        connection, _ = listener.accept()
        with connection:
            finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "denied"
    assert "has a human monitor (HMP) there" in finding.seen[0]


async def test_an_exporter_that_does_not_listen_is_told_with_those_who_wait(directory: Path) -> None:
    async with qemu(directory / "dial-in.sock", *QMP, connects=False) as process:
        finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "refused"
    assert f"waits: pid {process.pid} (" in finding.seen[0]
