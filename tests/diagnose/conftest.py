"""A directory for sockets, and a simulated VM with its monitor in it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from qmp_exporter.simulator import Monitor, SimulatedVm


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for the path of a socket, which tmp_path is not always."""
    with tempfile.TemporaryDirectory(prefix="qe-") as name:
        yield Path(name)


@pytest.fixture
def vm() -> SimulatedVm:
    return SimulatedVm("web01")


@pytest.fixture
async def monitor(vm: SimulatedVm, directory: Path) -> AsyncIterator[Monitor]:
    async with Monitor(vm, directory / "web01.sock") as monitor:
        yield monitor
