"""Fleets of simulated VMs, small to large -> time to start, memory, CPU when idle, CPU and latency of a scrape."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

from tests.bench.contest import POLL, Contestant, Exporter, Feeder, feeding, naive, ours
from tests.bench.scale import Scale
from tests.bench.table import Number, csv, numbers, percentile, ratio


class Start(NamedTuple):
    exporter: Exporter
    seconds: float  # from the start of the process to a page on which all VMs are up
    cpu: float
    samples: int


class Scrapes(NamedTuple):
    first_cpu: float  # of a page on which every VM's disks have moved
    cpu: float  # of a page soon after another
    seconds: Sequence[float]
    size: int


class Fleet(NamedTuple):
    """One exporter at one size of the fleet."""

    vms: int
    start: Start
    resident: int
    idle: float  # share of a core
    scrapes: Scrapes

    @property
    def row(self) -> tuple[float, ...]:
        mib, per_vm = self.resident / 2**20, self.resident / 2**10 / self.vms
        first, later = self.scrapes.first_cpu * 1e3, self.scrapes.cpu * 1e3
        latency = [seconds * 1e3 for seconds in self.scrapes.seconds]
        page = (
            self.start.samples,
            self.scrapes.size / 2**10,
            first,
            later,
            percentile(latency, 50),
            percentile(latency, 99),
        )
        return (self.vms, self.start.seconds, self.start.cpu, mib, per_vm, 100 * self.idle, *page)


HEADER = (
    "vms",
    "start_s",
    "start_cpu_s",
    "resident_mib",
    "resident_kib_per_vm",
    "idle_percent_of_a_core",
    "samples",
    "packed_kib",
    "scrape_cpu_ms_after_polls",
    "scrape_cpu_ms_again",
    "scrape_p50_ms",
    "scrape_p99_ms",
)


async def run(scale: Scale) -> str:
    our: list[Fleet] = []
    their: list[Fleet] = []
    for vms in scale.fleets:
        beside = vms in scale.fleets_naive
        measured = await _measured(vms, (ours, naive) if beside else (ours,), scale)
        our.append(measured[0])
        their += measured[1:]
    return "\n".join((
        numbers([row for fleet in our for row in _budgets(fleet)]),
        f"Ours, polled every {POLL} s:\n",
        csv(HEADER, [fleet.row for fleet in our]),
        "Naive, in the same minutes:\n",
        csv(HEADER, [fleet.row for fleet in their]),
        numbers(_ratios(our, their)),
    ))  # fmt: skip


async def _measured(vms: int, contestants: Sequence[Contestant], scale: Scale) -> list[Fleet]:
    """Each exporter with VMs of its own; they start one after the other and then run side by side."""
    async with AsyncExitStack() as stack:
        feeders = [await stack.enter_async_context(feeding(vms)) for _ in contestants]
        starts = [
            await _started(contestant, feeder, stack) for contestant, feeder in zip(contestants, feeders, strict=True)
        ]
        for feeder in feeders:
            await feeder.tell("work")
        idle = await _idle([start.exporter for start in starts], scale.idle)
        scrapes = await _scraped([start.exporter for start in starts], (scale.scrapes, scale.scrapes_naive))
        return [
            Fleet(vms, start, start.exporter.process.resident(), share, scraped)
            for start, share, scraped in zip(starts, idle, scrapes, strict=True)
        ]


async def _started(contestant: Contestant, feeder: Feeder, stack: AsyncExitStack) -> Start:
    began = time.monotonic()
    exporter = await stack.enter_async_context(contestant(feeder))
    await feeder.tell("negotiated")  # not to be disturbed by scrapes until then
    scrape = await exporter.all_up(len(feeder.names))
    return Start(exporter, scrape.at - began, exporter.process.cpu(), scrape.samples)


async def _idle(exporters: Sequence[Exporter], seconds: float) -> list[float]:
    """Shares of a core, with nobody asking for a page."""
    before = [exporter.process.cpu() for exporter in exporters]
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return [(exporter.process.cpu() - cpu) / took for exporter, cpu in zip(exporters, before, strict=True)]


async def _scraped(exporters: Sequence[Exporter], times: Sequence[int]) -> list[Scrapes]:
    """`times`: how often each of them is asked after the first time."""
    firsts = [(await _scrape_cpu(exporter))[0] for exporter in exporters]
    turns: list[list[tuple[float, float, int]]] = [[] for _ in exporters]
    for number in range(max(times)):
        for exporter, own, most in zip(exporters, turns, times, strict=False):
            if number < most:
                own.append(await _scrape_cpu(exporter))
    return [
        Scrapes(first, sum(cpu for cpu, _, _ in own) / len(own), [seconds for _, seconds, _ in own], own[-1][2])
        for first, own in zip(firsts, turns, strict=True)
    ]


async def _scrape_cpu(exporter: Exporter) -> tuple[float, float, int]:
    """CPU seconds, seconds, bytes."""
    before = exporter.process.cpu()
    scrape = await exporter.scrape()
    return exporter.process.cpu() - before, scrape.seconds, len(scrape.packed)


def _budgets(fleet: Fleet) -> list[Number]:
    most = 95 + fleet.start.samples / 2 / 1024  # MiB: half a KiB for each series
    rows = [Number(f"{fleet.vms:,} VMs: memory", [fleet.resident / 2**20], "MiB", most=most)]
    if fleet.vms == 500:
        rows.append(Number("500 VMs: idle", [100 * fleet.idle], "% of a core", most=3))
    if fleet.vms == 2000:
        rows.append(Number("2,000 VMs: start to all up", [fleet.start.seconds], "s", most=10))
    return rows


def _ratios(our: list[Fleet], their: list[Fleet]) -> list[Number]:
    pairs = [(one, other) for one in our for other in their if one.vms == other.vms]
    rows = []
    for one, other in pairs:
        for what, mine, its in (
            ("memory", one.resident, other.resident),
            ("idle CPU", one.idle, other.idle),
            ("scrape CPU after polls", one.scrapes.first_cpu, other.scrapes.first_cpu),
            ("scrape CPU again", one.scrapes.cpu, other.scrapes.cpu),
        ):
            if mine:
                rows.append(ratio(f"naive / ours, {one.vms:,} VMs: {what}", Number("", [its]), Number("", [mine])))
    return rows
