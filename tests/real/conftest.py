"""What is installed -> fixtures that boot real machines; a missing part skips the test, in CI it fails it."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import prometheus
import spice
from exporter import NEVER, Exporter, Vm, exporting
from parts import need
from qmp_exporter.demo import qemu
from qmp_exporter.demo.machine import Machine

Boot = Callable[[Machine], Awaitable[qemu.Qemu]]
Watch = Callable[..., Awaitable[Exporter]]


def pytest_report_header() -> str:
    """Which QEMU it is: `make test-qemu` puts another one first in PATH."""
    if shutil.which(qemu.BINARY) is None:
        return "QEMU: not installed"
    said = subprocess.run([qemu.BINARY, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return f"QEMU: {said.splitlines()[0]}"


@pytest.fixture
def nasm() -> str:
    return need("nasm")


@pytest.fixture
def qemu_binary() -> str:
    return need(qemu.BINARY)


@pytest.fixture
def spice_client() -> str:
    return need(spice.BINARY)


@pytest.fixture
async def boot(qemu_binary: str) -> AsyncIterator[Boot]:
    """Boots a machine that lives as long as the test."""
    async with contextlib.AsyncExitStack() as machines:

        async def booted(machine: Machine) -> qemu.Qemu:
            return await machines.enter_async_context(qemu.Qemu(machine, qemu_binary))

        yield booted


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's: pytest's own may be too long."""
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        yield Path(directory)


@pytest.fixture
async def watch(short_path: Path) -> AsyncIterator[Watch]:
    """Runs an exporter that watches a machine until the test ends; it has been told everything once."""
    async with contextlib.AsyncExitStack() as exporters:

        async def watched(machine: qemu.Qemu, poll: str = NEVER) -> Exporter:
            exporter = await exporters.enter_async_context(
                exporting(short_path, Vm("web01", machine.monitor), poll=poll)
            )
            await exporter.says("qemu_up 1")
            return exporter

        yield watched


@pytest.fixture
def prometheus_server() -> str:
    need("promtool")
    return need(prometheus.BINARY)
