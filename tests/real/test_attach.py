"""What `qmp-exporter attach` prints, as it stands there -> a running QEMU gets another monitor, and loses it again."""

import asyncio
import contextlib
import subprocess
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter import PROGRAM, Vm, exporting
from libvirt import DOMAIN, Libvirt
from parts import need
from qmp_exporter.demo.qemu import dying_with_us
from test_quickstarts import qemu_version
from waiting import awaited

pytestmark = pytest.mark.real

SINCE = (11, 1)


class Printed(NamedTuple):
    """Commands, a line each or several with backslashes at their ends."""

    add: str
    remove: str


async def run(*command: str, given: str | None = None) -> tuple[int, str]:
    """-> exit status and all that it said"""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate((given or "").encode())
    return process.returncode or 0, said.decode()


async def printed(*arguments: str) -> Printed:
    status, said = await run(str(PROGRAM), "attach", *arguments)
    assert status == 0, said
    add, remove = said.split("To add it:\n")[1].split("To take it away again:\n")
    return Printed(textwrap.dedent(add.strip("\n")), textwrap.dedent(remove.split("\n\n")[0].rstrip("\n")))


async def diagnosed(monitor: Path) -> tuple[int, str]:
    return await run(str(PROGRAM), "diagnose", str(monitor))


def is_there(path: Path) -> bool:
    return path.exists()


@contextlib.asynccontextmanager
async def machine(directory: Path, binary: str) -> AsyncIterator[Path]:
    """A QEMU that knows nothing of us, with a monitor of each kind; -> the one for programs."""
    qmp, hmp = directory / "own.sock", directory / "hmp.sock"
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(),
        *(binary, "-name", "web01", "-m", "16", "-display", "none", "-no-user-config", "-S"),
        *("-qmp", f"unix:{qmp},server=on,wait=off", "-monitor", f"unix:{hmp},server=on,wait=off"),
    )

    async def listens() -> bool | None:
        return (is_there(qmp) and is_there(hmp)) or None

    try:
        await awaited(listens, lambda: "QEMU makes no sockets")
        yield qmp
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("way", ["qemu", "proxmox"])
async def test_a_running_qemu_gets_a_monitor_and_loses_it_again(qemu_binary: str, short_path: Path, way: str) -> None:
    need("socat")
    path = short_path / "new.sock"
    async with machine(short_path, qemu_binary) as qmp:
        told = await printed("web01", f"--by={way}", f"--monitor={qmp}", f"--path={path}")

        async def give(commands: str) -> str:
            if way == "qemu":
                return (await run("sh", "-c", commands))[1]
            entered, at_its_prompt = commands.split("\n", 1)
            assert entered == "qm monitor web01"
            prompt = ("socat", "-t", "5", "-", f"UNIX-CONNECT:{short_path / 'hmp.sock'}")
            return (await run(*prompt, given=f"{at_its_prompt}\n"))[1]

        said = await give(told.add)
        if await qemu_version() >= SINCE:
            for _ in range(2):  # it is there again after a client has left
                status, verdict = await diagnosed(path)
                assert (status, "good" in verdict) == (0, True), (said, verdict)
        else:
            assert "monitor-qmp" in said, said  # QEMU knows no such object, and the VM runs on
        said = await give(told.remove)
        assert not is_there(path), said
        assert (await diagnosed(qmp))[0] == 0


async def test_a_running_qemu_is_made_to_dial_in(qemu_binary: str, short_path: Path) -> None:
    need("socat")
    path = short_path / "dial-in.sock"
    listen = {"socket": str(path), "mode": "0600"}
    async with (
        machine(short_path, qemu_binary) as qmp,
        exporting(short_path, Vm("web01", path), listen=listen) as exporter,
    ):
        told = await printed("web01", "--dial-in", f"--monitor={qmp}", f"--path={path}")
        _, said = await run("sh", "-c", told.add)
        if await qemu_version() < SINCE:
            assert "monitor-qmp" in said, said
            return
        await exporter.says('qemu_up 1\nqemu_vm_state{state="prelaunch"} 1')
        await run("sh", "-c", told.remove)
        await exporter.says("qemu_up 0")


async def test_what_is_printed_for_libvirt_arrives_at_qemu(short_path: Path) -> None:
    """Of a libvirt with QEMU 11.1 there is none yet: the older QEMU makes the socket, and knows no such object."""
    async with Libvirt(short_path, knows_us=False) as libvirt:
        path = short_path / "new.sock"
        told = await printed(DOMAIN, "--by=libvirt", f"--path={path}")
        add, make = told.add.splitlines()
        await libvirt.run("sh", "-c", add)
        assert is_there(path)
        assert "monitor-qmp" in await libvirt.run("sh", "-c", make)
        await libvirt.run("sh", "-c", told.remove.splitlines()[1])
        assert not is_there(path)
