"""A monitor that greets -> what it answers, how fast, and what would be exported; then it is free again."""

import asyncio
import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from qmp_exporter.catalog import GROUPS, without
from qmp_exporter.config import Target
from qmp_exporter.core.family import Query
from qmp_exporter.core.in_flight import PATIENCE
from qmp_exporter.core.page import Page
from qmp_exporter.core.process import HOST_WANTS
from qmp_exporter.core.protocol import Message, Protocol
from qmp_exporter.core.session import Outcome, Session
from qmp_exporter.core.vm import Vm
from qmp_exporter.daemon.host.network import NetworkReader
from qmp_exporter.daemon.host.process import ProcessReader, peer_pid
from qmp_exporter.daemon.monitor.link import Link

AGAIN = 4  # times that a query which only reads memory is asked after the first, for a median of five
POLL = 3600.0  # seconds: no poll is due while this lasts
# What an operator looks for first, in this order; of these the lines that are not 0 are shown.
_TELLING = (
    "qemu_up",
    "qemu_vm_info",
    "qemu_vm_state",
    "qemu_block_io_status",
    "qemu_block_failed_operations_total",
    "qemu_block_job_status",
    "qemu_migration_status",
    "qemu_block_tray_open",
    "qemu_vnc_clients",
    "qemu_spice_sessions",
    "qemu_block_written_bytes_total",
    "qemu_process_cpu_seconds_total",
)
LINES = 10


class Asked(NamedTuple):
    """One query: seconds of each answer, and the class of the error if it was one ("timeout" for none)."""

    command: str
    seconds: tuple[float, ...]
    error: str = ""

    @property
    def typical(self) -> float:
        return median(self.seconds) if self.seconds else PATIENCE


class Lack(NamedTuple):
    """A query that this QEMU does not have; the metrics that are gone, and those that only events still feed."""

    command: str
    gone: tuple[str, ...]
    by_events: tuple[str, ...]


class ProbeResult(NamedTuple):
    """`groups`: families and series by group; `lines`: the most telling ones of the page.

    `is_whole`: every query was answered, be it by an error.
    """

    version: str
    name: str
    uuid: str
    is_vm: bool  # else a qemu-storage-daemon
    pid: int | None
    asked: tuple[Asked, ...]
    lacks: tuple[Lack, ...]
    groups: tuple[tuple[str, int, int], ...]
    lines: tuple[str, ...]
    is_whole: bool

    @property
    def series(self) -> int:
        return sum(series for _, _, series in self.groups)


class Probe:
    """One session with one monitor; `vm` is fed as the daemon feeds it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._dispatch = dispatch = without(target.disabled, target.kvm_stats)
        self._unasked = frozenset() if target.query_block else frozenset({"query-block"})
        self.vm = Vm(dispatch, time.time())
        self._session = Session(self.vm, POLL, 0.0, self._unasked)
        self._answered = asyncio.Event()
        self.link = Link(
            target.socket,
            Protocol(dispatch.allowed, time.monotonic()),
            receive=self._receive,
            ended=self._answered.set,
        )
        self._outcome: Outcome | None = None
        self._seconds: dict[Query, list[float]] = {}
        self._errors: dict[Query, str] = {}

    async def run(self) -> ProbeResult:
        """:raise Unreachable: there is no session to be had."""
        try:
            await self.link.open()
            if await self._resync():
                await self._ask_again()
            pid = peer_pid(self.link.socket) if self.link.socket is not None else None
            if pid is not None and self.vm.host_parts:
                reader = ProcessReader(pid, self.vm.host_parts, NetworkReader())
                self.vm.process(reader.read(self.vm.facts[HOST_WANTS], time.monotonic()), time.time())
            return self._result(pid)
        finally:
            await self.link.close()

    async def _resync(self) -> bool:
        """Ask everything once, as the daemon does at each connect; False if a query was not answered."""
        while self.link.is_open and not self._session.scheduler.resynced:
            now = time.monotonic()
            turn = self._session.turn(time.time(), now)
            if turn.query is None:
                await asyncio.sleep(turn.due - now)
            elif not await self._ask(turn.query):
                return False
        return self.link.is_open

    async def _ask_again(self) -> None:
        """What touches image files, or tells what hardly changes, was asked once and that is enough."""
        for _ in range(AGAIN):
            for query in self._session.scheduler.available:
                if query.every in {"slow", "rare", "event"} or query in self._errors:
                    continue
                self._session.scheduler.ask(query, time.monotonic())
                if not self.link.is_open or self.vm.facts.ending or not await self._ask(query):
                    return

    async def _ask(self, query: Query) -> bool:
        self._outcome = None
        self._answered.clear()
        self.link.ask(query, query.arguments_for(self.vm.facts))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answered.wait()
        except TimeoutError:
            self._errors[query] = "timeout"
            return False
        if self._outcome is None:  # the session ended
            return False
        _, result, seconds, unreadable = self._outcome
        self._seconds.setdefault(query, []).append(seconds or 0.0)
        if unreadable:
            self._errors[query] = f"unreadable: {unreadable}"
        elif result not in {"ok", "overtaken"}:
            self._errors[query] = result
        return True

    def _receive(self, messages: list[Message]) -> None:
        for notice in self._session.receive(messages, time.time(), time.monotonic()):
            if isinstance(notice, Outcome):
                self._outcome = notice
                self._answered.set()

    # --- what is made of it

    def _result(self, pid: int | None) -> ProbeResult:
        families = {family.name: index for index, family in enumerate(self._dispatch.families)}
        name, uuid, *_ = next(iter(self.vm.samples.values[families["qemu_vm_info"]]), ("", "", ""))
        groups = []
        for group in GROUPS.values():
            counts = [len(self.vm.samples.values[families[family.name]]) for family in group.families]
            groups.append((group.name, sum(count > 0 for count in counts), sum(counts)))
        asked = {**self._seconds, **dict.fromkeys(query for query in self._errors if query not in self._seconds)}
        scheduler = self._session.scheduler
        return ProbeResult(
            self.vm.facts.version,
            name,
            uuid,
            any(query.command == "query-status" for query in scheduler.available),
            pid,
            tuple(
                Asked(query.reply, tuple(self._seconds.get(query, ())), self._errors.get(query, "")) for query in asked
            ),
            tuple(self._lacks()) if scheduler.knows_available else (),
            tuple(groups),
            tuple(self._lines()),
            scheduler.resynced,
        )

    def _lacks(self) -> Iterator[Lack]:
        available = set(self._session.scheduler.available)
        replies = {query.reply for query in available}
        for query in self._dispatch.queries:
            if query.reply in replies:  # with the arguments that this QEMU is asked for it
                continue
            newer = {other for other in self._dispatch.queries if other.command == query.instead_of_newer}
            older = {other for other in self._dispatch.queries if other.instead_of_newer == query.command}
            if query.every == "event" or query.command in self._unasked or available & {query, *newer, *older}:
                continue
            if not query.instead_of_newer:  # it is the newer one that is missed
                yield self._lack(query)

    def _lack(self, query: Query) -> Lack:
        available = {other.reply for other in self._session.scheduler.available}
        gone: list[str] = []
        by_events: list[str] = []
        for index, family in enumerate(self._dispatch.families):
            sources = {source.name for source in family.sources}
            if self._dispatch.needs.get(index) is query:
                gone.append(family.name)
            elif query.reply in sources and not sources & available:
                (by_events if any(map(str.isupper, sources)) else gone).append(family.name)
        return Lack(query.reply, tuple(gone), tuple(by_events))

    def _lines(self) -> Iterator[str]:
        page = Page(self._dispatch.families)
        page.add(self._target.name, self._target.labels)
        page.refresh(self._target.name, self.vm.samples)
        by_family: dict[str, list[str]] = {}
        for line in page.text().splitlines():
            if not line.startswith("#") and not line.endswith(" 0.0"):
                by_family.setdefault(line.partition("{")[0], []).append(line)
        shown = [line for family in _TELLING for line in by_family.get(family, ())]
        yield from shown[:LINES]
