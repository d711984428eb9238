"""Anything happens to a VM while its replies are late -> once it rests, the page is that of who only came then.

The lives of many VMs go on side by side, so that many take no longer than one, and each comes to rest four times.
TURMOILS=1000 says how many lives.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from random import Random

import pytest

from late import late
from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.core import query_scheduler as scheduler
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.simulator import COMMANDS, Event, Monitor
from qmp_exporter.simulator.faults import Stall
from turmoil import Turmoil, machine
from watching import NEVER, Watched, eventually

TURMOILS = int(os.environ.get("TURMOILS", "60"))
CHAPTERS = 4  # a life comes to rest at the end of each
STEPS = (1, 1, 2, 5, 20)  # of a chapter
SIDE_BY_SIDE = 50
LATE = (0.0, 0.001, 0.005, 0.02, 0.1)  # seconds that a reply may take
QUERIES = (None, *sorted(command for command in COMMANDS if command in CATALOG.commands))

# A gauge that a query fills is a fact about the VM.  When it happened, and who logged in, is known to those who saw it.
FACTS = tuple(
    family.name
    for family in CATALOG.families
    if family.kind == "gauge"
    and any(source.replaces for source in family.sources)
    and not family.name.endswith("_timestamp_seconds")
    and family.name != "qemu_vnc_sessions"
)
EVENTS = next(index for index, family in enumerate(CATALOG.families) if family.name == "qemu_events_total")


class Life:
    """A VM, its two monitors, and the watch that saw it all."""

    def __init__(self, seed: int, directory: Path, tasks: asyncio.TaskGroup, poll: float) -> None:
        self.seed = seed
        self._rng = Random(seed)  # noqa: S311  nothing secret in it
        self._poll = poll
        self._tasks = tasks
        self._events: list[Event] = []
        self.vm = machine(self._rng)
        self.turmoil = Turmoil(self.vm, self._rng)
        self._socket = directory / f"{seed}.sock"
        self.monitor = Monitor(self.vm, directory / f"{seed}.qemu.sock")
        self.other = Monitor(self.vm, directory / f"{seed}.other.sock")

    async def live(self, *, silently: bool) -> None:
        async with self.monitor, self.other, late(self.monitor.address, self._socket, self._lateness):
            witness, watching = self._watch(self._socket)
            await witness.says("qemu_up")
            self.vm.on_event.append(self._events.append)
            for _ in range(CHAPTERS):
                for _ in range(self._rng.choice(STEPS)):
                    await self._step(silently=silently)
                self.monitor.heal()
                await self._at_rest(witness)
                await self._compare(witness)
            assert witness.lines()["qemu_monitor_connects_total"] == 1
            watching.cancel()

    async def _compare(self, witness: Watched) -> None:
        newcomer, watching = self._watch(self.other.address)
        await newcomer.says("qemu_up")
        if self._poll < NEVER:
            with contextlib.suppress(TimeoutError):
                await eventually(lambda: not lies(witness, newcomer))
        assert lies(witness, newcomer) == {}, f"seed {self.seed}: what is said, and what is"
        watching.cancel()
        await self.other.vacant()

    def _lateness(self) -> float:
        return self._rng.choice(LATE)

    async def _step(self, *, silently: bool) -> None:
        if self._rng.random() < 0.3:
            self.monitor.heal()
            stall = Stall(self._rng.choice(QUERIES), self._rng.choice(LATE), in_order=self._rng.random() < 0.7)
            self.monitor.inject(stall)
        for _ in range(self._rng.choice((1, 1, 3))):
            self.turmoil.happens()
            if silently and self._rng.random() < 0.3:
                self.turmoil.silently()
        await asyncio.sleep(self._rng.choice((0, 0, 0.001, 0.01)))  # chance itself is what is awaited

    async def _at_rest(self, witness: Watched) -> None:
        """All events have come, nothing is asked and nothing wanted any more; with polls there is no such time."""
        plan = witness.watch.session.scheduler
        await eventually(lambda: heard(witness) == len(self._events))
        if self._poll == NEVER:
            await eventually(lambda: plan.settled and plan.due(time.monotonic()) > 2.0)

    def _watch(self, socket: Path) -> tuple[Watched, asyncio.Task[None]]:
        stats = Selfstats()
        watch = Watch(Target("web01", str(socket), poll_interval=self._poll), CATALOG, stats, lambda: 0.5)
        return Watched(watch, stats), self._tasks.create_task(watch.run())


def heard(watched: Watched) -> float:
    return sum(watched.watch.vm.samples.values[EVENTS].values())


def facts(watched: Watched) -> dict[tuple[str, tuple[str, ...]], float]:
    samples = watched.watch.vm.samples.values
    return {
        (family.name, labels): value
        for family, values in zip(CATALOG.families, samples, strict=True)
        if family.name in FACTS
        for labels, value in values.items()
    }


def lies(witness: Watched, newcomer: Watched) -> dict[tuple[str, tuple[str, ...]], tuple[float | None, float | None]]:
    """-> what is not so: what the one says of it, and the other"""
    said, right = facts(witness), facts(newcomer)
    return {fact: (said.get(fact), right.get(fact)) for fact in said | right if said.get(fact) != right.get(fact)}


async def lives(seeds: range, directory: Path, *, poll: float, silently: bool) -> None:
    for start in range(seeds.start, seeds.stop, SIDE_BY_SIDE):
        async with asyncio.TaskGroup() as watches, asyncio.TaskGroup() as tasks:
            for seed in range(start, min(start + SIDE_BY_SIDE, seeds.stop)):
                tasks.create_task(Life(seed, directory, watches, poll).live(silently=silently))


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about the order of messages: that QEMU rests between queries changes nothing."""
    monkeypatch.setattr(scheduler, "REST", 1.0)


@pytest.mark.timeout(60 + TURMOILS)
async def test_at_rest_the_page_is_that_of_one_who_came_afterwards(directory):
    await lives(range(TURMOILS), directory, poll=NEVER, silently=False)


@pytest.mark.timeout(60 + TURMOILS)
async def test_with_polls_so_is_what_nobody_announced(directory, monkeypatch):
    monkeypatch.setattr(scheduler, "SLOW_INTERVAL", 1.0)
    await lives(range(TURMOILS, TURMOILS + TURMOILS // 2), directory, poll=1.0, silently=True)


def test_the_facts_are_those_that_matter():
    assert {"qemu_vm_state", "qemu_block_tray_open", "qemu_block_job_status", "qemu_vnc_clients"} <= set(FACTS)
