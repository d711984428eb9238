"""A libvirt daemon -> a page of each of its domains, whatever the daemon and its QEMUs do."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from libvirtd import ANSWERS, EVENTS, GET_STATE, LIST, QEMU, REMOTE, SUSPENDED, Domain, Libvirtd
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.vm import QUERY_STATUS
from qmp_exporter.config import Libvirt, Target
from qmp_exporter.core import in_flight
from qmp_exporter.core.family import Query
from qmp_exporter.core.libvirt import conversation, wire
from qmp_exporter.core.libvirt.slots import Slots
from qmp_exporter.core.protocol import NotAllowed
from qmp_exporter.core.replay import replay
from qmp_exporter.daemon.host.qemu_processes import QemuProcess
from qmp_exporter.daemon.libvirt import domain_link
from qmp_exporter.daemon.libvirt.connection import Connection
from qmp_exporter.daemon.libvirt.domain_link import CommandLink, DomainLink
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets import libvirt as libvirt_module
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.libvirt import LibvirtDomains
from qmp_exporter.daemon.targets.sources import STATIC
from qmp_exporter.simulator import Monitor, SimulatedVm
from watching import NEVER, FleetPage, eventually

PAUSED_BY_ERROR = (3, 5)
FOUR_AND_ONE = ("hung1", "hung2", "hung3", "hung4", "web01")


class Exporter(FleetPage):
    """A fleet with the domains of one libvirt, and its page."""

    def __init__(self, path: Path, group: asyncio.TaskGroup) -> None:
        self.path = path
        self.stats = Selfstats()
        super().__init__(Fleet(self.stats))
        self._group = group
        self._tasks = [group.create_task(self.fleet.run())]

    def watches(self, **settings: object) -> None:
        settings = {"grace": 900.0, "shared": Target("", "", poll_interval=NEVER)} | settings
        entry = Libvirt(str(self.path), "qemu:///system", **settings)
        self._tasks.append(self._group.create_task(LibvirtDomains(entry, self.fleet, self.stats, lambda: 0.0).run()))

    def failure(self) -> str:
        return "".join(self.fleet.failures.values())

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


@pytest.fixture
async def exporter(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Exporter]:
    monkeypatch.setattr(libvirt_module, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(libvirt_module, "AT_ONCE", 0.01)
    async with asyncio.TaskGroup() as group, AsyncExitStack():
        exporter = Exporter(directory / "libvirt-sock", group)
        yield exporter
        exporter.stop()


@pytest.fixture
def web01() -> Domain:
    return Domain("web01", answers=dict(ANSWERS))


@pytest.fixture
async def daemon(exporter: Exporter, web01: Domain) -> AsyncIterator[Libvirtd]:
    async with Libvirtd(exporter.path, web01) as daemon:
        yield daemon


async def test_a_domain_is_watched_under_its_name_and_nothing_is_sent_to_its_qemu(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.says('qemu_vm_running{vm="web01"}')
    page = await exporter.lines()
    assert page[f'qemu_vm_info{{name="web01",uuid="{web01.uuid}",version="",vm="web01"}}'] == 1
    assert not [line for line in page if line.startswith("qemu_monitor_last_reply_timestamp_seconds")]
    assert web01.asked == []
    assert "ask" not in daemon.calls


async def test_an_event_is_counted_and_libvirt_says_why_the_vm_stopped(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    web01.state = PAUSED_BY_ERROR
    error = {"device": "", "node-name": "libvirt-1-format", "operation": "write", "action": "stop", "nospace": True}
    daemon.event(web01, "BLOCK_IO_ERROR", error)
    daemon.event(web01, "STOP")
    await exporter.says('qemu_vm_state{state="io-error",vm="web01"}')
    page = await exporter.lines()
    labels = 'action="stop",device="libvirt-1-format",operation="write",vm="web01"'
    assert page[f"qemu_block_io_errors_total{{{labels}}}"] == 1
    assert page['qemu_vm_stops_total{vm="web01"}'] == 1
    assert page['qemu_vm_running{vm="web01"}'] == 0


async def test_a_state_that_libvirt_had_not_heeded_yet_is_asked_again_when_it_says_so(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.event(web01, "STOP")  # and libvirt says running
    await eventually(lambda: daemon.calls.count("state") >= 2)
    web01.state = (3, 1)
    daemon.lifecycle(web01, SUSPENDED)
    await exporter.says('qemu_vm_state{state="paused",vm="web01"}')


async def test_a_domain_that_starts_is_met_with_its_first_event(exporter, daemon):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.starts(Domain("db01", id=2))
    await exporter.says('qemu_up{vm="db01"}')
    assert (await exporter.lines())['qemu_vm_resumes_total{vm="db01"}'] == 1


@pytest.mark.parametrize(
    ("detail", "after"), [(0, "shutdown"), (1, "shutdown"), (4, "shutdown"), (2, "none"), (5, "none")]
)
async def test_libvirt_says_how_a_domain_ended(exporter, daemon, web01, detail, after):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.stops(web01, detail)
    await exporter.says(f'qemu_monitor_disconnects_total{{after="{after}",vm="web01"}}')
    await exporter.says('qemu_monitor_state{state="missing",vm="web01"}')
    assert sum(value for line, value in (await exporter.lines()).items() if "disconnects_total" in line) == 1


async def test_a_domain_that_starts_again_is_the_same_vm(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.event(web01, "STOP")
    await exporter.says('qemu_vm_stops_total{vm="web01"}')
    daemon.stops(web01, 1)
    await exporter.says('qemu_up{vm="web01"}', 0)
    daemon.starts(Domain("web01", web01.uuid, id=2))
    await exporter.says('qemu_up{vm="web01"}')
    page = await exporter.lines()
    assert page['qemu_monitor_connects_total{vm="web01"}'] == 2
    assert page['qemu_vm_stops_total{vm="web01"}'] == 1


async def test_a_domain_that_is_gone_leaves_the_page_after_its_grace(exporter, daemon, web01):
    exporter.watches(grace=0.1)
    await exporter.says('qemu_up{vm="web01"}')
    daemon.stops(web01, 0)
    await exporter.says('qemu_up{vm="web01"}', None)


async def test_a_restart_of_the_daemon_is_no_end_of_a_vm(exporter, web01):
    exporter.watches()
    async with Libvirtd(exporter.path, web01):
        await exporter.says('qemu_up{vm="web01"}')
    exporter.path.unlink(missing_ok=True)
    await exporter.says('qemu_monitor_state{state="refused",vm="web01"}')
    assert exporter.failure()
    async with Libvirtd(exporter.path, web01):
        await exporter.says('qemu_up{vm="web01"}')
        page = await exporter.lines()
        assert page['qemu_monitor_connects_total{vm="web01"}'] == 2
        assert sum(value for line, value in page.items() if "disconnects_total" in line) == 0
        assert exporter.failure() == ""


async def test_what_ended_while_the_daemon_was_away_is_seen_when_it_is_back(exporter, web01):
    exporter.watches(grace=0.1)
    async with Libvirtd(exporter.path, web01):
        await exporter.says('qemu_up{vm="web01"}')
    await exporter.says('qemu_up{vm="web01"}', 0)
    await asyncio.sleep(0.3)  # longer than the grace, which does not begin while nobody can tell
    assert (await exporter.lines())['qemu_up{vm="web01"}'] == 0
    exporter.path.unlink(missing_ok=True)
    async with Libvirtd(exporter.path):
        await exporter.says('qemu_up{vm="web01"}', None)


@pytest.mark.usefixtures("daemon")
async def test_a_vm_for_which_libvirt_waits_for_long_hangs(exporter, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    web01.waits = 12_000
    await exporter.says('qemu_monitor_state{state="hung",vm="web01"}')
    web01.waits = None
    await exporter.says('qemu_monitor_state{state="connected",vm="web01"}')


# --- with commands


@pytest.mark.usefixtures("daemon")
async def test_with_commands_qemu_answers_as_on_a_monitor_of_our_own(exporter, web01):
    exporter.watches(commands=True)
    await exporter.says('qemu_up{vm="web01"}')
    page = await exporter.lines()
    assert page['qemu_vm_info{name="web01",uuid="",version="7.2.22",vm="web01"}'] == 1
    assert page['qemu_vm_running{vm="web01"}'] == 1
    assert web01.asked[:2] == ["query-version", "query-commands"]


async def test_what_qemu_said_before_a_fault_is_kept_as_on_a_monitor_of_our_own(exporter, daemon, web01):
    exporter.watches(commands=True)
    await exporter.says('qemu_up{vm="web01"}')
    error = {"device": "virtio0", "operation": "write", "action": "report", "nospace": True}
    daemon.event(web01, "BLOCK_IO_ERROR", error)
    labels = 'action="report",device="virtio0",operation="write",vm="web01"'
    await exporter.says(f"qemu_block_io_errors_total{{{labels}}}")
    watch = exporter.fleet.watches["web01"]
    watch.recorder.keep()
    replayed = replay(CATALOG, watch.recorder.recording("7.2.22", ("web01", web01.uuid)).splitlines()).vm
    assert dict(replayed.values("qemu_block_io_errors_total")) == {("virtio0", "write", "report"): 1}
    assert replayed.values("qemu_vm_running") == watch.vm.values("qemu_vm_running")


@pytest.mark.usefixtures("daemon")
async def test_one_query_of_a_vm_and_four_of_all_are_under_way(exporter):
    domains = [Domain(f"vm{number}", id=number, answers=dict(ANSWERS)) for number in range(1, 31)]
    async with Libvirtd(exporter.path, *domains) as daemon:
        exporter.watches(commands=True)
        for domain in domains:
            await exporter.says(f'qemu_up{{vm="{domain.name}"}}')
        assert 1 <= daemon.most_in_flight <= 4


async def test_a_vm_that_libvirt_waits_for_is_not_asked(exporter, daemon, web01, monkeypatch):
    monkeypatch.setattr(domain_link, "ASK_AGAIN", 0.02)
    web01.waits = 2_000
    exporter.watches(commands=True)
    await eventually(lambda: daemon.calls.count("control") > 3)
    assert web01.asked == []
    web01.waits = None
    await exporter.says('qemu_up{vm="web01"}')


async def hang(daemon: Libvirtd, domains: list[Domain]) -> None:
    """-> when each of them has been asked, and does not answer"""
    for domain in domains:
        domain.hangs = True
        daemon.event(domain, "RESUME")  # has it asked
    await eventually(lambda: daemon.in_flight == len(domains))


async def test_four_that_hang_are_named_and_the_events_of_the_others_still_come(exporter, monkeypatch):
    monkeypatch.setattr(domain_link, "HUNG", 0.1)
    monkeypatch.setattr(in_flight, "HUNG", 0.1)
    *hanging, other = [Domain(name, id=number, answers=dict(ANSWERS)) for number, name in enumerate(FOUR_AND_ONE, 1)]
    async with Libvirtd(exporter.path, *hanging, other) as daemon:
        exporter.watches(commands=True)
        for domain in (*hanging, other):
            await exporter.says(f'qemu_up{{vm="{domain.name}"}}')
        await hang(daemon, hanging)
        await eventually(lambda: "libvirt waits for hung1, hung2, hung3, hung4" in exporter.failure())
        for domain in hanging:
            await exporter.says(f'qemu_monitor_state{{state="hung",vm="{domain.name}"}}')
        asked = len(other.asked)
        daemon.event(other, "STOP")
        await exporter.says('qemu_vm_stops_total{vm="web01"}')
        assert (await exporter.lines())['qemu_monitor_state{state="connected",vm="web01"}'] == 1
        assert len(other.asked) == asked
        for domain in hanging:
            daemon.goes_on(domain)
        await eventually(lambda: len(other.asked) > asked)
        await eventually(lambda: exporter.failure() == "")
        for domain in hanging:
            await exporter.says(f'qemu_monitor_state{{state="connected",vm="{domain.name}"}}')


async def test_a_qemu_that_hangs_from_the_start_is_met_when_it_answers(exporter, daemon, web01, monkeypatch):
    monkeypatch.setattr(domain_link, "VERSION_WITHIN", 0.1)
    web01.hangs = True
    exporter.watches(commands=True)
    await exporter.says('qemu_monitor_state{state="hung",vm="web01"}')
    daemon.goes_on(web01)
    await exporter.says('qemu_up{vm="web01"}')
    assert daemon.most_in_flight <= 4


async def test_calls_that_a_daemon_took_along_hold_nothing_after_its_restart(exporter):
    *hanging, other = [Domain(name, id=number, answers=dict(ANSWERS)) for number, name in enumerate(FOUR_AND_ONE, 1)]
    async with Libvirtd(exporter.path, *hanging, other) as daemon:
        exporter.watches(commands=True)
        for domain in (*hanging, other):
            await exporter.says(f'qemu_up{{vm="{domain.name}"}}')
        await hang(daemon, hanging)
        for domain in hanging:
            domain.waits = 60_000
        daemon.hang_up()
        await exporter.says('qemu_monitor_connects_total{vm="web01"}', 2)
        await exporter.says('qemu_up{vm="web01"}')
        assert daemon.in_flight == 0


def test_what_is_not_on_the_allow_list_never_leaves():
    run = wire.Domain("web01", "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab", 1)
    connection = Connection("/nowhere", "qemu:///system", lambda _: None)
    with pytest.raises(NotAllowed, match="query-block"):
        DomainLink(connection, run).ask(next(query for query in CATALOG.queries if query.command == "query-block"))

    async def ask() -> None:
        link = CommandLink(connection, run, CATALOG.allowed, Slots())
        with pytest.raises(NotAllowed, match="quit"):
            link.ask(Query("quit", dict))
        with pytest.raises(NotAllowed, match="query-status"):
            link.ask(QUERY_STATUS, b'{"a": 1}')

    asyncio.run(ask())


# --- with others


@pytest.mark.usefixtures("daemon")
async def test_a_vm_with_a_monitor_of_its_own_is_watched_once(exporter, web01, directory):
    vm = SimulatedVm("shop", vm_uuid=web01.uuid)
    async with Monitor(vm, directory / "shop.sock") as monitor:
        exporter.watches()
        await exporter.says('qemu_up{vm="web01"}')
        exporter.fleet.want(STATIC, [Target("shop", str(monitor.address), poll_interval=NEVER)])
        await exporter.says('qemu_up{vm="shop"}')
        await exporter.says('qemu_up{vm="web01"}', None)
        exporter.fleet.want(STATIC, [])
        await exporter.says('qemu_up{vm="web01"}')


async def test_who_only_claims_a_uuid_takes_no_vm_off_the_page(exporter, daemon, web01, directory, monkeypatch):
    """The QEMU of that UUID is another process."""
    genuine = {web01.uuid: QemuProcess(os.getppid(), ())}
    monkeypatch.setattr("qmp_exporter.daemon.libvirt.found_processes.qemu_processes", lambda: genuine)
    async with Monitor(SimulatedVm("shop", vm_uuid=web01.uuid), directory / "shop.sock") as monitor:
        exporter.watches()
        await exporter.says('qemu_up{vm="web01"}')
        exporter.fleet.want(STATIC, [Target("shop", str(monitor.address), poll_interval=NEVER)])
        await exporter.says('qemu_up{vm="shop"}')
        looked = daemon.calls.count("control")
        await eventually(lambda: daemon.calls.count("control") > looked + 2)
        assert (await exporter.lines())['qemu_up{vm="web01"}'] == 1


async def test_an_event_that_comes_after_the_end_begins_nothing(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.stops(web01, 1)
    daemon.event(web01, "SHUTDOWN", {"guest": False, "reason": "host-signal"})
    await exporter.says('qemu_monitor_state{state="missing",vm="web01"}')
    assert (await exporter.lines())['qemu_monitor_connects_total{vm="web01"}'] == 1


# --- what a daemon may do


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({(QEMU, EVENTS): (29, "read only")}, "is for reading only"),
        ({(REMOTE, LIST): (88, "access denied")}, "a rule of polkit forbids LIST_ALL_DOMAINS"),
        ({(REMOTE, 66): (38, "broken")}, "AUTH_LIST"),
    ],
)
async def test_a_daemon_that_does_not_let_us_says_why(exporter, daemon, errors, words):
    daemon.errors = errors
    exporter.watches()
    await eventually(lambda: words in exporter.failure() or "not in the group" in exporter.failure())
    daemon.errors = {}
    await exporter.says('qemu_up{vm="web01"}')


async def test_a_daemon_that_answers_nothing_is_left_and_tried_again(exporter, daemon, monkeypatch):
    monkeypatch.setattr(conversation, "OPEN_WITHIN", 0.05)
    daemon.silent = {(REMOTE, LIST)}
    exporter.watches()
    await eventually(lambda: "does not answer" in exporter.failure())
    daemon.silent = set()
    await exporter.says('qemu_up{vm="web01"}')


async def test_a_daemon_that_stops_answering_is_left_and_tried_again(exporter, daemon, web01, monkeypatch):
    monkeypatch.setattr(conversation, "ANSWERS_WITHIN", 0.05)
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.silent = {(REMOTE, GET_STATE)}
    daemon.event(web01, "STOP")
    await eventually(lambda: "does not answer" in exporter.failure())
    daemon.silent = set()
    await exporter.says('qemu_vm_running{vm="web01"}')


@pytest.mark.parametrize("raw", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, bytes(28), b"\xff" * 64])
async def test_rubbish_ends_the_connection_and_nothing_else(exporter, daemon, raw):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.sends(raw)
    await exporter.says('qemu_monitor_connects_total{vm="web01"}', 2)
    await exporter.says('qemu_up{vm="web01"}')


async def test_answers_to_nothing_and_pings_are_taken_in_stride(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    daemon.pings()
    for serial in range(1000, 1100):
        daemon.sends(b"\0\0\0\x1c" + REMOTE.to_bytes(4) + b"\0\0\0\1\0\0\0\xd4\0\0\0\1" + serial.to_bytes(4) + bytes(4))
    daemon.event(web01, "STOP")
    await exporter.says('qemu_vm_stops_total{vm="web01"}')
    await eventually(lambda: f"{0x6B656570:x}/2" in daemon.calls)


async def test_an_event_whose_data_cannot_be_read_is_bad_and_the_next_one_counts(exporter, daemon, web01):
    exporter.watches()
    await exporter.says('qemu_up{vm="web01"}')
    nested: list[object] = []
    for _ in range(500):
        nested = [nested]
    daemon.event(web01, "BLOCK_IO_ERROR", {"device": nested})
    daemon.event(web01, "BLOCK_IO_ERROR", {"device": "x" * 1_000_000, "operation": "read", "action": "report"})
    daemon.event(web01, "STOP")
    await exporter.says('qemu_vm_stops_total{vm="web01"}')
    bad = exporter.stats.text(openmetrics=False).decode()
    assert re.search(r'qmp_exporter_bad_messages_total\{reason="(shape|depth)"\} [1-9]', bad)
    assert max(map(len, await exporter.lines())) < 300


async def test_a_name_that_no_label_may_have_is_made_one(exporter):
    odd = Domain("a\n\x00b" + "c" * 200)
    async with Libvirtd(exporter.path, odd, Domain("", id=2)) as daemon:
        exporter.watches()
        await eventually(lambda: len(exporter.fleet.watches) == 2)
        assert set(exporter.fleet.watches) == {f"a\n\ufffdb{'c' * 124}", daemon.domains[1].uuid}
        await exporter.says(f'qemu_up{{vm="{daemon.domains[1].uuid}"}}')


async def test_a_flood_of_domains_ends_at_a_limit(exporter, monkeypatch):
    monkeypatch.setattr(libvirt_module, "MAX_DOMAINS", 5)
    async with Libvirtd(exporter.path, *(Domain(f"vm{number}", id=number) for number in range(1, 20))):
        exporter.watches()
        await exporter.says('qemu_up{vm="vm1"}')
        assert len(exporter.fleet.watches) == 5


async def test_it_leaves_with_a_word(directory):
    async with Libvirtd(directory / "libvirt-sock", Domain("web01")) as daemon, asyncio.TaskGroup() as group:
        exporter = Exporter(daemon.path, group)
        exporter.watches()
        await exporter.says('qemu_up{vm="web01"}')
        exporter.stop()
        await eventually(lambda: f"{REMOTE:x}/2" in daemon.calls)
