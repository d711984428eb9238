"""The fleet -> the JSON of /api/v1/targets, made at most once a second, however many look."""

import asyncio
import socket
import time

from isal import igzip

from qmp_exporter import __version__
from qmp_exporter.catalog import overview
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.trouble_watch import TroubleWatch
from qmp_exporter.daemon.web.exposition import LEVEL
from qmp_exporter.runtime.cooperative import YieldBudget

FRESH = 1.0  # seconds that an answer is good for; 2,000 VMs take 0.05 s of CPU


class JsonOfTargets:
    """Makes one answer at a time; those who ask meanwhile wait for it."""

    def __init__(self, fleet: Fleet, troubles: TroubleWatch) -> None:
        self._fleet = fleet
        self._troubles = troubles
        self._host = socket.gethostname()
        self._lock = asyncio.Lock()
        self._made_at = float("-inf")
        self._plain = self._packed = b""

    async def body(self, *, compressed: bool) -> bytes:
        async with self._lock:
            if time.monotonic() - self._made_at >= FRESH:
                self._plain, self._packed = await self._make(), b""
                self._made_at = time.monotonic()
            if compressed and not self._packed:
                self._packed = igzip.compress(self._plain, LEVEL)  # a millisecond, at 2,000 VMs
        return self._packed if compressed else self._plain

    async def _make(self) -> bytes:
        targets = []
        turn = YieldBudget()
        for watch in tuple(self._fleet.watches.values()):
            targets.append(overview.encode(_target(watch, self._host)))
            await turn.checkpoint()
        down = [(source.name, why) for source, why in sorted(self._fleet.failures.items())]
        troubles = list(overview.troubles(self._troubles.standing, {"instance": self._host}))
        return overview.answer(__version__, self._host, time.time(), targets, down=down, troubles=troubles)


def _target(watch: Watch, host: str) -> overview.Target:
    target = watch.target
    monitor = overview.monitor(watch.vm, *watch.health, waits=watch.waits(time.monotonic()), now=time.time())
    named = {"vm": target.name, "instance": host}
    troubles = overview.troubles(watch.troubles.standing, named)
    return overview.target(
        watch.vm,
        target.name,
        target.socket,
        target.labels,
        monitor,
        troubles=troubles,
        activity=_activity(watch),
        black_box=watch.recorder.has_kept,
    )


def _activity(watch: Watch) -> overview.Activity | None:
    cpus, disk = watch.activity.cpus, watch.activity.disk_bytes
    if not watch.vm.values("qemu_up").get(()) or not (cpus or disk):
        return None
    return overview.Activity([round(one, 3) for one in cpus], [round(one) for one in disk])
