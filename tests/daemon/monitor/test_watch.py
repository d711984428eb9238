"""One VM's life as its page tells it: connecting, asking, listening, losing it, finding it again."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qmp_exporter.core import backoff, in_flight, protocol
from qmp_exporter.daemon.monitor import socket_files
from qmp_exporter.daemon.monitor import watch as watch_module
from qmp_exporter.simulator import COMMANDS, Monitor, SimulatedVm, VncServer
from qmp_exporter.simulator.faults import Flood, Garbage, HangUp, NoGreeting, Stall, StrayReply, WrongId
from watching import Start, eventually


def asked(monitor: Monitor) -> list[str]:
    return [request.execute for request in monitor.received]


async def test_a_vm_is_up_when_every_query_of_the_connect_was_answered(monitor: Monitor, watch: Start) -> None:
    monitor.inject(Stall("query-block"))
    page = watch()
    await page.says('qemu_monitor_state{state="connected"}')
    await page.says("qemu_monitor_connects_total")
    await eventually(lambda: asked(monitor)[-1] == "query-block")
    await page.says("qemu_up", 0)
    monitor.heal()
    await page.says("qemu_up")
    await page.says('qemu_vm_state{state="running"}')


async def test_only_what_the_qemu_has_is_asked(directory: Path, watch: Start) -> None:
    old = SimulatedVm("web01", commands=[command for command in COMMANDS if command != "query-vnc-servers"])
    async with Monitor(old, directory / "web01.sock") as monitor:
        page = watch()
        await page.says("qemu_up")
        assert "query-vnc" in asked(monitor)
        assert "query-vnc-servers" not in asked(monitor)


async def test_of_two_commands_for_the_same_the_newer_is_asked(monitor: Monitor, watch: Start) -> None:
    await watch().says("qemu_up")
    assert "query-vnc-servers" in asked(monitor)
    assert "query-vnc" not in asked(monitor)


async def test_a_stop_is_explained_by_a_query_at_once(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    monitor.vm.io_error(monitor.vm.blocks[0].id, "write", "stop")
    await page.says('qemu_vm_state{state="io-error"}')
    await page.says('qemu_vm_state{state="running"}', 0)
    await page.says("qemu_vm_running", 0)
    await page.says("qemu_vm_stops_total")


async def test_the_poll_finds_what_nobody_announced(monitor: Monitor, watch: Start) -> None:
    page = watch(poll=0.05)
    await page.says("qemu_up")
    monitor.vm.do_io("virtio-disk0", "read", count=3, size=512)
    await page.says('qemu_block_read_bytes_total{device="drive-virtio-disk0"}', 1536)


async def test_when_the_monitor_is_lost_gauges_go_and_counters_stay(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    monitor.vm.stop()
    await page.says('qemu_vm_state{state="paused"}')
    monitor.vm.kill()
    await page.says("qemu_up", 0)
    await page.says('qemu_vm_state{state="paused"}', None)
    await page.says("qemu_vnc_clients", None)
    await page.says("qemu_vm_stops_total")
    await page.says('qemu_monitor_disconnects_total{after="none"}')
    await page.says('qemu_monitor_state{state="refused"}')


async def test_an_announced_end_is_told_from_a_crash(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    monitor.vm.shutdown("host-qmp-quit")
    await page.says('qemu_monitor_disconnects_total{after="shutdown"}')
    await page.says('qemu_monitor_disconnects_total{after="none"}', 0)
    await page.says('qemu_vm_shutdowns_total{reason="host-qmp-quit"}')
    await page.says('qemu_monitor_state{state="missing"}')


@pytest.mark.parametrize(("announced", "level"), [(True, "info"), (False, "warning")])
async def test_only_an_end_that_was_not_announced_is_a_warning(
    monitor: Monitor, watch: Start, *, announced: bool, level: str
) -> None:
    with capture_logs() as lines:
        page = watch()
        await page.says("qemu_up")
        if announced:
            monitor.vm.shutdown("host-qmp-quit")
        else:
            monitor.vm.kill()
        await page.says("qemu_up", 0)
        await eventually(lambda: any(line["event"] == "monitor unreachable" for line in lines))
    told = {line["event"]: line["log_level"] for line in lines}
    assert told["monitor lost"] == told["monitor unreachable"] == level


def told(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """-> those about events of QEMU"""
    return [line for line in lines if line["event"] == "event"]


async def test_events_are_logged_with_their_labels_those_alike_in_one_line(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "EVENTS_EVERY", 0.2)
    disk = monitor.vm.blocks[0]
    with capture_logs() as lines:
        page = watch()
        page.watch._shared.log_events = True
        await page.says("qemu_up")
        for _ in range(3):
            monitor.vm.io_error(disk.id, "read", "report")
        device = "".join(page.lines()).partition('device="')[2].partition('"')[0]
        errors = f'qemu_block_io_errors_total{{action="report",device="{device}",operation="read"}}'
        await page.says(errors, 3)
        await eventually(lambda: bool(told(lines)))
        await asyncio.sleep(0.2)
        monitor.vm.stop()
        await eventually(lambda: any(line["name"] == "STOP" for line in told(lines)))
    assert sum(line["count"] for line in told(lines) if line["name"] == "BLOCK_IO_ERROR") == 3
    (first, *_) = told(lines)
    assert (first["device"], first["operation"], first["action"]) == (device, "read", "report")


async def test_a_new_qemu_at_the_same_path_ends_the_longest_back_off(
    directory: Path, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST", 3600.0)
    monkeypatch.setattr(backoff, "LONGEST", 3600.0)
    page = watch()
    await page.says('qemu_monitor_state{state="missing"}')
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await page.says("qemu_up")


async def test_a_socket_without_permission_is_denied(directory: Path, watch: Start) -> None:
    path = directory / "web01.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        page = watch()  # as ourselves: nobody else may read a program below /root
        if os.geteuid() == 0:
            os.seteuid(65534)  # root may connect anywhere
        try:
            await page.says('qemu_monitor_state{state="denied"}')
        finally:
            os.seteuid(os.getuid())


async def test_a_socket_that_somebody_else_put_there_meanwhile_is_never_connected_to(
    monitor: Monitor, watch: Start
) -> None:
    await watch(owner=os.getuid() + 1).says('qemu_monitor_state{state="denied"}')
    assert not monitor.received
    await watch(owner=os.getuid()).says("qemu_up")


async def test_a_held_monitor_is_busy(monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.1)
    monitor.inject(NoGreeting())
    await watch().says('qemu_monitor_state{state="busy"}')


async def test_a_managers_own_monitor_is_never_touched(directory: Path, watch: Start) -> None:
    path = directory / "libvirt" / "qemu" / "domain-1-web01" / "monitor.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)  # noqa: FBT003  the standard library's way
        page = watch(path)
        await page.says('qemu_monitor_state{state="foreign"}')
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_it_is_touched_when_the_target_says_so(vm: SimulatedVm, directory: Path, watch: Start) -> None:
    path = directory / "libvirt" / "qemu" / "domain-1-web01" / "monitor.sock"
    path.parent.mkdir(parents=True)
    async with Monitor(vm, path):
        await watch(path, allow_shared_monitor=True).says("qemu_up")


async def test_a_query_that_hangs_is_counted_and_events_still_count(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = watch()
    await page.says("qemu_up")
    monkeypatch.setattr(in_flight, "PATIENCE", 0.1)
    monitor.inject(Stall("query-status"))
    monitor.vm.stop()
    await eventually(
        lambda: page.own('qmp_exporter_command_errors_total{command="query-status",reason="timeout"}') == 1
    )
    before = page.lines()["qemu_monitor_last_reply_timestamp_seconds"]
    monitor.vm.change_rtc(5)
    await page.says("qemu_rtc_offset_seconds", 5)
    await page.says("qemu_monitor_last_reply_timestamp_seconds", before)
    await page.says("qemu_up")
    monitor.heal()
    await page.says('qemu_vm_state{state="paused"}')


async def test_a_qemu_that_answers_nothing_for_long_is_hung_until_it_answers(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = watch()
    await page.says("qemu_up")
    monkeypatch.setattr(in_flight, "HUNG", 0.1)
    monitor.inject(Stall("query-status"))
    monitor.vm.stop()
    await page.says('qemu_monitor_state{state="hung"}')
    await page.says('qemu_monitor_state{state="connected"}', 0)
    await page.says("qemu_up")
    await page.says('qemu_vm_state{state="running"}')
    monitor.heal()
    await page.says('qemu_monitor_state{state="connected"}')
    await page.says('qemu_vm_state{state="paused"}')


async def test_a_hang_is_one_line_at_its_begin_and_one_at_its_end(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture_logs() as lines:
        page = watch()
        await page.says("qemu_up")
        monkeypatch.setattr(in_flight, "PATIENCE", 0.1)
        monkeypatch.setattr(in_flight, "STUCK", 0.2)
        for command in ("query-status", "query-migrate"):
            monitor.inject(Stall(command))
        monitor.vm.stop()
        for command in ("query-status", "query-migrate"):
            unanswered = f'qmp_exporter_command_errors_total{{command="{command}",reason="timeout"}}'
            await eventually(lambda name=unanswered: page.own(name) == 1)
        monitor.heal()
        await page.says('qemu_vm_state{state="paused"}')
        await eventually(lambda: any(line["event"] == "queries answered again" for line in lines))
    told = [line for line in lines if "answered" in line["event"]]
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("query unanswered", "warning"),
        ("queries answered again", "info"),
    ]
    assert told[1]["seconds"] >= 0.2


async def test_never_two_queries_are_in_flight(monitor: Monitor, watch: Start) -> None:
    page = watch(poll=0.01)
    monitor.inject(Stall("query-status"))
    await monitor.asked("query-status")
    number = len(monitor.received)
    monitor.vm.stop()
    monitor.vm.change_rtc(1)
    await page.says("qemu_rtc_changes_total")
    assert len(monitor.received) == number


async def test_a_storm_is_counted_to_the_last_event(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    await monitor.storm(100_000)
    await page.says(
        'qemu_block_io_errors_total{action="report",device="drive-virtio-disk0",operation="write"}', 100_000
    )
    assert asked(monitor).count("query-block") < 10


async def test_one_vms_flood_does_not_keep_another_from_being_heard(directory: Path, watch: Start) -> None:
    loud, quiet = SimulatedVm("loud"), SimulatedVm("quiet")
    async with Monitor(loud, directory / "loud.sock") as flooding, Monitor(quiet, directory / "quiet.sock"):
        watch(directory / "loud.sock")
        page = watch(directory / "quiet.sock")
        await page.says("qemu_up")
        await flooding.negotiated()
        flooding.inject(Flood(50_000))
        quiet.stop()
        await page.says('qemu_vm_state{state="paused"}')
        flooding.heal()


async def test_bad_messages_are_counted_and_the_page_goes_on(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    monitor.inject(Garbage(b'{"event": "RESET", "data": {"guest": "yes"}}\r\n'))
    monitor.inject(Garbage(b'{"QMP": {"version": {"qemu": {"major": 1, "minor": 1, "micro": 1}}}}\r\n'))
    monitor.inject(StrayReply({"return": {}, "id": 999}))
    monitor.inject(StrayReply({"return": {}, "id": "nobody"}))
    monitor.vm.stop()
    await page.says('qemu_vm_state{state="paused"}')
    assert page.own('qmp_exporter_bad_messages_total{reason="shape"}') == 2
    assert page.own('qmp_exporter_bad_messages_total{reason="unexpected"}') == 2
    await page.says('qemu_events_total{event="RESET"}')


async def test_a_reply_under_another_id_answers_nothing(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    monitor.inject(WrongId("query-status", 12345))
    monitor.vm.stop()
    await eventually(lambda: page.own('qmp_exporter_bad_messages_total{reason="unexpected"}') == 1)
    await page.says('qemu_vm_state{state="paused"}', 0)


async def test_a_query_never_answered_does_not_silence_the_others_for_ever(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "STUCK", 0.2)
    page = watch(poll=0.05)
    await page.says("qemu_up")
    monitor.inject(Stall("query-blockstats", in_order=False))
    monitor.vm.stop()
    await monitor.asked("query-blockstats")
    await monitor.asked("query-status")
    monitor.vm.cont()
    await page.says('qemu_vm_state{state="running"}')


async def test_after_a_hang_up_the_monitor_is_met_again(monitor: Monitor, watch: Start) -> None:
    page = watch()
    await page.says("qemu_up")
    monitor.inject(HangUp())
    await page.says("qemu_monitor_connects_total", 2)
    await page.says("qemu_up")
    await page.says('qemu_monitor_disconnects_total{after="none"}')


async def test_vnc_clients_that_were_there_before_us_count_as_sessions(directory: Path, watch: Start) -> None:
    vm = SimulatedVm("web01", vnc=[VncServer()])
    client = vm.vnc_connect()
    vm.vnc_initialize(client)
    async with Monitor(vm, directory / "web01.sock"):
        page = watch()
        await page.says("qemu_vnc_sessions")
        vm.vnc_connect()
        await page.says("qemu_vnc_clients", 2)
        await page.says("qemu_vnc_sessions", 1)


async def test_a_bug_of_ours_ends_the_session_with_a_traceback_and_no_stale_gauge(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = watch()
    await page.says("qemu_up")

    def stumble(*_arguments: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(page.watch.vm, "event", stumble)
    monitor.vm.stop()
    await page.says("qemu_up", 0)
    await page.says('qemu_vm_state{state="running"}', None)
    await page.says("qemu_up", 1)
    assert "LookupError: a bug" in capsys.readouterr().out


async def test_query_block_can_be_switched_off_and_disks_still_have_their_names(monitor: Monitor, watch: Start) -> None:
    page = watch(query_block=False)
    await page.says("qemu_up")
    monitor.vm.io_error("virtio-disk0", "write", "report")
    await page.says('qemu_block_io_errors_total{action="report",device="drive-virtio-disk0",operation="write"}')
    await page.says('qemu_block_io_errors_total{action="stop",device="drive-virtio-disk1",operation="read"}', 0)
    assert "query-block" not in asked(monitor)


async def test_a_group_that_is_switched_off_is_neither_shown_nor_asked_for(monitor: Monitor, watch: Start) -> None:
    page = watch(poll=0.05, disabled=frozenset({"display", "memory", "guest_memory", "block_stats"}))
    await page.says("qemu_up")
    monitor.vm.io_error(monitor.vm.blocks[0].id, "write", "stop")
    await page.says('qemu_vm_state{state="io-error"}')
    await eventually(lambda: asked(monitor).count("query-blockstats") > 2)  # for the errors that are counted in there
    assert not {"query-vnc-servers", "query-spice", "query-balloon"} & set(asked(monitor))
    families = {sample.split("{")[0] for sample in page.lines()}
    assert not {"qemu_vnc_clients", "qemu_vnc_connections_total", "qemu_block_read_bytes_total"} & families
    assert {"qemu_block_io_errors_total", "qemu_block_failed_operations_total"} <= families


async def test_who_touches_its_socket_at_each_session_does_not_make_us_connect_without_end(
    directory: Path, watch: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_files, "CHECK_EVERY", 0.001)
    path = directory / "web01.sock"
    sessions: list[float] = []

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.append(asyncio.get_running_loop().time())
        path.chmod(0o600 if len(sessions) % 2 else 0o660)
        writer.close()

    async with await asyncio.start_unix_server(hang_up, path):
        watch(path)
        await eventually(lambda: len(sessions) >= 5)
    assert sessions[4] - sessions[0] > sum(map(backoff.least_delay, range(4)))
