"""Storms of BLOCK_IO_ERROR -> events per CPU second, memory, and how late pages and quiet VMs are meanwhile."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from tests.bench.contest import PATIENCE, Contestant, Exporter, Feeder, Scrape, counting, feeding, naive, ours
from tests.bench.scale import Scale
from tests.bench.table import Number, csv, numbers, percentile, ratio

LOUD, QUIET = 1, 2  # the numbers of two VMs
BARE = "bare reader"
ONE = "one socket"
FEW = 10  # VMs of a small hypervisor


class Storm(NamedTuple):
    """What one storm did to its exporter."""

    per_cpu_second: float
    bytes_before: int
    bytes_after: int


class Flood(NamedTuple):
    """One VM floods, another whispers: what can be seen from outside."""

    vms: int
    asked: int  # events a second; 0: as many as are read
    rate: float  # events a second that came
    lag: float | None  # seconds; None where the exporter does not say
    delays: Sequence[float]
    scrapes: Sequence[float]

    @property
    def row(self) -> tuple[float | None, ...]:
        pages, delays = self.scrapes, self.delays
        milliseconds = (percentile(pages, 50), percentile(pages, 99), percentile(delays, 50), percentile(delays, 99))
        lag = None if self.lag is None else self.lag * 1e3
        return (self.vms, self.rate, lag, *(1e3 * seconds for seconds in milliseconds))


async def run(scale: Scale) -> str:
    one, many = await _throughput(scale, 1), await _throughput(scale, scale.sockets)
    long = [await _long(scale, sockets) for sockets in (1, scale.sockets)]
    floods = [await _flooded(ours, FEW, rate, scale) for rate in scale.rates]
    crowd = [await _flooded(ours, max(FEW, scale.sockets), rate, scale) for rate in scale.rates_crowd]
    theirs = [await _flooded(naive, FEW, rate, scale) for rate in scale.rates_naive]
    header = (
        "vms",
        "events_per_second",
        "loop_lag_ms",
        "page_p50_ms",
        "page_p99_ms",
        "visible_p50_ms",
        "visible_p99_ms",
    )
    return "\n".join((
        "Events per CPU second of the exporter's process:\n",
        numbers((*_rates(one, ONE), *_rates(many, f"{scale.sockets} sockets"))),
        f"Memory, over {scale.events_long:,} events for ours and {scale.events_stock:,} for the others:\n",
        numbers(_facts(one, long, scale)),
        "One VM floods, another's single events are looked for on the page; 10 VMs, then many:\n",
        numbers(_budgets(floods, crowd)),
        csv(header, [flood.row for flood in (*floods, *crowd)]),
        "The same of the naive exporter, which has no word for its lag:\n",
        csv(header, [flood.row for flood in theirs]),
    ))  # fmt: skip


async def _throughput(scale: Scale, sockets: int) -> dict[str, list[Storm]]:
    """All in turn, so that a machine that gets slower gets slower for all."""
    results: dict[str, list[Storm]] = {"ours": [], BARE: [], "stock qemu.qmp": [], "naive": []}
    async with feeding(sockets) as feeder:
        for _ in range(scale.repeats):
            results["ours"].append(await _stormed(ours, feeder, scale.events))
            results[BARE].append(await _counted("bare.py", feeder, scale.events))
            results["stock qemu.qmp"].append(await _counted("stock.py", feeder, scale.events_stock))
            results["naive"].append(await _stormed(naive, feeder, scale.events_stock))
    return results


async def _long(scale: Scale, sockets: int) -> Storm:
    async with feeding(sockets) as feeder:
        return await _stormed(ours, feeder, scale.events_long)


async def _stormed(contestant: Contestant, feeder: Feeder, events: int) -> Storm:
    vms = len(feeder.names)
    async with contestant(feeder) as exporter:
        await feeder.tell("negotiated")
        await exporter.all_up(vms)
        warm = events // 4
        await feeder.tell("storm", warm, 1, vms)  # fills buffers that stay
        await exporter.counted(warm)
        cpu, before = exporter.process.cpu(), exporter.process.resident()
        await feeder.tell("storm", events, 1, vms)
        await exporter.counted(warm + events)
        took = exporter.process.cpu() - cpu
        return Storm(events / took if took else float("inf"), before, exporter.process.resident())


async def _counted(program: str, feeder: Feeder, events: int) -> Storm:
    vms = len(feeder.names)
    async with counting(program, feeder, events) as process:
        await feeder.tell("negotiated")
        cpu, before = process.cpu(), process.resident()
        await feeder.tell("storm", events, 1, vms)
        assert await asyncio.wait_for(process.line(), PATIENCE) == "done"
        took = process.cpu() - cpu
        return Storm(events / took if took else float("inf"), before, process.resident())


async def _flooded(contestant: Contestant, vms: int, rate: int, scale: Scale) -> Flood:
    async with feeding(vms) as feeder, contestant(feeder) as exporter:
        await feeder.tell("negotiated")
        await exporter.all_up(vms)
        await asyncio.sleep(scale.settle if vms > FEW else 0)  # the start of a few VMs holds the event loop for nothing
        async with asyncio.TaskGroup() as group:
            flood = group.create_task(feeder.tell("flood", scale.flood, rate, LOUD))
            delays, scrapes = await _whispers(feeder, exporter, flood)
            last = await exporter.scrape()
        sent = flood.result()
        await exporter.counted(int(sent) + len(delays))
        lag = last.total("qmp_exporter_event_loop_lag_seconds") if contestant is ours else None
        return Flood(vms, rate, sent / scale.flood, lag, delays, scrapes)


async def _whispers(
    feeder: Feeder, exporter: Exporter, flood: "asyncio.Task[float]"
) -> tuple[list[float], list[float]]:
    """Seconds from each event of the quiet VM to the page that shows it; seconds of all these scrapes."""
    delays: list[float] = []
    scrapes: list[float] = []
    label = f'vm="{feeder.names[QUIET - 1]}"'

    def shown(scrape: Scrape) -> bool:
        scrapes.append(scrape.seconds)
        return scrape.total(exporter.names.io_errors, label) == len(delays) + 1

    while not flood.done():
        emitted = await feeder.tell("beat", QUIET)
        delays.append((await exporter.until(shown)).at - emitted)
    return delays, scrapes


def _rates(results: dict[str, list[Storm]], where: str) -> list[Number]:
    measured = {
        who: Number(f"{who}, {where}", [storm.per_cpu_second for storm in storms], "/s")
        for who, storms in results.items()
    }
    our = measured["ours"] = measured["ours"]._replace(least=200_000)
    others = [(who, number) for who, number in measured.items() if number is not our]
    return [*measured.values(), *(_ratio(who, where, our, number) for who, number in others)]


def _ratio(who: str, where: str, our: Number, other: Number) -> Number:
    """With many sockets ours also asks as many VMs and makes their page meanwhile: a bare reader does neither."""
    number = ratio(f"ours / {who}, {where}", our, other)
    return number._replace(least=0.55) if (who, where) == (BARE, ONE) else number


def _facts(one: dict[str, list[Storm]], long: list[Storm], scale: Scale) -> list[Number]:
    rows = []
    for storm, where in zip(long, (ONE, f"{scale.sockets} sockets"), strict=True):
        rows.append(Number(f"ours before, {where}", [storm.bytes_before / 2**20], "MiB"))
        grown = (storm.bytes_after - storm.bytes_before) / 2**20
        rows.append(Number(f"ours: growth, {where}", [grown], "MiB", most=1))
    for who, storms in one.items():
        if who not in {"ours", BARE}:
            kept = [(storm.bytes_after - storm.bytes_before) / scale.events_stock for storm in storms]
            row = Number(f"{who}: kept of each event", kept, "bytes")
            rows += [
                row,
                Number(
                    f"{who}: extrapolated to {scale.events_long:,}", [row.middle * scale.events_long / 2**30], "GiB"
                ),
            ]
    return rows


def _budgets(floods: list[Flood], crowd: list[Flood]) -> list[Number]:
    rows = []
    for flood in (floods[-1], *crowd):
        where = f"{flood.vms} VMs, {f'{flood.asked:,}' if flood.asked else 'as many as are read'} /s"
        rows.append(Number(f"page p99, {where}", [percentile(flood.scrapes, 99) * 1e3], "ms", most=250))
        rows.append(Number(f"visible p99, {where}", [percentile(flood.delays, 99) * 1e3], "ms", most=50))
        rows.append(Number(f"event-loop lag, {where}", [1e3 * (flood.lag or 0)], "ms", most=50))
    return rows
