"""Targets -> the watches that run, and the page of all their VMs."""

import asyncio
import random
import time
from collections.abc import Iterator

import structlog

from qmp_exporter.catalog import CATALOG, without
from qmp_exporter.config import Target
from qmp_exporter.core.page import Page
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.watch import Watch

RESTART = 30.0  # seconds before a watch that met a bug of ours begins anew
TURN = 40  # VMs rendered before the event loop gets a turn: some 10,000 samples, a few milliseconds

log = structlog.get_logger()


class Fleet:
    def __init__(self, targets: tuple[Target, ...], poll_interval: float, stats: Selfstats) -> None:
        self._stats = stats
        self._watches = tuple(
            Watch(target, without(target.disabled), poll_interval, stats, random.random) for target in targets
        )
        self.page = Page(CATALOG.families)
        for watch in self._watches:
            self.page.add(watch.target.name, watch.target.labels)
        stats.count_targets(self.states)

    async def run(self) -> None:
        """Watch all targets; never returns."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(_guard(watch), name=f"watch {watch.target.name}")

    def states(self) -> Iterator[str]:
        """The state of each target's monitor."""
        return (watch.vm.monitor_state for watch in self._watches)

    @property
    def ready(self) -> bool:
        """Every target was tried once."""
        return all(state != "connecting" for state in self.states())

    async def refresh(self) -> None:
        """Bring the page up to date with every VM."""
        started, now = time.monotonic(), time.time()
        for number, watch in enumerate(self._watches, start=1):
            samples = watch.vm.samples
            samples.leave(now)
            self.page.refresh(watch.target.name, samples)
            if samples.limited:
                watch.count_limited()
            if number % TURN == 0:
                await asyncio.sleep(0)
        self._stats.render_seconds.set(time.monotonic() - started)


async def _guard(watch: Watch) -> None:
    """A bug that one VM brings out must not end the others' watches."""
    while True:
        try:
            await watch.run()
        except Exception:
            log.exception("a bug in the exporter stopped a watch; it begins anew", vm=watch.target.name)
            await asyncio.sleep(RESTART)
