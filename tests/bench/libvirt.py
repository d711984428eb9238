"""Domains of a libvirt -> what each way to watch them costs the exporter, libvirtd and the main loops of the QEMUs."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from libvirtd import Domain, Libvirtd
from tests.bench.contest import Exporter, configured
from tests.bench.cost import main_loop
from tests.bench.process import SCHEDULED
from tests.bench.scale import Scale
from tests.bench.table import Number, markdown, numbers
from tests.real.libvirt import DAEMON, DOMAIN, Libvirt

ERROR = {"device": "", "node-name": "libvirt-1-format", "operation": "write", "action": "report", "nospace": False}
PORTION = 1000  # events
MIB = 1 << 20
GREW = 2.0  # MiB at most, over all events


class Cost(NamedTuple):
    """CPU seconds; `start` are seconds until all are up."""

    start: float
    exporter: float
    daemon: float
    qemus: float


async def run(scale: Scale) -> str:
    storm = await _storm(scale)
    if not shutil.which(DAEMON):
        return f"{storm}\nNo libvirtd is installed here.\n"
    return f"{await _ways(scale)}\n{storm}"


async def _ways(scale: Scale) -> str:
    names = [f"vm{number:02}" for number in range(1, scale.domains)]
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        async with Libvirt(Path(directory)) as libvirt:
            for name in names:
                await libvirt.define(name, knows_us=True)
            await asyncio.sleep(scale.settle)
            names.append(DOMAIN)
            pids = [libvirt.pid(name) for name in names]
            daemon, qemus = _taken(libvirt.daemon_pid, pids)
            await asyncio.sleep(scale.watched)
            idle = [now - then for now, then in zip(_taken(libvirt.daemon_pid, pids), (daemon, qemus), strict=True)]
            api = {"socket": str(libvirt.api), "uri": "qemu:///session"}
            ways = {
                "through libvirt": {"libvirt": [api]},
                "through libvirt, with commands": {"libvirt": [{**api, "commands": True}]},
                "a monitor of its own": {"discover": [{"glob": f"{directory}/*.sock", "exclude": ["raw.sock"]}]},
            }
            costs = {}
            for way, configuration in ways.items():
                costs[way] = await _cost(configuration, len(names), libvirt, pids, scale.watched)
    rows = [
        (way, f"{cost.start:.2f}", *(f"{1000 * value / scale.watched:.2f}" for value in _above(cost, idle)))
        for way, cost in costs.items()
    ]
    header = (f"{scale.domains} domains", "s until all are up", "exporter, ms a second", "libvirtd", "QEMUs, all")
    return markdown(header, rows)


def _above(cost: Cost, idle: Sequence[float]) -> tuple[float, float, float]:
    return cost.exporter, cost.daemon - idle[0], cost.qemus - idle[1]


async def _cost(
    configuration: dict[str, object], vms: int, libvirt: Libvirt, pids: Sequence[int], seconds: float
) -> Cost:
    started = time.monotonic()
    async with configured(configuration) as exporter:
        await exporter.all_up(vms)
        took = time.monotonic() - started
        ours, (daemon, qemus) = exporter.process.cpu(), _taken(libvirt.daemon_pid, pids)
        await asyncio.sleep(seconds)
        now = _taken(libvirt.daemon_pid, pids)
        return Cost(took, exporter.process.cpu() - ours, now[0] - daemon, now[1] - qemus)


def _taken(daemon: int, qemus: Sequence[int]) -> tuple[float, float]:
    """CPU seconds of the daemon, and of the main loops of all QEMUs."""
    return time.clock_gettime(~daemon << 3 | SCHEDULED), sum(map(main_loop, qemus))


async def _storm(scale: Scale) -> str:
    """Events of one domain as fast as they are read, half of them before the memory is looked at."""
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        domain = Domain("web01")
        path = Path(directory) / "api.sock"
        async with Libvirtd(path, domain) as daemon, configured({"libvirt": [{"socket": str(path)}]}) as exporter:
            await exporter.all_up(1)
            portion = daemon.storm(domain, "BLOCK_IO_ERROR", ERROR, PORTION)
            half = scale.relayed // 2
            before = exporter.process.cpu()
            await _send(daemon, exporter, portion, half, half)
            memory = exporter.process.resident()
            await _send(daemon, exporter, portion, scale.relayed - half, scale.relayed)
            took = exporter.process.cpu() - before
            grew = (exporter.process.resident() - memory) / MIB
    rows = [
        Number("CPU of an event through libvirt", [1e6 * took / scale.relayed], "µs"),
        Number(f"memory grew over the last {scale.relayed - half:,} events", [grew], "MiB", most=GREW),
    ]
    return numbers(rows)


async def _send(daemon: Libvirtd, exporter: Exporter, portion: bytes, events: int, total: int) -> None:
    for _ in range(events // PORTION):
        await daemon.sends_and_waits(portion)
    await exporter.counted(total)
