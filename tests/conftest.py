"""What all tests share: settings, and a simulated VM with its monitor in a directory for sockets."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from qmp_exporter.simulator import Monitor, SimulatedVm

# A busy machine is slow now and then, and a test that fails for that says nothing about the code.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=3000)  # pytest --hypothesis-profile=thorough
settings.load_profile("quick")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps what a test measured for the end of the report."""

    def kept(words: str) -> None:
        request.node.user_properties.append((request.node.name, words))

    return kept


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


# Folders whose tests share services of the machine, or measure how soon something happens.
ONE_AT_A_TIME = {"browser", "deploy", "hostile", "real"}


@pytest.hookimpl(tryfirst=True)  # before that of xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one group run in one process of xdist: those of such a folder, and else those of a file."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        group = folder if folder in ONE_AT_A_TIME else str(item.path)
        if item.path.name.startswith("test_page_"):  # of tests/real: half of it, each with QEMUs of its own
            group = "pages"
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", ()):
        for test, words in report.user_properties:
            terminalreporter.write_line(f"{test}: {words}")
