"""A configuration -> its targets in the fleet, and the tasks that look for more; another one -> only what differs."""

import asyncio
from collections.abc import Hashable
from functools import partial
from typing import Final

from qmp_exporter.catalog import CATALOG, OPTIONAL
from qmp_exporter.config import Config, Known
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.dial_in import DialIn
from qmp_exporter.daemon.targets.discovery import discovered, scan
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.libvirt import LibvirtDomains
from qmp_exporter.daemon.targets.naming import Naming
from qmp_exporter.daemon.targets.source_poller import SourcePoller
from qmp_exporter.daemon.targets.sources import FILES, STATIC, Source
from qmp_exporter.daemon.targets.target_files import TargetFiles
from qmp_exporter.runtime.supervisor import restart_on_crash

KNOWN: Final = Known({label.name for family in CATALOG.families for label in family.labels}, OPTIONAL)


Finder = SourcePoller | DialIn | LibvirtDomains


class Reconciler:
    def __init__(self, config: Config, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._stats = stats
        self._files = TargetFiles(KNOWN)
        self._finders: dict[Hashable, Finder] = {}
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self.apply(config)

    async def run(self) -> None:
        """Look for targets; never returns."""
        async with asyncio.TaskGroup() as self._group:
            for key in self._finders:
                self._start(self._group, key)
            await asyncio.Event().wait()

    def apply(self, config: Config) -> None:
        """From now on this configuration holds; what it has in common with the one before is left in peace."""
        before = self._finders
        self._finders = self._wanted(config)
        ending: dict[Source, asyncio.Task[None]] = {}
        for key in before.keys() - self._finders.keys():
            if task := self._running.pop(key, None):
                task.cancel()
                ending[before[key].source] = task
        sources = {finder.source for finder in self._finders.values()}
        for source in {finder.source for finder in before.values()} - sources:
            self._fleet.forget(source)
        self._fleet.want(STATIC, config.vms)
        for source in sources - {finder.source for finder in before.values()}:
            self._fleet.expect(source)
        for key in self._finders.keys() - before.keys():
            if self._group is not None:
                self._start(self._group, key, after=ending.get(self._finders[key].source))

    def _wanted(self, config: Config) -> dict[Hashable, Finder]:
        """What it looks for, by everything that makes a difference to it."""
        wanted: dict[Hashable, Finder] = {}
        for entry in config.discover:
            name = Naming(entry, self._fleet).name
            wanted[entry] = SourcePoller(
                discovered(entry), partial(scan, entry), entry.grace, self._fleet, self._stats, name=name
            )
        for listener in config.listen:
            wanted[listener] = DialIn(listener, self._fleet, self._stats)
        for daemon in config.libvirt:
            wanted[daemon] = LibvirtDomains(daemon, self._fleet, self._stats)
        if config.files:
            key = config.files, config.defaults
            wanted[key] = SourcePoller(FILES, partial(self._files.scan, *key), 0.0, self._fleet, self._stats)
        return wanted

    def _start(self, group: asyncio.TaskGroup, key: Hashable, after: "asyncio.Task[None] | None" = None) -> None:
        self._running[key] = group.create_task(self._find(self._finders[key], after))

    async def _find(self, finder: Finder, after: "asyncio.Task[None] | None") -> None:
        if after is not None:
            await asyncio.wait([after])  # only one can listen at a path
        await restart_on_crash(partial(self._run, finder), source=finder.source.name)

    async def _run(self, finder: Finder) -> None:
        try:
            await finder.run()
        except Exception:
            self._fleet.fails(finder.source, "a bug in the exporter, which its log tells")
            raise
