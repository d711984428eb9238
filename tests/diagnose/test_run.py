"""Simulated monitors in all kinds of trouble -> the finding; nobody is harmed by being looked at."""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.core import in_flight, protocol
from qmp_exporter.core import query_scheduler as scheduler
from qmp_exporter.diagnose import probe as interview_module
from qmp_exporter.diagnose import run as examine_module
from qmp_exporter.diagnose.access import current_user
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host
from qmp_exporter.diagnose.preflight import View
from qmp_exporter.diagnose.report import details, table
from qmp_exporter.diagnose.run import examine, examine_all
from qmp_exporter.simulator import COMMANDS, STORAGE_DAEMON_COMMANDS, Monitor, SimulatedVm
from qmp_exporter.simulator.faults import BAD_JSON, EarlyEvents, Endless, Garbage, NoGreeting, Stall

UNSIMULATED = CATALOG.commands - set(COMMANDS)


async def examined(socket: str | Path, name: str = "web01", **target: object) -> Finding:
    return await examine(Target(name, str(socket), **target), View(Host(), current_user()))


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)  # noqa: FBT003  the standard library's way
        yield listener


def assert_nobody_came(listener: socket.socket) -> None:
    """Who came and went would still stand in the queue."""
    with pytest.raises(BlockingIOError):
        listener.accept()


def asked(monitor: Monitor) -> Counter[str]:
    return Counter(request.execute for request in monitor.received)


async def test_a_monitor_that_is_to_be_visited_is_left_within_the_time_of_a_visit(monitor: Monitor) -> None:
    monitor.inject(Stall("query-status"))
    began = time.monotonic()
    finding = await examined(monitor.address, visit=True)
    assert (finding.verdict, finding.seen[0]) == ("slow", "Not done within 0.25 s.")
    assert time.monotonic() - began < in_flight.PATIENCE
    await monitor.vacant()


async def test_a_good_monitor_tells_everything_and_is_left_free(monitor: Monitor) -> None:
    finding = await examined(monitor.address)
    assert finding.is_good
    assert finding.answer is not None
    assert (finding.answer.name, finding.answer.is_vm) == ("web01", True)
    assert finding.answer.version == ".".join(map(str, monitor.vm.version))
    assert {lack.command for lack in finding.answer.lacks} == UNSIMULATED
    assert {group: series for group, _, series in finding.answer.groups}["vm"] > 30
    assert any(line.startswith("qemu_up") and line.endswith(" 1.0") for line in finding.answer.lines)
    await monitor.vacant()


async def test_nothing_but_queries_is_asked_and_those_that_touch_images_once(monitor: Monitor) -> None:
    await examined(monitor.address)
    commands = asked(monitor)
    assert commands.keys() <= {"qmp_capabilities", *CATALOG.commands}
    assert commands["query-blockstats"] == 5
    assert commands["query-block"] == 1


async def test_query_block_is_not_asked_where_the_target_says_so(monitor: Monitor) -> None:
    finding = await examined(monitor.address, query_block=False)
    assert asked(monitor)["query-block"] == 0
    assert finding.answer is not None
    assert "query-block" not in {lack.command for lack in finding.answer.lacks}, "it is not QEMU that lacks it"


async def test_what_qemu_lacks_is_told_with_the_metrics_that_fall_away(directory: Path) -> None:
    old = SimulatedVm("web01", commands=[command for command in COMMANDS if command != "query-blockstats"])
    async with Monitor(old, directory / "web01.sock") as monitor:
        finding = await examined(monitor.address)
    assert finding.answer is not None
    lacks = {lack.command: lack for lack in finding.answer.lacks}
    assert lacks.keys() == {"query-blockstats", *UNSIMULATED}
    assert "qemu_block_read_bytes_total" in lacks["query-blockstats"].gone
    assert "qemu_vm_state" not in lacks["query-blockstats"].gone
    assert "qemu_serial_port_open" in lacks["query-chardev"].by_events
    report = "\n".join(details(finding))
    assert "query-blockstats: no qemu_block" in report
    assert "qemu_serial_port_open" in report


async def test_an_older_command_is_as_good_as_the_newer(directory: Path) -> None:
    old = SimulatedVm("web01", commands=[command for command in COMMANDS if command != "query-vnc-servers"])
    async with Monitor(old, directory / "web01.sock") as monitor:
        finding = await examined(monitor.address)
    assert finding.answer is not None
    assert {lack.command for lack in finding.answer.lacks} == UNSIMULATED


async def test_a_storage_daemon_is_told_from_a_vm(directory: Path) -> None:
    daemon = SimulatedVm("store", commands=STORAGE_DAEMON_COMMANDS)
    async with Monitor(daemon, directory / "web01.sock") as monitor:
        finding = await examined(monitor.address)
    assert finding.is_good
    assert "a qemu-storage-daemon" in "\n".join(details(finding))


async def test_events_during_the_handshake_do_no_harm(monitor: Monitor) -> None:
    monitor.inject(EarlyEvents("greeting"))
    assert (await examined(monitor.address)).is_good


async def test_a_monitor_that_is_held_is_not_connected_to(directory: Path) -> None:
    with listening(directory / "a.sock") as listener, socket.socket(socket.AF_UNIX) as holder:
        holder.connect(f"{directory}/a.sock")
        served, _ = listener.accept()
        with served:
            assert (await examined(directory / "a.sock")).verdict == "busy"
        assert_nobody_came(listener)


async def test_a_serial_port_is_not_connected_to(directory: Path) -> None:
    with listening(directory / "a.sock") as listener:
        command = ("qemu-system-x86_64", "-c", "read wait", "-serial", f"unix:{directory}/a.sock,server=on")
        qemu = await asyncio.create_subprocess_exec(*command, executable="/bin/sh", stdin=asyncio.subprocess.PIPE)
        try:
            finding = await examined(directory / "a.sock")
        finally:
            qemu.kill()
            await qemu.wait()
        assert_nobody_came(listener)
    assert (finding.verdict, "a serial port" in finding.problem) == ("error", True)


async def test_silence_is_told(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.1)
    monitor.inject(NoGreeting())
    finding = await examined(monitor.address)
    assert finding.verdict == "error"
    assert "Not QEMU" in finding.problem  # it is this test's process that listens
    await monitor.vacant()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (Garbage(b"SSH-2.0-OpenSSH_9.2\r\n", at="greeting"), "an SSH server"),
        (Garbage(BAD_JSON, at="greeting"), "does not greet"),
        (Endless(limit=1000), "greeting does not end"),
    ],
)
async def test_what_is_no_monitor_is_named_and_quoted(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch, said: Garbage | Endless, problem: str
) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    monitor.inject(said)
    finding = await examined(monitor.address)
    assert finding.verdict == "error"
    assert problem in finding.problem
    assert finding.seen[0].startswith("It said")


async def test_a_pretty_monitor_is_named(vm: SimulatedVm, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "GREETING_DEADLINE", 0.3)
    async with Monitor(vm, directory / "web01.sock", pretty=True) as monitor:
        finding = await examined(monitor.address)
    assert "pretty=on" in finding.problem


async def test_a_query_that_hangs_is_told_and_nothing_more_is_asked(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interview_module, "PATIENCE", 0.1)
    monitor.inject(Stall("query-block"))
    finding = await examined(monitor.address)
    assert finding.verdict == "slow"
    assert "query-block was not answered" in finding.seen[0]
    assert list(asked(monitor))[-1] == "query-block"
    await monitor.vacant()


async def test_a_monitor_that_is_never_done_is_given_up(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine_module, "DEADLINE", 0.2)
    monkeypatch.setattr(interview_module, "PATIENCE", 60.0)
    monkeypatch.setattr(in_flight, "STUCK", 60.0)
    monitor.inject(Stall("query-status"))
    finding = await examined(monitor.address)
    assert finding.verdict == "slow"
    assert "Not done within" in finding.seen[0]
    await monitor.vacant()


async def test_a_qemu_that_has_announced_its_end_is_not_asked_again_for_the_time_it_takes(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "QUIET", 0.01)
    shutdown = "SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}
    monitor.inject(EarlyEvents("capabilities", (shutdown,)))
    await examined(monitor.address)
    assert set(asked(monitor).values()) == {1}


async def test_a_session_that_ends_half_way_is_not_called_good(monitor: Monitor) -> None:
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(examined(monitor.address))
        await monitor.asked("query-block")
        monitor.vm.kill()
    finding = asking.result()
    assert (finding.verdict, finding.problem) == ("error", "The session ended while QEMU was asked.")


async def test_a_managers_own_monitor_is_not_touched_and_has_a_recipe(directory: Path) -> None:
    path = directory / "libvirt" / "qemu" / "domain-1-web01" / "monitor.sock"
    path.parent.mkdir(parents=True)
    with listening(path) as listener:
        finding = await examined(path)
        assert_nobody_came(listener)
    assert finding.verdict == "foreign"
    assert any("virsh edit web01" in line for line in finding.fix)
    assert any("path=/run/qmp/web01.sock" in line for line in finding.fix)


async def test_a_recipe_names_the_vm_as_its_qemu_does_and_not_the_file_of_its_socket(directory: Path) -> None:
    with listening(directory / "a.sock") as listener, socket.socket(socket.AF_UNIX) as holder:
        holder.connect(f"{directory}/a.sock")
        served, _ = listener.accept()
        command = (
            "-c",
            "read wait",
            "-name",
            "guest=db07,debug-threads=on",
            "-qmp",
            f"unix:{directory}/a.sock,server=on",
        )
        qemu = await asyncio.create_subprocess_exec(
            "qemu-system-x86_64", *command, executable="/bin/sh", stdin=asyncio.subprocess.PIPE
        )
        try:
            finding = await examined(directory / "a.sock", name="monitor")
        finally:
            qemu.kill()
            await qemu.wait()
        served.close()
    assert any("path=/run/qmp/db07-exporter.sock" in line for line in finding.fix)
    assert not any("kill" in line for line in finding.fix)


async def test_a_socket_of_another_owner_than_the_wanted_one_is_not_connected_to(monitor: Monitor) -> None:
    finding = await examined(monitor.address, owner=os.geteuid() + 1)
    assert finding.verdict == "denied"
    assert f"belongs to the user {os.geteuid()}, wanted {os.geteuid() + 1}" in finding.seen[0]
    assert not monitor.received


async def test_a_socket_that_is_none_is_told(directory: Path) -> None:
    (directory / "file.sock").touch()
    assert (await examined(directory / "file.sock")).problem == "What is there is no socket."
    (directory / "inside.sock").touch()
    with socket.socket(socket.AF_UNIX) as inside:
        inside.bind(f"{directory}/a.sock")
        assert f"Sockets in it: {directory}/a.sock" in (await examined(directory)).seen


async def test_a_missing_directory_is_told_from_a_missing_socket(directory: Path) -> None:
    assert "There is no such socket" in (await examined(directory / "a.sock")).problem
    assert f"{directory}/no does not exist" in (await examined(directory / "no" / "a.sock")).problem


async def test_a_file_in_the_way_is_told(directory: Path) -> None:
    (directory / "file").touch()
    assert f"{directory}/file is in the way (ENOTDIR)" in (await examined(directory / "file" / "a.sock")).problem


async def test_nobody_behind_a_socket_is_told(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{directory}/a.sock")
    assert (await examined(directory / "a.sock")).verdict == "refused"
    assert (await examined("@qmp-exporter-test-nobody")).verdict == "refused"


async def test_many_are_examined_together_and_in_order(directory: Path) -> None:
    targets = [Target(f"vm{number}", f"{directory}/{number}.sock") for number in range(40)]
    async with Monitor(SimulatedVm("vm7"), directory / "7.sock"):
        found = await examine_all(targets, View(Host(), current_user()))
    assert [target for target, _ in found] == targets
    assert [finding.verdict for _, finding in found] == ["good" if number == 7 else "missing" for number in range(40)]


async def test_a_report_fits_a_terminal(monitor: Monitor) -> None:
    lines = list(details(await examined(monitor.address)))
    assert max(len(line) for line in lines if "qemu_vm_info" not in line) <= 100


def test_a_table_keeps_its_columns_however_long_a_line_is() -> None:
    found = [(Target("a", "/a"), Finding("/a", "good")), (Target("web01", "/b"), Finding("/b", "busy", "word " * 50))]
    short, long = table(found)
    assert short.index("good") == long.index("busy")
    assert len(long) <= 100
