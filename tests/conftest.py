"""What all tests share: settings, and a simulated VM with its monitor in a directory for sockets."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

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


# The longest first: what is left for the end is short.
LONGEST = ("deploy bookworm", "deploy trixie", "pages", "real", "prometheus", "browser", "managers", "hostile")
# Of tests/real.
PROMETHEUS = ("alerting", "consoles", "dashboards", "drill", "fleet_prometheus", "scraping", "textfile", "web_security")
MANAGERS = ("attach", "dial_in", "libvirt", "libvirt_api", "quickstarts", "visits")


def group_of(nodeid: str) -> str:
    """Tests of one group run in one process of xdist, one after the other.

    A group is a folder whose tests share services of the machine, or measure how soon something happens. Of tests/real
    there are four, by what they need; of tests/deploy those that boot a release are one. Else it is a file.
    """
    file, _, test = nodeid.partition("::")
    folder, name = file.split("/")[1], Path(file).stem.removeprefix("test_")
    if folder == "deploy":
        return next((f"deploy {release}" for release in ("bookworm", "trixie") if f"[{release}" in test), file)
    if folder == "real":
        return _group_of_real(name)
    return folder if folder in {"browser", "hostile"} else file


def _group_of_real(name: str) -> str:
    if name.startswith("page_"):
        return "pages"
    if name in PROMETHEUS:
        return "prometheus"
    return "managers" if name in MANAGERS else "real"


class Groups(LoadScopeScheduling):
    """One group to one process, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(trylast=True)  # after they were shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {group: number for number, group in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group_of(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", ()):
        for test, words in report.user_properties:
            terminalreporter.write_line(f"{test}: {words}")
