"""A VM whose monitor is visited -> its page between the visits of its manager."""

import asyncio
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from qmp_exporter.daemon.monitor import visit_watch
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.faults import EarlyEvents, NoGreeting, Stall
from watching import Start, Watched, connections, eventually

POLL = 0.1  # seconds


def asked(monitor: Monitor) -> list[str]:
    return [request.execute for request in monitor.received]


def of(monitor: Monitor) -> socket.socket:
    """A manager that has come and stays: it is served, as far as anybody can see."""
    manager = socket.socket(socket.AF_UNIX)
    manager.connect(str(monitor.address))
    return manager


@pytest.fixture
def visited(monitor: Monitor, watch: Start) -> Watched:
    return watch(monitor.address, POLL, visit=True)


async def test_what_queries_tell_is_there_and_what_events_count_is_absent(visited: Watched) -> None:
    await visited.says("qemu_up")
    await visited.says('qemu_monitor_state{state="visited"}')
    page = visited.lines()
    assert page["qemu_vm_running"] == 1
    assert [name for name in page if name.startswith("qemu_block_reads_completed_total")]
    counted = (
        "qemu_events_total",
        "qemu_vm_stops_total",
        "qemu_block_io_errors_total",
        "qemu_monitor_disconnects_total",
    )
    assert [name for name in page if name.startswith(counted)] == []


async def test_between_two_visits_the_monitor_is_free(visited: Watched, monitor: Monitor) -> None:
    await visited.says("qemu_up")
    await eventually(lambda: connections(monitor) >= 3)
    await eventually(lambda: not monitor.sessions)
    assert visited.lines()["qemu_monitor_connects_total"] == 1


async def test_what_no_event_announces_is_seen_by_the_next_visit(visited: Watched, monitor: Monitor) -> None:
    await visited.says("qemu_up")
    monitor.vm.io_error(monitor.vm.blocks[0].id, "write", "stop")
    await visited.says('qemu_vm_state{state="io-error"}')
    await visited.says("qemu_vm_running", 0)
    assert "qemu_vm_stops_total" not in visited.lines()


async def test_an_event_that_falls_into_a_visit_counts_for_nothing(visited: Watched, monitor: Monitor) -> None:
    monitor.inject(EarlyEvents("capabilities", (("STOP", None),)))
    await visited.says("qemu_up")
    await eventually(lambda: connections(monitor) >= 3)
    assert "qemu_vm_stops_total" not in visited.lines()
    assert [name for name in visited.lines() if name.startswith("qemu_events_total")] == []


async def test_nobody_is_knocked_on_while_somebody_is_there(visited: Watched, monitor: Monitor) -> None:
    await visited.says("qemu_up")
    await eventually(lambda: not monitor.sessions)
    with of(monitor):
        await asyncio.sleep(POLL)  # for a visit that had begun
        before = connections(monitor)
        await visited.says('qemu_monitor_state{state="busy"}')
        assert connections(monitor) == before
        assert "qemu_vm_running" not in visited.lines()
        assert visited.watch.health.reason == "another client is there, or waits"
    await visited.says("qemu_up")


async def test_one_visit_that_fails_changes_nothing(monitor: Monitor, watch: Start) -> None:
    slow = watch(monitor.address, 0.6, visit=True)
    await slow.says("qemu_up")
    with of(monitor):
        await eventually(lambda: slow.watch._missed == 1)
        assert slow.lines()["qemu_vm_running"] == 1
        assert slow.lines()['qemu_monitor_state{state="visited"}'] == 1
    await eventually(lambda: slow.watch._missed == 0)
    assert slow.lines()["qemu_monitor_connects_total"] == 1


async def test_a_monitor_that_does_not_greet_is_left_at_once_and_not_queued_at_again(
    visited: Watched, monitor: Monitor
) -> None:
    monitor.inject(NoGreeting())
    await visited.says('qemu_monitor_state{state="busy"}')
    monitor.heal()
    await visited.says("qemu_up")


async def test_a_query_that_takes_long_is_left_and_asked_seldom(
    visited: Watched, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit_watch, "DONE_WITHIN", 0.1)
    monitor.inject(Stall("query-blockstats", seconds=0.3))
    await visited.says("qemu_vm_running")
    await eventually(lambda: asked(monitor).count("query-status") >= 4)
    assert asked(monitor).count("query-blockstats") == 1
    assert visited.own('qmp_exporter_command_errors_total{command="query-blockstats",reason="timeout"}') == 1


async def test_a_qemu_that_answers_nothing_hangs(
    visited: Watched, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit_watch, "DONE_WITHIN", 0.05)
    await visited.says("qemu_up")
    monitor.inject(Stall())
    await visited.says('qemu_monitor_state{state="hung"}')
    await visited.says("qemu_up", 0)
    monitor.heal()
    await visited.says("qemu_up")


async def test_another_qemu_at_the_same_place_is_another_session(directory: Path, watch: Start) -> None:
    path = directory / "101.qmp"
    visited = watch(path, POLL, visit=True)
    with capture_logs() as lines:
        for times in (1, 2):
            async with Monitor(SimulatedVm("web01"), path):
                await visited.says("qemu_up")
                await visited.says("qemu_monitor_connects_total", times)
            await visited.says('qemu_monitor_state{state="missing"}')
            await visited.says("qemu_up", 0)
    assert [line["visit"] for line in lines if line["event"] == "monitor connected"] == [True, True]


@pytest.mark.parametrize(("manager", "state"), [("Proxmox", "visited"), ("Ganeti", "visited"), ("libvirt", "foreign")])
async def test_only_those_who_visit_themselves_are_visited(
    monitor: Monitor, watch: Start, monkeypatch: pytest.MonkeyPatch, manager: str, state: str
) -> None:
    monkeypatch.setattr("qmp_exporter.daemon.monitor.approach.managing_tool", lambda _path: manager)
    await watch(monitor.address, POLL, visit=True).says(f'qemu_monitor_state{{state="{state}"}}')
