"""What the sources of targets want -> the watches that run, and the page of all their VMs."""

import asyncio
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from types import MappingProxyType

import structlog

from qmp_exporter.catalog import CATALOG, without
from qmp_exporter.config import Target
from qmp_exporter.core.page import Page
from qmp_exporter.daemon.libvirt.watch import DomainTarget, LibvirtWatch
from qmp_exporter.daemon.monitor.dial_in_watch import DialInWatch, DialledIn
from qmp_exporter.daemon.monitor.visit_watch import VisitWatch
from qmp_exporter.daemon.monitor.watch import Shared, Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.sources import Collision, Source, Sources
from qmp_exporter.runtime.cooperative import YieldBudget
from qmp_exporter.runtime.supervisor import restart_on_crash
from qmp_exporter.runtime.waiting import happens

MEETINGS = 4  # VMs met or left before the event loop gets a turn: most of the work with each, some 3 ms, comes then

log = structlog.get_logger()


class Fleet:
    """`watches` has the watch of each VM by its name: its target and its vm are there to be read.

    `failures` has why a source gives no targets, for each that does not work.
    """

    def __init__(self, stats: Selfstats, *, log_events: bool = False) -> None:
        """`log_events`: a line of log for events of QEMU, too."""
        self._stats = stats
        self._sources = Sources()
        self._shared = Shared(log_events=log_events)
        self._watches: dict[str, Watch] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._news = asyncio.Event()
        self._collisions: Mapping[Collision, None] = {}
        self._expected: set[Source] = set()
        self._was_ready = False
        self.news = self._shared.news
        self.gone = 0  # watches that have ended
        self._failures: dict[Source, str] = {}
        self.failures: Mapping[Source, str] = MappingProxyType(self._failures)
        self.watches: Mapping[str, Watch] = MappingProxyType(self._watches)
        self.page = Page(CATALOG.families)
        stats.count_targets(self.states)

    def expect(self, source: Source) -> None:
        """Nothing is ready before this source has said for the first time what it has, or cannot say it."""
        self._expected.add(source)

    def cannot_say(self, source: Source, why: str) -> None:
        """It does not work, and the others must not wait for it."""
        self._expected.discard(source)
        self.fails(source, why)

    def fails(self, source: Source, why: str) -> None:
        """It does not work; what it had stays."""
        self._failures[source] = why
        self._stats.tell_source(source.name, works=False)

    def works(self, source: Source) -> None:
        self._failures.pop(source, None)
        self._stats.tell_source(source.name, works=True)

    def forget(self, source: Source) -> None:
        """The configuration has it no more."""
        self.want(source, ())
        self._failures.pop(source, None)
        self._stats.forget(source.name)

    def want(self, source: Source, targets: Iterable[Target], *, grace: float = 0.0) -> None:
        """All targets that a source has now.

        Those that it had before and that did not change keep their connection and their counters; changed ones begin
        again; gone ones are watched for `grace` more seconds, so that what they counted last is scraped.
        """
        self._expected.discard(source)
        self._sources.want(source, targets, grace, time.monotonic())
        self._say_collisions()
        if self._group is None:
            for name in self._unsettled():
                self._settle(name)
        else:
            self._news.set()

    async def run(self) -> None:
        """Watch all targets; never returns."""
        async with asyncio.TaskGroup() as self._group:
            while True:
                self._news.clear()
                await self._resolve()
                await self._settle_in_turns()
                await happens(self._news, self._until_due())
                if self._until_due() == 0:
                    self._sources.expire(time.monotonic())

    def states(self) -> Iterator[str]:
        """The state of each target's monitor."""
        return (watch.vm.monitor_state for watch in self._watches.values())

    @property
    def ready(self) -> bool:
        """Every target was tried once; those that came later do not count."""
        met = not self._expected and self._watches.keys() >= self._sources.chosen.keys()
        self._was_ready = self._was_ready or (met and all(state != "connecting" for state in self.states()))
        return self._was_ready

    async def refresh(self) -> None:
        """Bring the page up to date with every VM."""
        started = time.monotonic()
        turn = YieldBudget()
        for watch in tuple(self._watches.values()):
            if self._watches.get(watch.target.name) is watch:  # it may have ended while this waited for its turn
                self._render(watch)
            await turn.checkpoint()
        self._stats.render_seconds.set(time.monotonic() - started)

    def _render(self, watch: Watch) -> None:
        samples = watch.vm.samples
        samples.leave(time.monotonic())
        self.page.refresh(watch.target.name, samples)
        if samples.limited:
            watch.count_limited()

    async def _resolve(self) -> None:
        """Learn where the links of new paths lead; a path that is not to be looked up counts as it is written."""
        by_directory: dict[str, list[str]] = {}
        for path in self._sources.unresolved:
            by_directory.setdefault(os.path.dirname(path), []).append(path)  # noqa: PTH120  no Path is needed for it
        real = await asyncio.gather(*(self._real_paths(paths) for paths in by_directory.values()))
        if real:
            self._sources.resolved(dict(chain.from_iterable(real)))
            self._say_collisions()

    async def _real_paths(self, paths: list[str]) -> Iterable[tuple[str, str]]:
        """Of one directory."""
        try:
            return await self._shared.paths.run(paths[0], lambda: [(path, os.path.realpath(path)) for path in paths])
        except OSError:
            return [(path, path) for path in paths]

    def _until_due(self) -> float | None:
        due = self._sources.due
        return None if due is None else max(0.0, due - time.monotonic())

    async def _settle_in_turns(self) -> None:
        """2,000 changes at once must not hold the event loop; what is wanted may change meanwhile."""
        while names := self._unsettled():
            self._rename()
            for number, name in enumerate(names, start=1):
                self._settle(name)
                if number % MEETINGS == 0:
                    await asyncio.sleep(0)

    def _unsettled(self) -> list[str]:
        """Names whose watch is not what is wanted; first those that end, for another may want their monitor."""
        chosen = self._sources.chosen
        gone = [name for name in self._watches if name not in chosen]
        return gone + [name for name in chosen if not self._is_settled(name)]

    def _is_settled(self, name: str) -> bool:
        watch = self._watches.get(name)
        runs = self._group is None or name in self._running
        return watch is not None and watch.target == self._sources.chosen.get(name) and runs

    def _settle(self, name: str) -> None:
        target = self._sources.chosen.get(name)
        watch, ended = self._watches.get(name), None
        if watch is not None and watch.target != target:
            watch, ended = None, self._end(name)
        if watch is None and target is not None:
            watch = self._begin(target)
        if watch is not None and self._group is not None and name not in self._running:
            self._running[name] = self._group.create_task(_watch(watch, after=ended), name=f"watch {name}")

    def _rename(self) -> None:
        """A VM that is only called otherwise now keeps its connection and its counters."""
        chosen = self._sources.chosen
        news = {target.socket: target for name, target in chosen.items() if name not in self._watches}
        for name in [name for name in self._watches if name not in chosen]:
            watch = self._watches[name]
            target = news.get(watch.target.socket)
            if target is None or target != replace(watch.target, name=target.name):
                continue
            log.info("VM renamed", vm=target.name, before=name, socket=target.socket)
            self._watches[target.name] = self._watches.pop(name)
            watch.rename(target)
            self.page.rename(name, target.name, target.labels, watch.vm.samples)
            self._render(watch)
            if name in self._running:
                self._running[target.name] = self._running.pop(name)

    def _begin(self, target: Target) -> Watch:
        watch = self._watches[target.name] = _watch_of(target, self._stats, self._shared)
        self.page.add(target.name, target.labels)
        self._render(watch)  # at once, so that no page lacks its qemu_up
        return watch

    def _end(self, name: str) -> "asyncio.Task[None] | None":
        """End a watch; its task, which takes a moment to leave the monitor."""
        self._watches.pop(name).vm.samples.release()
        self.gone += 1
        self.page.forget(name)
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()
        return task

    def _say_collisions(self) -> None:
        collisions = self._sources.collisions
        for source, target, same, other in collisions.keys() - self._collisions.keys():
            log.warning(
                "not watched: another target has the same",
                same=same,
                vm=target.name,
                socket=target.socket,
                source=source.name,
                other_vm=other.name,
                other_socket=other.socket,
            )
        self._collisions = collisions
        self._stats.count_collisions(collision.same for collision in collisions)


def _watch_of(target: Target, stats: Selfstats, shared: Shared) -> Watch:
    dispatch = without(target.disabled, target.kvm_stats)
    if isinstance(target, DomainTarget):
        return LibvirtWatch(target, dispatch, stats, random.random, shared)
    if isinstance(target, DialledIn):
        return DialInWatch(target, dispatch, stats, random.random, shared)
    if target.visit:
        return VisitWatch(target, dispatch, stats, random.random, shared)
    return Watch(target, dispatch, stats, random.random, shared)


async def _watch(watch: Watch, after: "asyncio.Task[None] | None") -> None:
    if after is not None:
        await asyncio.wait([after])  # a monitor serves one client
    await restart_on_crash(watch.run, vm=watch.target.name)
