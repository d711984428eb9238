"""A watch that runs -> what its page says, and the wait until it says so."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.page import Page
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.simulator import Monitor

NEVER = 3600.0  # seconds: a poll interval that no test lives to see
PATIENCE = 10.0  # seconds until a condition counts as never met


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another task brings about; a condition has no other way to tell."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  see above
            await asyncio.sleep(0.002)


def connections(monitor: Monitor) -> int:
    """How often somebody has negotiated with it."""
    return sum(request.execute == "qmp_capabilities" for request in monitor.received)


class Watched:
    """A watch that runs, and its page."""

    def __init__(self, watch: Watch, stats: Selfstats) -> None:
        self.watch = watch
        self.stats = stats
        self._page = Page(CATALOG.families)
        self._page.add(watch.target.name, {})

    def lines(self) -> dict[str, float]:
        """The samples on the page: `name{labels}` without the label vm -> value."""
        self._page.refresh(self.watch.target.name, self.watch.vm.samples)
        vm = f'vm="{self.watch.target.name}"'
        samples = (line.rsplit(" ", 1) for line in self._page.text().splitlines() if not line.startswith("#"))
        return {name.replace("," + vm, "").replace("{" + vm + "}", ""): float(value) for name, value in samples}

    async def says(self, sample: str, value: float | None = 1) -> None:
        """Wait until the page has this sample with this value (None: does not have it)."""
        try:
            await eventually(lambda: self.lines().get(sample) == value)
        except TimeoutError:
            pytest.fail(f"{sample} is {self.lines().get(sample)} and never became {value}")

    def own(self, name: str) -> float:
        """A sample of the exporter's own metrics."""
        for line in self.stats.text(openmetrics=False).decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


class Running(Fleet):
    """A fleet that runs, and its page."""

    def __init__(self) -> None:
        self.stats = Selfstats()
        super().__init__(self.stats)

    async def text(self) -> str:
        await self.refresh()
        return self.page.text()

    async def says(self, line: str) -> None:
        async with asyncio.timeout(10):
            while line not in (await self.text()).splitlines():  # noqa: ASYNC110  a page has no other way to tell
                await asyncio.sleep(0.002)

    def own(self, line: str) -> bool:
        return line in self.stats.text(openmetrics=False).decode().splitlines()


class FleetPage:
    """What the page of a fleet says, sample by sample."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def lines(self) -> dict[str, float]:
        await self.fleet.refresh()
        samples = (line.rsplit(" ", 1) for line in self.fleet.page.text().splitlines() if not line.startswith("#"))
        return {sample: float(value) for sample, value in samples}

    async def says(self, sample: str, value: float | None = 1) -> None:
        """Wait until the page has this sample with this value (None: does not have it)."""
        found: list[float | None] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    found.append((await self.lines()).get(sample))
                    if found[-1] == value:
                        return
                    await asyncio.sleep(0.002)
        pytest.fail(f"{sample} is {found[-1]} and never became {value}")


Start = Callable[..., Watched]  # a target's socket, poll interval and other settings -> a watch that runs
