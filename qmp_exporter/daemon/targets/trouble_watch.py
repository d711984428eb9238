"""The fleet -> the troubles of its VMs and of the exporter, looked for as things happen, and a line of log for each.

A VM is checked soon after an event or a change of its state, and every CHECK_EVERY seconds with all others: some
troubles begin because something has lasted, and end because it is long ago.
"""

import asyncio
import time
from collections.abc import Iterable

import structlog

from qmp_exporter.catalog.own_metrics import OWN
from qmp_exporter.catalog.troubles import OVER_VMS, ROWS_OF_THE_EXPORTER
from qmp_exporter.core.current_troubles import CurrentTroubles, Standing, Tracker
from qmp_exporter.daemon.monitor.trouble_log import tell
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.runtime.cooperative import YieldBudget
from qmp_exporter.runtime.waiting import happens

CHECK_EVERY = 15.0  # seconds; a VM takes some 130 µs
SETTLES = 0.25  # seconds in which QEMU answers what an event had asked; a storm makes one check of it
LABELS = {row.name: row.labels for row in OWN}

log = structlog.get_logger()


class TroubleWatch:
    """`standing` are the troubles of the exporter, and those that are of many VMs."""

    def __init__(self, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._exporter = CurrentTroubles(ROWS_OF_THE_EXPORTER, stats.values, lambda family: LABELS[family])
        self._over_vms = Tracker()
        self.standing: list[Standing] = []

    async def run(self) -> None:
        """Never returns."""
        while True:
            due = time.monotonic() + CHECK_EVERY
            await self.check()
            while (left := due - time.monotonic()) > 0:
                if await happens(self._fleet.news.event, left):
                    await asyncio.sleep(SETTLES)
                    if await self._check(self._fleet.news.take()):
                        self._check_over_vms()

    async def check(self) -> None:
        """All VMs, and the exporter."""
        self._fleet.news.take()
        await self._check(tuple(self._fleet.watches.values()))
        self._check_over_vms()
        now, at = time.monotonic(), time.time()
        tell(log, self._exporter.update(now, at), at)
        self._stand()

    async def _check(self, watches: Iterable[Watch]) -> bool:
        """Whether a trouble of one of them began or is over."""
        turn, has_changed = YieldBudget(), False
        for watch in watches:
            has_changed |= watch.check_for_troubles(time.monotonic(), time.time())
            await turn.checkpoint()
        return has_changed

    def _check_over_vms(self) -> None:
        """Take some 5 µs for each VM, which a storm of events on one of them must not cost four times a second."""
        now, at = time.monotonic(), time.time()
        vms = {watch.target.name: watch.troubles.evidence(now, at) for watch in self._fleet.watches.values()}
        found = ((trouble, labels, detail) for trouble, when in OVER_VMS for labels, detail in when.ask(vms))
        tell(log, self._over_vms.update(found, now, at), at)
        self._stand()

    def _stand(self) -> None:
        self.standing = [*self._exporter.standing, *self._over_vms.standing]
