"""VMs that dial in -> a page of each, under its own name, whatever else comes to the socket."""

import asyncio
import contextlib
import itertools
import os
import resource
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hung import hung_file_system
from parts import need_root
from qmp_exporter.config import Listener, Target
from qmp_exporter.core import in_flight, protocol
from qmp_exporter.core.vm import Vm
from qmp_exporter.daemon.host.process import PeerProcess
from qmp_exporter.daemon.monitor import inbound
from qmp_exporter.daemon.monitor import inbound as call_module
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets import dial_in as dial_in_module
from qmp_exporter.daemon.targets.dial_in import MAX_STRANGERS, DialIn
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import DIAL_IN, STATIC, Source
from qmp_exporter.runtime import paths, supervisor
from qmp_exporter.simulator import DiallingMonitor, Monitor, SimulatedVm
from qmp_exporter.simulator.faults import EarlyEvents, Stall
from watching import NEVER, FleetPage, eventually

AT_ONCE = 0.01  # seconds: the pause of a QEMU that has lost its connection
ONE, OTHER = "11111111-6d2f-4c53-9f0a-0123456789ab", "22222222-6d2f-4c53-9f0a-0123456789ab"
NO_UUID = "00000000-0000-0000-0000-000000000000"


class Exporter(FleetPage):
    """A socket where VMs dial in, and the page of the fleet."""

    def __init__(self, socket: Path, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self.socket = socket
        self.stats = Selfstats()
        super().__init__(Fleet(self.stats))
        self._stack = stack
        self._group = group
        self._tasks = [group.create_task(self.fleet.run())]

    async def listens(self, **settings: object) -> asyncio.Task[None]:
        """-> what listens, from when somebody may come"""
        task = self.starts(**settings)
        await eventually(lambda: is_listened_on(self.socket))
        return task

    def starts(self, **settings: object) -> asyncio.Task[None]:
        settings = {"grace": 900.0, "shared": Target("", "", poll_interval=NEVER)} | settings
        listener = Listener(str(self.socket), **settings)
        task = self._group.create_task(DialIn(listener, self.fleet, self.stats).run())
        self._tasks.append(task)
        return task

    async def dials(self, vm: SimulatedVm, reconnect: float = AT_ONCE) -> DiallingMonitor:
        return await self._stack.enter_async_context(DiallingMonitor(vm, self.socket, reconnect=reconnect))

    def peer(self) -> socket.socket:
        """Somebody who connects, and is no QEMU."""
        peer = socket.socket(socket.AF_UNIX)
        peer.setblocking(False)  # noqa: FBT003  the standard library's way
        try:
            peer.connect(str(self.socket))
        except BlockingIOError:
            peer.close()
            raise
        return self._stack.enter_context(peer)

    def is_of(self, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        """Those who come from now on are processes of this user, as far as the kernel's word goes."""
        monkeypatch.setattr(inbound, "peer_process", lambda _socket: PeerProcess(None, uid, ""))

    async def refused(self, reason: str, times: int = 1) -> None:
        counter = self.stats.dial_in_refused.labels(reason)
        await eventually(lambda: counter._value.get() >= times)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


def is_listened_on(path: Path) -> bool:
    """Without connecting: proc(5), /proc/net/unix, whose flag 0x10000 says that a socket takes connections."""
    sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return any(columns[-1] == str(path) and columns[3] == "00010000" for columns in sockets)


@pytest.fixture
async def exporter(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Exporter]:
    monkeypatch.setattr(dial_in_module, "VMS_OF_A_PROCESS", 1000)  # all the simulated ones are in this process
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        exporter = Exporter(directory / "dial-in.sock", stack, group)
        yield exporter
        exporter.stop()


async def test_vms_on_one_socket_are_named_as_they_name_themselves(exporter: Exporter) -> None:
    await exporter.listens()
    web01, db01 = SimulatedVm("web01"), SimulatedVm("db01")
    await exporter.dials(web01)
    await exporter.dials(db01)
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.says('qemu_up{vm="db01"}')
    db01.io_error(db01.blocks[0].id, "write", "stop")
    await exporter.says('qemu_vm_state{state="io-error",vm="db01"}')
    await exporter.says('qemu_vm_state{state="running",vm="web01"}')


async def test_or_by_their_uuid(exporter: Exporter) -> None:
    await exporter.listens(name_from="uuid")
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.dials(SimulatedVm("web01", vm_uuid=OTHER))
    await exporter.says(f'qemu_up{{vm="{ONE}"}}')
    await exporter.says(f'qemu_up{{vm="{OTHER}"}}')


async def test_they_have_the_labels_and_the_metrics_of_their_socket(exporter: Exporter) -> None:
    shared = Target("", "", {"tenant": "acme"}, disabled=frozenset({"display"}), poll_interval=NEVER)
    await exporter.listens(shared=shared)
    monitor = await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{tenant="acme",vm="web01"}')
    assert "query-vnc-servers" not in [request.execute for request in monitor.received]


async def test_only_queries_are_sent_and_at_first_only_who_it_is(exporter: Exporter) -> None:
    await exporter.listens()
    monitor = await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')
    sent = [request.execute for request in monitor.received]
    assert sent[:4] == ["qmp_capabilities", "query-name", "query-uuid", "query-commands"]
    assert all(command.startswith("query-") for command in sent[1:])


async def test_a_vm_that_was_there_first_is_met_when_we_come(exporter: Exporter) -> None:
    await exporter.dials(SimulatedVm("web01"))
    await exporter.listens()
    await exporter.says('qemu_up{vm="web01"}')


async def test_what_happens_before_it_is_known_who_it_is_counts(exporter: Exporter) -> None:
    await exporter.listens()
    vm = SimulatedVm("web01")
    monitor = DiallingMonitor(vm, exporter.socket)
    monitor.inject(EarlyEvents("greeting", (("RTC_CHANGE", {"offset": 1}),)))
    monitor.inject(Stall("query-uuid"))
    async with monitor:
        await monitor.asked("query-uuid")
        vm.change_rtc(2)
        vm.change_rtc(3)
        monitor.heal()
        await exporter.says('qemu_rtc_changes_total{vm="web01"}', 3)
        await exporter.says('qemu_rtc_offset_seconds{vm="web01"}', 3)


async def test_a_bug_of_ours_leaves_no_connection_that_nobody_watches(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "RESTART", 0.0)
    event = Vm.event

    def stumble(*_arguments: object) -> None:
        monkeypatch.setattr(Vm, "event", event)
        raise LookupError("a bug")

    monkeypatch.setattr(Vm, "event", stumble)
    await exporter.listens()
    monitor = DiallingMonitor(SimulatedVm("web01"), exporter.socket, reconnect=AT_ONCE)
    monitor.inject(EarlyEvents("greeting", (("RTC_CHANGE", {"offset": 1}),)))
    async with monitor:
        await exporter.says('qemu_up{vm="web01"}')
    assert "LookupError: a bug" in capsys.readouterr().out


async def test_a_vm_that_hangs_up_leaves_its_counters_and_goes_on_with_them(exporter: Exporter) -> None:
    await exporter.listens()
    vm = SimulatedVm("web01", vm_uuid=ONE)
    monitor = DiallingMonitor(vm, exporter.socket)
    async with monitor:
        await exporter.says('qemu_up{vm="web01"}')
        vm.change_rtc(1)
        await exporter.says('qemu_rtc_changes_total{vm="web01"}')
    await exporter.says('qemu_up{vm="web01"}', 0)
    await exporter.says('qemu_monitor_state{state="missing",vm="web01"}')
    await exporter.says('qemu_rtc_changes_total{vm="web01"}')
    await exporter.says('qemu_vm_running{vm="web01"}', None)
    again = SimulatedVm("web01", vm_uuid=ONE)
    await exporter.dials(again)
    await exporter.says('qemu_up{vm="web01"}')
    again.change_rtc(1)
    await exporter.says('qemu_rtc_changes_total{vm="web01"}', 2)
    await exporter.says('qemu_monitor_connects_total{vm="web01"}', 2)


async def test_another_vm_of_that_name_begins_at_zero(exporter: Exporter) -> None:
    await exporter.listens()
    vm = SimulatedVm("web01", vm_uuid=ONE)
    async with DiallingMonitor(vm, exporter.socket):
        await exporter.says('qemu_up{vm="web01"}')
        vm.change_rtc(1)
        await exporter.says('qemu_rtc_changes_total{vm="web01"}')
    await exporter.dials(SimulatedVm("web01", vm_uuid=OTHER))
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.says('qemu_rtc_changes_total{vm="web01"}', 0)
    assert 'qmp_exporter_dial_in_refused_total{reason="name_taken"} 0.0' in own(exporter)


async def test_its_series_end_after_the_grace_period(exporter: Exporter) -> None:
    await exporter.listens(grace=0.05)
    async with DiallingMonitor(SimulatedVm("web01"), exporter.socket):
        await exporter.says('qemu_up{vm="web01"}')
    await exporter.says('qemu_up{vm="web01"}', None)


async def test_one_that_claims_to_be_a_vm_that_is_connected_is_turned_away(exporter: Exporter) -> None:
    """Its name and its uuid are on the page, for everybody to read."""
    await exporter.listens()
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.says('qemu_up{vm="web01"}')
    claimer = SimulatedVm("web01", vm_uuid=ONE)
    await exporter.dials(claimer)
    await exporter.refused("twice", 20)
    claimer.change_rtc(1)
    await exporter.says('qemu_monitor_connects_total{vm="web01"}', 1)
    await exporter.says('qemu_rtc_changes_total{vm="web01"}', 0)


async def test_when_the_one_that_is_connected_hangs_the_other_takes_its_place(
    exporter: Exporter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "HUNG", 0.1)
    await exporter.listens()
    older, newer = SimulatedVm("web01", vm_uuid=ONE), SimulatedVm("web01", vm_uuid=ONE)
    first = await exporter.dials(older, reconnect=3600)
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.dials(newer)
    await exporter.refused("twice")
    first.inject(Stall(None))
    older.stop()
    await first.vacant()
    await exporter.says('qemu_monitor_connects_total{vm="web01"}', 2)
    newer.change_rtc(2)
    await exporter.says('qemu_rtc_offset_seconds{vm="web01"}', 2)
    assert "dialled in twice, and the older one is silent" in capsys.readouterr().out


async def test_a_vm_that_is_connected_is_not_replaced_by_one_of_another_user(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exporter.listens()
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.says('qemu_up{vm="web01"}')
    exporter.is_of(monkeypatch, uid=12345)
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.refused("name_taken", 3)
    await exporter.says('qemu_up{vm="web01"}')


async def test_nor_is_one_that_is_starting_again(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    await exporter.listens()
    async with DiallingMonitor(SimulatedVm("web01", vm_uuid=ONE), exporter.socket):
        await exporter.says('qemu_up{vm="web01"}')
    await exporter.says('qemu_up{vm="web01"}', 0)
    exporter.is_of(monkeypatch, uid=12345)
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.refused("name_taken", 3)
    await exporter.says('qemu_up{vm="web01"}', 0)


async def test_a_process_is_one_vm(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_in_module, "VMS_OF_A_PROCESS", 1)
    await exporter.listens()
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.dials(SimulatedVm("web02"))
    await exporter.refused("process", 3)
    assert set(exporter.fleet.watches) == {"web01"}


async def test_a_user_leaves_room_for_the_vms_of_others(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_in_module, "VMS_OF_A_USER", 2)
    await exporter.listens()
    for number in (1, 2, 3):
        await exporter.dials(SimulatedVm(f"web{number}"))
    await exporter.refused("too_many")
    exporter.is_of(monkeypatch, uid=12345)
    await exporter.dials(SimulatedVm("of another"))
    await exporter.says('qemu_up{vm="of another"}')


async def test_a_clone_with_the_uuid_of_another_is_not_taken_for_it(exporter: Exporter) -> None:
    await exporter.listens(name_from="uuid")
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.says(f'qemu_up{{vm="{ONE}"}}')
    await exporter.dials(SimulatedVm("clone", vm_uuid=ONE))
    await exporter.refused("name_taken")
    await exporter.says(f'qemu_vm_info{{name="web01",uuid="{ONE}",version="10.0.0",vm="{ONE}"}}')


@pytest.mark.parametrize("uuid", [OTHER, NO_UUID])
async def test_a_name_that_is_taken_is_not_given_to_another(exporter: Exporter, uuid: str) -> None:
    await exporter.listens()
    vm = SimulatedVm("web01", vm_uuid=ONE)
    await exporter.dials(vm)
    await exporter.says('qemu_up{vm="web01"}')
    thief = SimulatedVm("web01", vm_uuid=uuid)
    await exporter.dials(thief)
    await exporter.refused("name_taken", 3)
    thief.change_rtc(1)
    vm.change_rtc(2)
    await exporter.says('qemu_rtc_offset_seconds{vm="web01"}', 2)
    await exporter.says('qemu_rtc_changes_total{vm="web01"}')
    await exporter.says('qemu_monitor_connects_total{vm="web01"}')


async def test_it_is_given_when_it_is_free(exporter: Exporter) -> None:
    await exporter.listens()
    async with DiallingMonitor(SimulatedVm("web01", vm_uuid=ONE), exporter.socket):
        await exporter.says('qemu_up{vm="web01"}')
        await exporter.dials(SimulatedVm("web01", vm_uuid=OTHER))
        await exporter.refused("name_taken")
    await exporter.says(f'qemu_vm_info{{name="web01",uuid="{OTHER}",version="10.0.0",vm="web01"}}')


async def test_a_configured_vm_has_precedence_and_its_name(exporter: Exporter, directory: Path) -> None:
    """The one that dialled in waits, connected, until the other one is no more."""
    await exporter.listens()
    static, dialled = SimulatedVm("web01", vm_uuid=ONE), SimulatedVm("web01", vm_uuid=OTHER)
    async with Monitor(static, directory / "web01.sock") as monitor:
        exporter.fleet.want(STATIC, [Target("web01", str(monitor.address), poll_interval=NEVER)])
        await exporter.says('qemu_up{vm="web01"}')
        waiting = await exporter.dials(dialled)
        await eventually(lambda: 'qmp_exporter_target_collisions{same="name"} 1.0' in own(exporter))
        dialled.change_rtc(1)
        await exporter.says('qemu_rtc_changes_total{vm="web01"}', 0)
        exporter.fleet.want(STATIC, [])
        await exporter.says(f'qemu_vm_info{{name="web01",uuid="{OTHER}",version="10.0.0",vm="web01"}}')
    assert [request.execute for request in waiting.received].count("qmp_capabilities") == 1


def own(exporter: Exporter) -> list[str]:
    return exporter.stats.text(openmetrics=False).decode().splitlines()


@pytest.mark.parametrize("name", ["", "a\x1b[2J", "x" * 129], ids=["none", "control", "long"])
async def test_without_a_name_that_can_be_a_label_it_is_called_by_its_uuid(exporter: Exporter, name: str) -> None:
    await exporter.listens()
    await exporter.dials(SimulatedVm(name, vm_uuid=ONE))
    await exporter.says(f'qemu_up{{vm="{ONE}"}}')


@pytest.mark.parametrize(("name_from", "name"), [("name", ""), ("uuid", "web01")])
async def test_with_nothing_to_call_it_by_it_is_turned_away(
    exporter: Exporter, name_from: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await exporter.listens(name_from=name_from)
    await exporter.dials(SimulatedVm(name, vm_uuid=NO_UUID))
    await exporter.refused("nameless", 3)
    assert await exporter.lines() == {}
    said = [line for line in capsys.readouterr().out.splitlines() if "turned away" in line]
    assert len(said) == 1, "once, though it comes again and again"
    assert "start QEMU with" in said[0]


# --- who is no QEMU


async def test_silence_is_closed(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.1)
    await exporter.listens()
    peer = exporter.peer()
    await exporter.refused("silent")
    assert await closed(peer)


async def test_one_that_does_not_say_who_it_is_is_closed(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "INTRODUCTION_DEADLINE", 0.1)
    await exporter.listens()
    monitor = DiallingMonitor(SimulatedVm("web01"), exporter.socket, reconnect=3600)
    monitor.inject(Stall("query-name"))
    async with monitor:
        await exporter.refused("failed")
        await monitor.vacant()
    assert await exporter.lines() == {}


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n", b"{" * 100_000, b'{"QMP": 5}\r\n', b"x" * 10_000_000, b""],
    ids=["http", "nested", "wrong", "long", "nothing"],
)
async def test_whoever_speaks_something_else_is_closed_and_costs_nothing(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    await exporter.listens()
    peer = exporter.peer()
    with contextlib.suppress(ConnectionError):
        await asyncio.get_running_loop().sock_sendall(peer, said)
    if not said:
        peer.shutdown(socket.SHUT_WR)
    await exporter.refused("failed")
    assert await closed(peer)
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')


async def test_hundreds_of_silent_connections_keep_no_vm_out(exporter: Exporter) -> None:
    await exporter.listens()
    peers: list[socket.socket] = []
    while len(peers) < MAX_STRANGERS + 100:
        try:
            peers.append(exporter.peer())
        except BlockingIOError:  # the queue is full, as it is to be
            await asyncio.sleep(0)
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.refused("flood", 100)


async def test_connections_of_many_processes_that_say_nothing_keep_no_vm_out(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_in_module, "MAX_STRANGERS", 4)
    monkeypatch.setattr(dial_in_module, "GREETS_WITHIN", 0.05)
    await exporter.listens()
    pids = itertools.count(1)
    monkeypatch.setattr(inbound, "peer_process", lambda _socket: PeerProcess(next(pids), 12345, ""))
    for _ in range(12):
        exporter.peer()
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')
    await exporter.refused("flood", 5)


async def test_the_flood_of_one_that_is_not_watched_is_dropped_and_counted(exporter: Exporter) -> None:
    await exporter.listens()
    exporter.fleet.want(STATIC, [Target("web01", "/nowhere", poll_interval=NEVER)])
    waiting = await exporter.dials(SimulatedVm("web01"))
    await eventually(lambda: 'qmp_exporter_target_collisions{same="name"} 1.0' in own(exporter))
    await waiting.storm(20_000)
    await eventually(lambda: exporter.stats.dropped.labels("early")._value.get() > 18_000)


async def test_more_names_than_there_is_room_for_are_turned_away(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_in_module, "MAX_VMS", 2)
    await exporter.listens()
    for number in (1, 2, 3):
        await exporter.dials(SimulatedVm(f"web{number}"))
    await exporter.refused("too_many")
    await eventually(lambda: set(exporter.fleet.watches) == {"web1", "web2"})


async def closed(peer: socket.socket) -> bool:
    """It reads what was sent, until the end."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        try:
            while await loop.sock_recv(peer, 65536):
                pass
        except ConnectionResetError:
            pass
    return True


# --- the socket itself


async def test_the_socket_has_its_mode_and_goes_with_us(exporter: Exporter) -> None:
    task = await exporter.listens(mode=0o640, group=str(os.getgid()))
    found = exporter.socket.stat()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_gid == os.getgid()
    task.cancel()
    await eventually(task.done)
    assert not exporter.socket.exists()


async def test_a_group_that_there_is_not_is_told(exporter: Exporter, capsys: pytest.CaptureFixture[str]) -> None:
    task = exporter.starts(group="no-such-group")
    await eventually(lambda: "there is no group no-such-group" in capsys.readouterr().out)
    assert not exporter.socket.exists()
    task.cancel()


async def test_a_socket_that_was_left_behind_is_replaced(exporter: Exporter) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(exporter.socket))
    await exporter.listens()
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')


@pytest.fixture
def somebody(exporter: Exporter) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(exporter.socket))
        listener.listen()
        yield listener


async def test_one_that_somebody_listens_on_is_left_and_asked_for_again(
    exporter: Exporter, somebody: socket.socket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dial_in_module, "RETRY", 0.02)
    said: list[str] = []

    def complained() -> bool:
        said.append(capsys.readouterr().out)
        return "somebody listens" in "".join(said)

    await exporter.listens()
    await eventually(complained)
    assert exporter.socket.is_socket()
    somebody.close()
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')


async def test_a_file_that_is_no_socket_is_never_removed(
    exporter: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter.socket.write_text("precious")
    task = exporter.starts()
    await eventually(lambda: "is no socket" in capsys.readouterr().out)
    task.cancel()
    await eventually(task.done)
    assert exporter.socket.read_text() == "precious"


async def test_a_socket_whose_file_was_removed_is_made_anew_and_whoever_is_connected_stays(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_in_module, "CHECK_EVERY", AT_ONCE)
    await exporter.listens()
    await exporter.dials(SimulatedVm("web01", vm_uuid=ONE))
    await exporter.says('qemu_up{vm="web01"}')
    exporter.socket.unlink()
    await eventually(exporter.socket.exists)
    await exporter.dials(SimulatedVm("web02", vm_uuid=OTHER))
    await exporter.says('qemu_up{vm="web02"}')
    await exporter.says('qemu_monitor_connects_total{vm="web01"}')
    await exporter.says('qemu_up{vm="web01"}')


async def test_a_socket_on_a_storage_that_hangs_is_in_nobodys_way_and_is_made_when_it_answers(
    directory: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    monkeypatch.setattr(dial_in_module, "RETRY", AT_ONCE)
    monkeypatch.setattr(paths, "DEADLINE", AT_ONCE)
    (directory / "nfs").mkdir()
    exporter.socket = directory / "nfs" / "dial-in.sock"
    with hung_file_system(directory / "nfs"):
        exporter.starts()
        await eventually(lambda: any("the file system does not answer" in one for one in why(exporter)))
        exporter.socket = directory / "dial-in.sock"
        await exporter.listens()
        await exporter.dials(SimulatedVm("web01"))
        await exporter.says('qemu_up{vm="web01"}')
    await eventually(lambda: is_listened_on(directory / "nfs" / "dial-in.sock"))


def up(exporter: Exporter) -> float | None:
    """What qmp_exporter_source_up says of the socket."""
    sample = f'qmp_exporter_source_up{{source="listen {exporter.socket}"}} '
    values = (line.removeprefix(sample) for line in own(exporter) if line.startswith(sample))
    return next(map(float, values), None)


def why(exporter: Exporter) -> list[str]:
    return [f"{source.name}: {reason}" for source, reason in exporter.fleet.failures.items()]


async def test_a_socket_that_cannot_be_made_is_seen_with_its_reason_until_it_can(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_in_module, "RETRY", AT_ONCE)
    exporter.socket = exporter.socket.parent / "later" / "dial-in.sock"
    exporter.starts()
    await eventually(lambda: up(exporter) == 0)
    assert why(exporter) == [f"listen {exporter.socket}: there is no directory {exporter.socket.parent}"]
    exporter.socket.parent.mkdir()
    await eventually(lambda: up(exporter) == 1)
    assert why(exporter) == []
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')


async def test_a_socket_that_is_lost_later_is_seen_and_whoever_is_connected_stays(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_in_module, "CHECK_EVERY", AT_ONCE)
    exporter.socket = exporter.socket.parent / "tidied" / "dial-in.sock"
    exporter.socket.parent.mkdir()
    await exporter.listens()
    await exporter.dials(SimulatedVm("web01"))
    await exporter.says('qemu_up{vm="web01"}')
    exporter.socket.unlink()
    exporter.socket.parent.rmdir()
    await eventually(lambda: up(exporter) == 0)
    assert why(exporter) == [f"listen {exporter.socket}: there is no directory {exporter.socket.parent}"]
    await exporter.says('qemu_up{vm="web01"}')


async def test_a_vm_that_cannot_be_accepted_for_want_of_files_is_seen(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial_in_module, "RETRY", AT_ONCE)
    await exporter.listens()
    await eventually(lambda: up(exporter) == 1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    exporter.peer()
    lowest_free = os.dup(0)
    os.close(lowest_free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        await eventually(lambda: bool(exporter.fleet.failures))
        assert why(exporter) == [f"listen {exporter.socket}: Too many open files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await eventually(lambda: up(exporter) == 1 and not exporter.fleet.failures)


async def test_nothing_waits_for_a_socket_that_cannot_be_made(exporter: Exporter) -> None:
    exporter.fleet.expect(Source(DIAL_IN, f"listen {exporter.socket}"))
    exporter.socket.touch()
    exporter.starts()
    await eventually(lambda: exporter.fleet.ready)
