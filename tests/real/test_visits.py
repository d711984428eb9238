"""A real QEMU whose monitor a manager uses in visits -> it is visited by us too, and the manager never notices."""

import asyncio
import contextlib
import json
import socket
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter import Vm, exporting
from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.daemon.monitor.visit_watch import VisitWatch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.demo.machine import DataDisk, Machine
from qmp_exporter.demo.qemu import Qemu
from waiting import awaited

pytestmark = pytest.mark.real

OFTEN = 0.05  # seconds: 300 times as often as every 15 s
FOR = 4.0  # seconds
QUERIES = ("qmp_capabilities", "query-status", "query-name")


class Visits(NamedTuple):
    """Of a manager: how long each took, in seconds, and what was wrong with others."""

    took: list[float]
    failed: list[str]


def manage(path: Path, pause: float, until: float) -> Visits:
    """One visit after the other, as Ganeti makes them: it connects once, and a full queue is a failure."""
    visits = Visits([], [])
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            _visit(path)
        except OSError as error:
            visits.failed.append(str(error))
        visits.took.append(time.monotonic() - began)
        time.sleep(pause)
    return visits


def _visit(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as manager:
        manager.settimeout(0)  # a full queue fails at once then
        manager.connect(str(path))
        manager.settimeout(5)
        said = manager.makefile("rb")
        assert "QMP" in json.loads(said.readline())
        for command in QUERIES:
            manager.sendall(json.dumps({"execute": command}).encode())
            while "return" not in json.loads(said.readline()):
                pass


@contextlib.asynccontextmanager
async def visited(qemu: Qemu) -> AsyncIterator[Selfstats]:
    """Inside, it is visited often."""
    stats = Selfstats()
    target = Target("web01", str(qemu.monitor), poll_interval=OFTEN, visit=True)
    watch = VisitWatch(target, CATALOG, stats, lambda: 0.5)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        await awaited(_is(watch, "visited"), lambda: watch.vm.monitor_state)
        yield stats
        task.cancel()


def _is(watch: VisitWatch, state: str):
    async def there() -> bool | None:
        return watch.vm.monitor_state == state or None

    return there


@pytest.mark.parametrize(("pause", "least"), [(0.0, 1), (0.01, 30)], ids=["tight", "with-pauses"])
async def test_a_manager_that_comes_again_and_again_never_fails_beside_us(figure, pause, least):
    async with Qemu(Machine(disk=DataDisk())) as qemu:
        alone = await asyncio.to_thread(manage, qemu.monitor, pause, time.monotonic() + FOR / 2)
        async with visited(qemu) as stats:
            beside = await asyncio.to_thread(manage, qemu.monitor, pause, time.monotonic() + FOR)
        text = stats.text(openmetrics=False).decode()
        (ours,) = (
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith('qmp_exporter_command_duration_seconds_count{command="query-status"}')
        )
    for name, visits in (("alone", alone), ("beside us", beside)):
        millis = sorted(1000 * took for took in visits.took)
        p99 = millis[int(len(millis) * 0.99)]
        figure(f"a manager {name}: {len(millis)} visits, median {statistics.median(millis):.2f} ms, p99 {p99:.2f} ms")
    figure(f"visits of ours meanwhile: {ours:.0f}")
    assert beside.failed == []
    assert len(beside.took) > 100
    assert ours >= least


async def test_the_exporter_visits_and_leaves_the_monitor_free(short_path):
    async with Qemu(Machine(disk=DataDisk())) as qemu:
        vm = Vm("web01", qemu.monitor, visit=True)
        async with exporting(short_path, vm, poll="1s") as exporter:
            await exporter.says('qemu_up 1\nqemu_monitor_state{state="visited"} 1\nqemu_vm_running 1')
            await asyncio.to_thread(_visit, qemu.monitor)
            await qemu.execute("stop")
            page = await exporter.says(
                'qemu_vm_running 0\nqemu_vm_state{state="paused"} 1', absent=["qemu_vm_stops_total"]
            )
            assert page["qemu_process_resident_memory_bytes"] > 1_000_000
            target = await exporter.target()
            assert target["monitor"]["reason"] == "asked every 1 s, between the visits of others; no events"
            qemu.kill()
            await exporter.says('qemu_up 0\nqemu_process_exits_total{how="SIGKILL"} 1')
