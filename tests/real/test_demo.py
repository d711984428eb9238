"""`qmp-exporter demo`, as a newcomer runs it -> what it says, a page that lives, and nothing left behind."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter import PROGRAM, Exporter, Vm, client_of, free_port
from page import Page
from qmp_exporter.demo.qemu import dying_with_us
from waiting import awaited

pytestmark = pytest.mark.real

ENDS_WITHIN = 5.0  # seconds
STARTED_WITHIN = 30.0  # two machines and the exporter, beside other tests
TRAFFIC = ("qemu_block_reads_completed_total", "qemu_block_writes_completed_total")


class Demo(NamedTuple):
    exporter: Exporter
    process: asyncio.subprocess.Process
    directory: Path  # all that it and its children write is in there
    said: Callable[[], str]

    async def says(self, pattern: str) -> None:
        """-> when it has said that, on its standard error"""

        async def ask() -> re.Match[str] | None:
            assert self.process.returncode is None, self.said()
            return re.search(pattern, self.said())

        await awaited(ask, self.said)

    async def boots(self) -> None:
        """-> when QEMU is there, and not yet said to be"""

        async def ask() -> bool | None:
            return any(file.endswith("monitor.sock") for file in self.files()) or None

        await awaited(ask, self.said)
        assert "Watching" not in self.said()

    async def ends(self, within: float = ENDS_WITHIN) -> int:
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def lives(self) -> None:
        """-> when the guest is seen to use its disk"""

        def traffic(page: Page) -> list[dict[str, float]]:
            return [page.family(name) for name in TRAFFIC]

        first = traffic(await self.exporter.says("qemu_up 1\nqemu_vm_running 1"))
        await self.exporter.shows(lambda page: [] if traffic(page) != first else ["nothing moves"])

    async def shows_a_vm_that_stopped_on_a_full_disk(self, device: str) -> None:
        await self.exporter.about(Vm("demo-full-disk", "")).says(f"""
            qemu_vm_state{{state="io-error"}} 1
            qemu_block_io_errors_total{{device="{device}",operation="write",action="stop"}} 1
            qemu_block_io_nospace_errors_total{{device="{device}"}} 1
            qemu_block_io_status{{device="{device}",status="nospace"}} 1
        """)

    def files(self) -> list[str]:
        return [str(path) for path in self.directory.rglob("*")]

    def processes(self) -> set[int]:
        """-> itself and its children, which all inherit its directory for temporary files"""
        return {int(process.name) for process in Path("/proc").glob("[0-9]*") if self._is_its(process)}

    def left_nothing(self) -> bool:
        return self.files() == [] and self.processes() == set()

    def _is_its(self, process: Path) -> bool:
        with contextlib.suppress(OSError):
            return f"TMPDIR={self.directory}".encode() in (process / "environ").read_bytes().split(b"\0")
        return False


@contextlib.asynccontextmanager
async def demonstrated(tmp_path: Path, port: int, **environment: str) -> AsyncIterator[Demo]:
    directory = tmp_path / "tmp"
    directory.mkdir()
    log = tmp_path / "demo.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(),
            *(PROGRAM, "demo", f"--web.listen-address=127.0.0.1:{port}"),
            stderr=stderr,
            env={**os.environ, "TMPDIR": str(directory), **environment},
        )
        try:
            async with client_of(f"127.0.0.1:{port}") as client:
                yield Demo(Exporter(process, Vm("demo", ""), client, log), process, directory, log.read_text)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.fixture
def without_qemu(short_path) -> dict[str, str]:
    """A PATH on which there is nothing."""
    return {"PATH": str(short_path)}


@pytest.mark.usefixtures("qemu_binary")
async def test_with_qemu_it_watches_a_real_one(short_path, figure):
    port = free_port()
    clock = asyncio.get_running_loop().time
    began = clock()
    async with demonstrated(short_path, port) as demo:
        await demo.says(r"Watching two real QEMUs \d+\.\d+\.\d+ \(qemu-system-x86_64\)")
        await demo.says(rf"http://127\.0\.0\.1:{port}/metrics\b.*Ctrl-C")
        await demo.says("msg=listening")
        await demo.exporter.says("qemu_up 1")
        started = clock() - began
        await demo.lives()
        await demo.exporter.says("qemu_vnc_sessions 1")
        assert len(demo.processes()) == 4  # and two QEMUs
        await demo.shows_a_vm_that_stopped_on_a_full_disk("drive-virtio1")
        demo.process.send_signal(signal.SIGTERM)
        told = clock()
        assert await demo.ends() == 0
        figure(f"up {started:.1f} s after it was started, gone {clock() - told:.2f} s after SIGTERM")
        assert demo.left_nothing()
        assert "Traceback" not in demo.said()


@pytest.mark.usefixtures("qemu_binary")
async def test_ctrl_c_ends_it(short_path):
    async with demonstrated(short_path, free_port()) as demo:
        await demo.says("msg=listening")
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ends() == 0
        assert demo.left_nothing()


@pytest.mark.usefixtures("qemu_binary")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_while_the_machine_is_booting(short_path, number):
    async with demonstrated(short_path, free_port()) as demo:
        await demo.boots()
        demo.process.send_signal(number)
        await demo.ends()
        assert demo.left_nothing()
        assert "Traceback" not in demo.said()


async def test_without_qemu_it_watches_a_simulated_one(short_path, without_qemu):
    async with demonstrated(short_path, free_port(), **without_qemu) as demo:
        await demo.says("Watching two simulated VMs: install qemu-system-x86_64")
        await demo.says("msg=listening")
        await demo.lives()
        await demo.shows_a_vm_that_stopped_on_a_full_disk("drive-virtio-disk0")
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.ends() == 0
        assert demo.left_nothing()
        assert "Traceback" not in demo.said()


@pytest.mark.usefixtures("qemu_binary")
@pytest.mark.parametrize("real", [True, False], ids=["real", "simulated"])
async def test_a_port_that_is_taken_is_said_in_one_line(short_path, without_qemu, real):
    with socket.create_server(("127.0.0.1", 0)) as other:
        environment = {} if real else without_qemu
        async with demonstrated(short_path, other.getsockname()[1], **environment) as demo:
            assert await demo.ends(STARTED_WITHIN + ENDS_WITHIN) == 1
            assert demo.left_nothing()
            assert "Address already in use" in demo.said().splitlines()[-1]
            assert "Look at" not in demo.said()
            assert "Traceback" not in demo.said()


@pytest.mark.usefixtures("qemu_binary")
@pytest.mark.parametrize("which", [0, 1])
async def test_a_machine_that_dies_is_said_in_one_line(short_path, which):
    async with demonstrated(short_path, free_port()) as demo:
        await demo.says("msg=listening")
        await demo.exporter.says("qemu_up 1")
        machine = sorted(demo.processes() - {demo.process.pid})[which]
        os.kill(machine, signal.SIGKILL)
        assert await demo.ends() == 1
        assert demo.left_nothing()
        assert demo.said().splitlines()[-1] == "qmp-exporter: QEMU has ended"
        assert "Traceback" not in demo.said()
