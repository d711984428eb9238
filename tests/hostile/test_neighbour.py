"""A real watch of a VM that does its worst, beside one that is well -> the other one's counters exact, and prompt."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bounds import resident
from peer import GREETING
from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.core import backoff, in_flight, protocol
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.commands import execute
from qmp_exporter.simulator.faults import (
    BAD_JSON,
    BLANK_LINE,
    INVALID_UTF8,
    WRONG_TYPES,
    Endless,
    Flood,
    Garbage,
    HangUp,
    NoGreeting,
    Stall,
    deep_nesting,
    long_line,
)
from qmp_exporter.simulator.wire import Request, encode
from watching import NEVER, Watched, eventually

UNREAD = b'{"event": "STOP", "data": 5}\r\n'  # a STOP says all by its name
CLIENT = {"client": {"host": "h", "service": "1", "family": "ipv4"}}
ROUNDS = 12
PROMPT = 2.0  # seconds until the page of the one that is well is right, on a machine that does other things, too
MIB = 1 << 20


class Neighbours:
    """Two simulated VMs, their monitors, and a watch of each in one process."""

    def __init__(self, directory: Path) -> None:
        self.ill = Monitor(SimulatedVm("ill"), directory / "ill.sock")
        self.well = Monitor(SimulatedVm("well"), directory / "well.sock")
        self.slowest = 0.0
        self._stops = 0

    def watch(self, monitor: Monitor, tasks: asyncio.TaskGroup) -> tuple[Watched, asyncio.Task[None]]:
        stats = Selfstats()
        watch = Watch(Target(monitor.vm.name, str(monitor.address), poll_interval=NEVER), CATALOG, stats, lambda: 0.5)
        return Watched(watch, stats), tasks.create_task(watch.run())

    async def live_well(self, rounds: int = ROUNDS) -> None:
        """Stops and resumes; its page follows at once and counts each of them once."""
        for _ in range(rounds):
            self._stops += 1
            began = time.monotonic()
            self.well.vm.stop()
            await self.page_of_the_well.says('qemu_vm_state{state="paused"}')
            await self.page_of_the_well.says("qemu_vm_stops_total", self._stops)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.well.vm.cont()
            await self.page_of_the_well.says('qemu_vm_state{state="running"}')
        await self.page_of_the_well.says("qemu_vm_resumes_total", self._stops)
        lines = self.page_of_the_well.lines()
        assert lines["qemu_monitor_connects_total"] == lines["qemu_up"] == 1
        assert self.slowest < PROMPT

    @contextlib.asynccontextmanager
    async def watched(self, *monitors: Monitor) -> AsyncIterator[None]:
        """Inside, both are watched; `monitors` are those that have to listen."""
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for monitor in monitors or (self.ill, self.well):
                await stack.enter_async_context(monitor)
            self.page_of_the_well, one = self.watch(self.well, tasks)
            await self.page_of_the_well.says("qemu_up")
            self.page_of_the_ill, other = self.watch(self.ill, tasks)
            yield
            one.cancel()
            other.cancel()

    def bad(self, reason: str) -> float:
        return self.page_of_the_ill.own(f'qmp_exporter_bad_messages_total{{reason="{reason}"}}')


@pytest.fixture
def neighbours(directory: Path) -> Neighbours:
    return Neighbours(directory)


@pytest.mark.parametrize(
    ("rubbish", "reason", "count"),
    [
        *(pytest.param(wrong, "shape", 1, id=ascii(wrong)[2:60]) for wrong in WRONG_TYPES if wrong != UNREAD),
        pytest.param(UNREAD, "shape", 0, id="data that nobody reads"),
        pytest.param(BAD_JSON, "json", 1, id="no JSON"),
        pytest.param(BLANK_LINE, "json", 0, id="a blank line"),
        pytest.param(INVALID_UTF8, "utf8", 1, id="no UTF-8"),
        pytest.param(deep_nesting(), "shape", 1, id="nesting"),
        pytest.param(b'{"event": "STOP", "data": ' + deep_nesting().strip() + b"}\r\n", "depth", 1, id="deep data"),
        pytest.param(long_line(20 * MIB), "size", 1, id="20 MiB"),
        pytest.param(b'{"event": "RTC_CHANGE", "data": {"offset": 1e999}}\r\n', "shape", 1, id="infinity"),
        pytest.param(b'{"event": "RTC_CHANGE", "data": {"offset": NaN}}\r\n', "json", 1, id="no number"),
        pytest.param(
            b'{"event": "STOP", "timestamp": {"seconds": 1' + b"0" * 9000 + b"}}\r\n", "shape", 1, id="digits"
        ),
        pytest.param(b'{"return": {}, "id": 99}\r\n', "unexpected", 1, id="a reply to nothing"),
    ],
)
async def test_rubbish_is_counted_and_what_comes_after_it_is_heard(neighbours, rubbish, reason, count):
    async with neighbours.watched():
        await neighbours.page_of_the_ill.says("qemu_up")
        neighbours.ill.inject(Garbage(rubbish))
        neighbours.ill.vm.change_rtc(7)
        await neighbours.page_of_the_ill.says("qemu_rtc_offset_seconds", 7)
        assert neighbours.bad(reason) == count
        await neighbours.page_of_the_ill.says("qemu_up")
        await neighbours.live_well(rounds=3)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(NoGreeting(), id="no greeting"),
        pytest.param(Endless(), id="a greeting that never ends"),
        pytest.param(Endless(start=b"", filler=BAD_JSON * 1000), id="rubbish without end for a greeting"),
        pytest.param(Endless(start=b'{"event": "', at="negotiated"), id="a line that never ends"),
        pytest.param(
            Endless(start=b"", filler=b'{"event": null}\r\n' * 1000, at="negotiated"), id="bad events without end"
        ),
        pytest.param(Flood(100_000), id="100,000 events a second"),
        pytest.param(Flood(20_000, event="VNC_CONNECTED", data=CLIENT), id="20,000 clients a second"),
        pytest.param(Stall(), id="no reply to anything"),
        pytest.param(HangUp(at="greeting"), id="hang-up for a greeting"),
        pytest.param(HangUp(at="negotiated"), id="hang-up after the handshake"),
    ],
)
async def test_what_one_does_without_end_leaves_the_other_alone(neighbours, fault, figure, monkeypatch):
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    monkeypatch.setattr(in_flight, "PATIENCE", 0.2)
    neighbours.ill.inject(fault)
    before = resident()
    async with neighbours.watched():
        await neighbours.live_well()
        grown = (resident() - before) / MIB
    assert grown < 64
    figure(f"the other one's page right after {neighbours.slowest:.3f} s at most; {grown:.0f} MiB more")


async def test_a_vm_that_answers_nothing_is_stale_and_its_events_are_heard(neighbours, monkeypatch):
    async with neighbours.watched():
        ill = neighbours.page_of_the_ill
        await ill.says("qemu_up")
        await eventually(lambda: ill.watch.session.scheduler.in_flight.query is None)  # else that one is not answered
        monkeypatch.setattr(in_flight, "PATIENCE", 0.1)  # not before: a busy machine may take as long to connect
        neighbours.ill.inject(Stall())
        answered = ill.lines()["qemu_monitor_last_reply_timestamp_seconds"]
        neighbours.ill.vm.stop()
        timeouts = 'qmp_exporter_command_errors_total{command="query-status",reason="timeout"}'
        await eventually(lambda: ill.own(timeouts) == 1)
        for offset in range(1, 11):
            neighbours.ill.vm.change_rtc(offset)
        await ill.says("qemu_rtc_changes_total", 10)
        await ill.says("qemu_monitor_last_reply_timestamp_seconds", answered)
        await neighbours.live_well()
        neighbours.ill.heal()
        await ill.says('qemu_vm_state{state="paused"}')
        await eventually(lambda: ill.lines()["qemu_monitor_last_reply_timestamp_seconds"] > answered)


async def test_a_monitor_may_hang_up_after_any_byte(neighbours, directory, figure, monkeypatch):
    """Of a session with a small VM, from its greeting to its last reply; each session gets one byte further."""
    monkeypatch.setattr(backoff, "FIRST", 0.0)
    monkeypatch.setattr(backoff, "LONGEST", 0.0)
    vm = SimulatedVm("ill", blocks=[], vnc=[], commands=("query-commands", "query-status", "query-name", "query-block"))
    server = Curtailed(vm)
    neighbours.ill.address = directory / "curtailed.sock"
    async with (
        await asyncio.start_unix_server(server.serve, neighbours.ill.address),
        neighbours.watched(neighbours.well),
    ):
        await neighbours.page_of_the_ill.says("qemu_up")
        await neighbours.live_well()
        lines = neighbours.page_of_the_ill.lines()
    assert server.sessions == sum(server.lengths) + 1
    assert (
        lines["qemu_monitor_connects_total"] == 1 + sum(server.lengths[2:]) + 1
    )  # cut behind the handshake, and whole
    assert lines['qemu_monitor_disconnects_total{after="none"}'] == lines["qemu_monitor_connects_total"] - 1
    assert neighbours.bad("truncated") == sum(server.lengths) - len(server.lengths)
    assert neighbours.bad("json") == neighbours.bad("shape") == 0
    figure(f"{server.sessions} sessions")


class Curtailed:
    """Serves the first client one byte, the next one two, and so on; the end of a session that is whole stays open."""

    def __init__(self, vm: SimulatedVm) -> None:
        self.sessions = 0
        self.lengths: list[int] = []  # of the messages of the last session
        self._vm = vm

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self.sessions = self.sessions + 1
        said, self.lengths = GREETING, []
        while left > len(said):
            writer.write(said)
            left -= len(said)
            self.lengths.append(len(said))
            request = await reader.read(65536)
            if not request:
                break
            said = self._answer(json.loads(request))
        else:
            writer.write(said[:left])
        writer.close()

    def _answer(self, request: dict) -> bytes:
        value = (
            {} if request["execute"] == "qmp_capabilities" else execute(self._vm, Request(request["execute"], {}, {}))
        )
        return encode({"return": value, "id": request["id"]})
