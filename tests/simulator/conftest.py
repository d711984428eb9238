"""What tests of the simulator begin with: a VM, its monitor, a client past the negotiation."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from qmp_client import Client
from qmp_exporter.simulator import Event, Monitor, SimulatedVm


@pytest.fixture
def path() -> Iterator[Path]:
    # Not tmp_path: with the name of a long test it exceeds the 107 bytes of a socket's path.
    with tempfile.TemporaryDirectory(prefix="sim") as directory:
        yield Path(directory) / "qmp.sock"


@pytest.fixture
def vm() -> SimulatedVm:
    return SimulatedVm("web01")


@pytest.fixture
def events(vm: SimulatedVm) -> list[Event]:
    happened: list[Event] = []
    vm.on_event.append(happened.append)
    return happened


@pytest.fixture
async def monitor(vm: SimulatedVm, path: Path) -> AsyncIterator[Monitor]:
    async with Monitor(vm, path) as monitor:
        yield monitor


@pytest.fixture
async def client(monitor: Monitor) -> AsyncIterator[Client]:
    async with await Client.connect(monitor.address) as client:
        await client.negotiate()
        yield client
