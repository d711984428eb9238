"""A fleet whose VMs told everything, without sockets -> CPU per sample of its page, beside prometheus_client's.

The page is made as the daemon makes it, by its own Fleet and Exposition, and goes through a channel to what the web
process does with it.  Both are in this process here; CPU is that of all its threads.
"""

import asyncio
import gzip
import socket
import time
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from qmp_exporter.catalog import CATALOG
from qmp_exporter.channel.connection import connected
from qmp_exporter.channel.messages import FRAME, MAX_REQUEST, Kind, header
from qmp_exporter.channel.messages import Page as PageOf
from qmp_exporter.channel.messages import encode as encode_message
from qmp_exporter.config import Target
from qmp_exporter.core.family import Query
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import Event, Greeting, decode
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import STATIC
from qmp_exporter.daemon.web.answers import Answers
from qmp_exporter.daemon.web.conversation import Conversation
from qmp_exporter.simulator import COMMANDS, SimulatedVm, SpiceServer
from qmp_exporter.simulator.commands import execute
from qmp_exporter.simulator.wire import Request, encode
from qmp_exporter.web.shared_answers import SharedAnswers
from serving import answers_of, talking
from tests.bench.scale import Scale
from tests.bench.table import Number, numbers, ratio

TICK = 0.001  # seconds between two looks at whether the event loop turns
FORMS = (
    ("text", False, False),
    ("OpenMetrics", True, False),
    ("text, gzip", False, True),
    ("OpenMetrics, gzip", True, True),
)
Dirty = frozenset[int]  # families


class Oracle(Collector):
    """The same samples for prometheus_client."""

    def __init__(self, vms: dict[str, Vm]) -> None:
        self._vms = vms

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for index, family in enumerate(CATALOG.families):
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = kind(family.name, family.help, labels=[*(label.name for label in family.labels), "vm"])
            for name, vm in self._vms.items():
                for labels, value in vm.samples.values[index].items():
                    metric.add_metric((*labels, name), value)
            if metric.samples:
                yield metric


async def run(scale: Scale) -> str:
    stats = Selfstats()
    targets = tuple(Target(f"vm{number:04}", f"/run/qmp/vm{number:04}.sock") for number in range(1, scale.page_vms + 1))
    fleet = Fleet(stats)
    fleet.want(STATIC, targets)
    vms = {name: watch.vm for name, watch in fleet.watches.items()}
    polled = frozenset.union(*[_told(vm, name) for name, vm in vms.items()])
    samples = sum(len(values) for vm in vms.values() for values in vm.samples.values)
    await fleet.refresh()
    registry = CollectorRegistry()
    registry.register(Oracle(vms))
    assert fleet.page.text() == generate_latest(registry).decode()
    assert fleet.page.text(openmetrics=True) + "# EOF\n" == generate_openmetrics(registry).decode()
    answers = answers_of(fleet, stats)
    async with talking(answers, stats) as watcher:
        shared = SharedAnswers(watcher)
        rows = await _contest(vms, shared, registry, polled, samples=samples, scale=scale)
        for what, dirty in (("nothing", frozenset[int]()), ("all samples", _all())):
            holds = [1e3 * await _held(vms, answers, dirty) for _ in range(scale.repeats)]
            rows.append(Number(f"the watcher's event loop held, {what} changed", holds, "ms", most=20))
    head = f"{len(vms):,} VMs, {samples:,} samples, a page of {len(fleet.page.text()) / 2**20:.1f} MiB"
    return f"{head}; text and OpenMetrics equal prometheus_client's:\n\n{numbers(rows)}"


def _told(vm: Vm, name: str) -> Dirty:
    """Connect the VM to one that has everything; what changes with a poll when its disks worked."""
    simulated = SimulatedVm(name, spice=SpiceServer())
    simulated.on_event.append(lambda event: vm.event(_heard(encode(event.message())), 0.0))
    vm.connected(Greeting("10.0.0"), time.time())
    vm.seed(CATALOG.queries)
    _answer(vm, simulated, CATALOG.queries)
    simulated.start_job("mirror", length=64 << 30, speed=1 << 20)
    simulated.vnc_initialize(simulated.vnc_connect("default"))
    for disk in simulated.blocks[:2]:
        simulated.io_error(disk.id, "write", "report")
    simulated.move_tray(simulated.blocks[2].id, open=True)
    simulated.reset()
    _answer(vm, simulated, CATALOG.queries)
    vm.samples.dirty.clear()
    for disk in simulated.blocks:
        simulated.do_io(disk.id, "read", count=123_457, size=16384)
        simulated.do_io(disk.id, "write", count=1_234_577, size=8192)
    _answer(vm, simulated, (query for query in CATALOG.queries if query.every == "poll"))
    polled = frozenset(vm.samples.dirty)
    vm.samples.dirty.update(_all())
    return polled


def _heard(line: bytes) -> Event:
    message = decode(line)
    assert isinstance(message, Event)
    return message


def _answer(vm: Vm, simulated: SimulatedVm, queries: Iterable[Query]) -> None:
    """All that the simulator knows; a QEMU that lacks a command is not asked for it either."""
    for query in queries:
        if query.command not in COMMANDS:
            continue
        if query.needed_when is not None and not query.needed_when(vm.facts):
            continue
        arguments = query.arguments_for(vm.facts)
        request = Request(query.command, msgspec.json.decode(arguments) if arguments else {}, {})
        vm.reply(query, Raw(msgspec.json.encode(execute(simulated, request))), time.time())


def _all() -> Dirty:
    return frozenset(range(len(CATALOG.families)))


async def _contest(
    vms: dict[str, Vm],
    shared: SharedAnswers,
    registry: CollectorRegistry,
    polled: Dirty,
    *,
    samples: int,
    scale: Scale,
) -> list[Number]:
    """Each way to make the page in turn, in microseconds of CPU per sample."""
    hundredth = dict(list(vms.items())[:: 100 if len(vms) >= 100 else 1])
    changes: tuple[tuple[str, dict[str, Vm], Dirty, float], ...] = (
        ("nothing changed", {}, frozenset(), 0.35),
        ("1 % of the VMs polled", hundredth, polled, 0.35),
        ("all VMs polled", vms, polled, 2.0),
        ("all samples changed", vms, _all(), 2.0),
    )
    rows = []
    for form, openmetrics, compressed in FORMS:
        ours: dict[str, list[float]] = {what: [] for what, *_ in changes}
        theirs: list[float] = []
        for _ in range(scale.repeats):
            for what, changed, dirty, _budget in changes:
                _spoil(changed, dirty)
                started = time.process_time()
                await shared.to(PageOf(openmetrics, compressed))
                ours[what].append((time.process_time() - started) * 1e6 / samples)
            started = time.process_time()
            _library(registry, openmetrics=openmetrics, compressed=compressed)
            theirs.append((time.process_time() - started) * 1e6 / samples)
        numbers_of_form = [Number(f"{form}: {what}", ours[what], "µs", most=budget) for what, _, _, budget in changes]
        library = Number(f"{form}: prometheus_client", theirs, "µs")
        rows += [
            *numbers_of_form,
            library,
            ratio(f"{form}: prometheus_client / ours, all VMs polled", library, numbers_of_form[2]),
        ]
    return rows


def _spoil(vms: dict[str, Vm], dirty: Dirty) -> None:
    for vm in vms.values():
        vm.samples.dirty.update(dirty)


def _library(registry: CollectorRegistry, *, openmetrics: bool, compressed: bool) -> bytes:
    page = generate_openmetrics(registry) if openmetrics else generate_latest(registry)
    return gzip.compress(page) if compressed else page  # as prometheus_client's own HTTP server does


async def _held(vms: dict[str, Vm], answers: Answers, dirty: Dirty) -> float:
    """The longest for which a task waited for its turn while the watcher sent a page to somebody who only reads."""
    _spoil(vms, dirty)
    ours, theirs = socket.socketpair()
    longest = 0.0
    conversation = Conversation(await connected(ours, MAX_REQUEST), answers, lambda _numbers: None)
    async with asyncio.TaskGroup() as group:
        talk = group.create_task(conversation.run())
        page = group.create_task(asyncio.to_thread(_read_page, theirs))
        while not page.done():
            before = time.monotonic()
            await asyncio.sleep(TICK)
            longest = max(longest, time.monotonic() - before - TICK)
        theirs.close()
        await talk
    return longest


def _read_page(end: socket.socket) -> None:
    question = encode_message(PageOf(openmetrics=True, compressed=True))
    end.sendall(FRAME.pack(len(question), 1, Kind.REQUEST) + question)
    with end.makefile("rb") as frames:
        kind = Kind.REQUEST
        while kind is not Kind.END:
            length, _, kind = header(frames.read(FRAME.size), 1 << 30)
            frames.read(length)
