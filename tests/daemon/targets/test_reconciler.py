"""A configuration in force and others that follow it: what runs for it, and what is left in peace."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from qmp_exporter.config import Config, parse
from qmp_exporter.daemon.reload import Reload
from qmp_exporter.daemon.targets import source_poller
from qmp_exporter.daemon.targets.reconciler import KNOWN, Reconciler
from qmp_exporter.simulator import DiallingMonitor, Monitor, SimulatedVm
from watching import Running, connections, eventually

Configure = Callable[[str], Reconciler]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_poller, "PAUSE", 0.01)


def read(text: str) -> Config:
    return parse(text, "config.yaml", KNOWN)


@pytest.fixture
async def configure(fleet: Running) -> AsyncIterator[Configure]:
    """Let a configuration hold, until the test ends."""
    async with asyncio.TaskGroup() as group:
        tasks = []

        def start(text: str) -> Reconciler:
            configured = Reconciler(read(text), fleet, fleet.stats)
            tasks.append(group.create_task(configured.run()))
            return configured

        yield start
        for task in tasks:
            task.cancel()


def discover(directory: Path, more: str = "") -> str:
    return f'discover: [{{glob: "{directory}/*.sock", {more}}}]'


async def up(fleet: Running, name: str, labels: str = "") -> None:
    await fleet.says(f'qemu_up{{{labels}vm="{name}"}} 1.0')


async def scanned(fleet: Running) -> None:
    """Wait until a look was begun and done."""
    for _ in range(2):  # the first may have been under way
        before = last_look(fleet)
        await eventually(lambda before=before: last_look(fleet) != before)


def last_look(fleet: Running) -> str:
    (line,) = (
        line
        for line in fleet.stats.text(openmetrics=False).decode().splitlines()
        if line.startswith("qmp_exporter_last_look_timestamp_seconds{")
    )
    return line


async def test_a_vm_is_met_when_its_socket_appears(fleet: Running, configure: Configure, directory: Path) -> None:
    configure(discover(directory))
    await eventually(lambda: fleet.ready)
    assert list(fleet.watches) == []
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await up(fleet, "web01")


async def test_a_vm_that_is_gone_ends_after_its_grace(fleet: Running, configure: Configure, directory: Path) -> None:
    configure(discover(directory, "grace: 0s"))
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await up(fleet, "web01")
    await eventually(lambda: not fleet.watches)


async def test_a_vm_that_comes_back_within_its_grace_goes_on_counting(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configure(discover(directory))
    vm = SimulatedVm("web01")
    async with Monitor(vm, directory / "web01.sock"):
        await up(fleet, "web01")
        vm.change_rtc(1)
        await fleet.says('qemu_rtc_changes_total{vm="web01"} 1.0')
    await scanned(fleet)
    await fleet.says('qemu_monitor_state{state="missing",vm="web01"} 1.0')
    async with Monitor(vm, directory / "web01.sock"):
        await up(fleet, "web01")
        vm.change_rtc(2)
        await fleet.says('qemu_rtc_changes_total{vm="web01"} 2.0')


async def test_a_socket_that_nobody_listens_on_stays_as_refused(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "web01.sock"))
    configure(discover(directory))
    await fleet.says('qemu_monitor_state{state="refused",vm="web01"} 1.0')


async def test_a_managers_own_monitor_is_reported_and_not_touched(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    path = directory / "libvirt" / "qemu" / "domain-1-web01" / "monitor.sock"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)  # noqa: FBT003  the standard library's way
        name = r'name: "domain-\\d+-(?P<vm>[^/]+)/"'
        configure(f'discover: [{{glob: "{directory}/libvirt/qemu/*/monitor.sock", {name}}}]')
        await fleet.says('qemu_monitor_state{state="foreign",vm="web01"} 1.0')
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_a_name_found_twice_makes_one_vm_and_is_told(
    fleet: Running, configure: Configure, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        Monitor(SimulatedVm("web01"), directory / "1-web01.sock"),
        Monitor(SimulatedVm("web01"), directory / "2-web01.sock"),
    ):
        configure(discover(directory, 'name: "[0-9]-(?P<vm>[^/]+)[.]sock$"'))
        await up(fleet, "web01")
        assert fleet.own('qmp_exporter_target_collisions{same="name"} 1.0')
    assert capsys.readouterr().out.count("not watched") == 1


async def test_what_is_refused_is_said_once_and_counted(
    fleet: Running, configure: Configure, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f'source="discover {directory}/*.sock"'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "qga.sock"))
        configure(discover(directory, 'name: "(?P<vm>web[0-9]+)[.]sock$"'))
        await eventually(lambda: fleet.own(f'qmp_exporter_targets_refused{{reason="name",{source}}} 1.0'))
        async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):  # a look later at least
            await up(fleet, "web01")
    (directory / "qga.sock").unlink()
    await eventually(lambda: fleet.own(f'qmp_exporter_targets_refused{{reason="name",{source}}} 0.0'))
    assert capsys.readouterr().out.count("qga.sock") == 1


async def test_a_static_target_and_what_is_found_at_its_socket_are_one_vm(
    fleet: Running, configure: Configure, monitor: Monitor, directory: Path
) -> None:
    static = f'vms: [{{name: web01, socket: "{monitor.address}", labels: {{tenant: acme}}}}]\n'
    configure(static + discover(directory))
    await up(fleet, "web01", 'tenant="acme",')
    await eventually(lambda: fleet.own('qmp_exporter_target_collisions{same="name"} 0.0'))
    assert list(fleet.watches) == ["web01"]


async def test_a_file_system_that_hangs_holds_nobody_else(
    fleet: Running, configure: Configure, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    glob = source_poller.glob.iglob

    def hang(pattern: str) -> object:
        if "/slow/" in pattern:
            answers.wait()
        return glob(pattern)

    monkeypatch.setattr(source_poller, "SLOW", 0.01)
    monkeypatch.setattr(source_poller.glob, "iglob", hang)
    (directory / "slow").mkdir()
    async with (
        Monitor(SimulatedVm("web01"), directory / "web01.sock"),
        Monitor(SimulatedVm("db01"), directory / "slow" / "db01.sock"),
    ):
        configure(f'discover: [{{glob: "{directory}/slow/*"}}, {{glob: "{directory}/*.sock"}}]')
        await up(fleet, "web01")
        assert list(fleet.watches) == ["web01"]
        assert not fleet.ready
        answers.set()
        await up(fleet, "db01")


async def test_a_directory_that_cannot_be_read_does_not_keep_the_others_from_being_ready(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    (directory / "file").write_text("no directory")
    configure(f'discover: [{{glob: "{directory}/file/*.sock"}}]')
    await eventually(lambda: fleet.ready)


async def test_a_directory_that_cannot_be_read_for_a_while_ends_no_watch(
    fleet: Running, configure: Configure, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    scandir = source_poller.scandir

    def fail(path: str) -> object:
        failed.set()
        raise PermissionError(13, "Permission denied", path)

    configure(discover(directory, "grace: 0s"))
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await up(fleet, "web01")
        monkeypatch.setattr(source_poller, "scandir", fail)
        await eventually(failed.is_set)
        failed.clear()
        await eventually(failed.is_set)
        assert list(fleet.watches) == ["web01"]
        monkeypatch.setattr(source_poller, "scandir", scandir)


async def test_a_file_of_targets_is_followed(fleet: Running, configure: Configure, directory: Path) -> None:
    file = directory / "web.yaml"
    configure(f'files: ["{directory}/*.yaml"]')
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        file.write_text(f'[{{name: web01, socket: "{directory}/web01.sock"}}]')
        await up(fleet, "web01")
        file.write_text("[")
        await eventually(lambda: fleet.own('qmp_exporter_targets_refused{reason="mistake",source="files"} 1.0'))
        assert list(fleet.watches) == ["web01"]
        file.unlink()
        await eventually(lambda: not fleet.watches)
        await eventually(lambda: fleet.own('qmp_exporter_targets_refused{reason="mistake",source="files"} 0.0'))


def source_up(fleet: Running, name: str) -> float | None:
    samples = (line.rpartition(" ") for line in fleet.stats.text(openmetrics=False).decode().splitlines())
    return next((float(value) for s, _, value in samples if s == f'qmp_exporter_source_up{{source="{name}"}}'), None)


async def test_a_source_that_cannot_be_looked_through_is_seen_with_its_reason_until_it_can(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    source = f"discover {directory}/file/*.sock"
    (directory / "file").write_text("no directory")
    configure(f'discover: [{{glob: "{directory}/file/*.sock"}}]')
    await eventually(lambda: source_up(fleet, source) == 0)
    assert {one.name: why for one, why in fleet.failures.items()} == {source: f"{directory}/file: Not a directory"}
    (directory / "file").unlink()
    await eventually(lambda: source_up(fleet, source) == 1)
    assert fleet.failures == {}


async def test_a_file_system_that_hangs_is_seen_until_it_answers(
    fleet: Running, configure: Configure, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    glob = source_poller.glob.iglob
    monkeypatch.setattr(source_poller, "SLOW", 0.01)
    monkeypatch.setattr(source_poller.glob, "iglob", lambda pattern: answers.wait() and glob(pattern))
    configure(discover(directory))
    await eventually(lambda: source_up(fleet, f"discover {directory}/*.sock") == 0)
    assert list(fleet.failures.values()) == ["the file system does not answer"]
    answers.set()
    await eventually(lambda: source_up(fleet, f"discover {directory}/*.sock") == 1)
    assert fleet.failures == {}


async def test_a_bug_that_stops_a_source_is_seen(
    fleet: Running, configure: Configure, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_directory: str) -> object:
        raise LookupError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(source_poller, "scandir", stumble)
        configure(discover(directory))
        await eventually(lambda: source_up(fleet, f"discover {directory}/*.sock") == 0)
    assert list(fleet.failures.values()) == ["a bug in the exporter, which its log tells"]


async def test_a_source_that_does_not_work_is_forgotten_with_its_entry(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configured = configure(f'listen: [{{socket: "{directory}/none/dial-in.sock"}}]')
    await eventually(lambda: bool(fleet.failures))
    configured.apply(read("vms: []"))
    await eventually(lambda: not fleet.failures)
    assert source_up(fleet, f"listen {directory}/none/dial-in.sock") is None


# --- another configuration


async def test_what_is_found_by_an_entry_that_did_not_change_is_left_in_peace(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configured = configure(discover(directory))
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await up(fleet, "web01")
        watch = fleet.watches["web01"]
        configured.apply(read("vms: [{name: web02, socket: /nowhere}]\n" + discover(directory)))
        await fleet.says('qemu_monitor_state{state="missing",vm="web02"} 1.0')
        assert fleet.watches["web01"] is watch
        configured.apply(read(discover(directory, "grace: 1h")))
        await eventually(lambda: list(fleet.watches) == ["web01"])
        assert fleet.watches["web01"] is watch


async def test_an_entry_that_is_gone_takes_its_vms_along_without_grace(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configured = configure(discover(directory))
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await up(fleet, "web01")
        configured.apply(read("vms: []"))
        await eventually(lambda: not fleet.watches)
        assert "qmp_exporter_targets_refused{" not in fleet.stats.text(openmetrics=False).decode()


async def test_what_an_entry_excludes_from_now_on_goes_without_grace(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configured = configure(discover(directory))
    async with (
        Monitor(SimulatedVm("web01"), directory / "web01.sock"),
        Monitor(SimulatedVm("web02"), directory / "web02.sock"),
    ):
        await up(fleet, "web01")
        await up(fleet, "web02")
        watch = fleet.watches["web02"]
        configured.apply(read(discover(directory, "exclude: [web01.sock]")))
        await eventually(lambda: list(fleet.watches) == ["web02"])
        assert fleet.watches["web02"] is watch


async def test_labels_of_an_entry_that_changed_reach_its_vms(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configured = configure(discover(directory))
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock"):
        await up(fleet, "web01")
        configured.apply(read(discover(directory, "labels: {tenant: acme}")))
        await up(fleet, "web01", 'tenant="acme",')


async def test_another_poll_interval_reaches_every_target(
    fleet: Running, configure: Configure, monitor: Monitor
) -> None:
    vms = f'\nvms: [{{name: web01, socket: "{monitor.address}"}}]'
    configured = configure("poll_interval: 1h" + vms)
    await up(fleet, "web01")
    configured.apply(read("poll_interval: 1s" + vms))
    await up(fleet, "web01")
    monitor.received.clear()
    await monitor.asked("query-status")


# --- read again


async def test_a_reload_touches_only_what_changed(fleet: Running, configure: Configure, directory: Path) -> None:
    def text(interval: str) -> str:
        targets = [f'{{name: vm{n}, socket: "{directory}/{n}.sock", labels: {{}}}}' for n in range(20)]
        targets[7] = targets[7].replace("labels: {}", f"labels: {{poll: {interval}}}")
        return f"vms: [{', '.join(targets)}]"

    configured = configure(text("a"))
    reload = Reload(lambda: read(text("b")), configured.apply, fleet.stats)
    await eventually(lambda: fleet.ready)
    before = dict(fleet.watches)
    assert await reload.now() == ()
    await eventually(lambda: fleet.watches["vm7"] is not before["vm7"])
    assert [name for name, watch in fleet.watches.items() if watch is not before[name]] == ["vm7"]
    assert fleet.own("qmp_exporter_config_last_reload_successful 1.0")


async def test_a_bad_file_changes_nothing_and_every_error_is_told(
    fleet: Running, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = configure("vms: [{name: web01, socket: /nowhere}]")
    texts = ["vms:\n- {name: 5, socket: a}", "vms: []"]
    reload = Reload(lambda: read(texts.pop(0)), configured.apply, fleet.stats)
    await eventually(lambda: fleet.ready)
    watch = fleet.watches["web01"]
    errors = await reload.now()
    assert [error.split(": ")[0] for error in errors] == ["config.yaml:2:10", "config.yaml:2:21"]
    assert fleet.watches["web01"] is watch
    assert fleet.own("qmp_exporter_config_last_reload_successful 0.0")
    log = capsys.readouterr().out
    assert all(error in log for error in errors)
    assert await reload.now() == ()
    await eventually(lambda: not fleet.watches)
    assert fleet.own("qmp_exporter_config_last_reload_successful 1.0")


async def test_a_bug_while_reloading_shows_as_a_failed_reload(fleet: Running) -> None:
    def stumble() -> Config:
        raise LookupError("a bug")

    fleet.stats.reload_successful.set(1)
    with pytest.raises(LookupError):
        await Reload(stumble, lambda _: None, fleet.stats).now()
    assert fleet.own("qmp_exporter_config_last_reload_successful 0.0")


async def test_all_requests_that_come_while_reloading_read_the_file_once_more(fleet: Running) -> None:
    configs = iter([read("poll_interval: 1s\nvms: []"), read("poll_interval: 2s\nvms: []")])
    applied: list[Config] = []
    reading = threading.Semaphore(0)

    def slowly() -> Config:
        reading.acquire()
        return next(configs)

    reload = Reload(slowly, applied.append, fleet.stats)
    async with asyncio.TaskGroup() as group:
        group.create_task(reload.now())
        await asyncio.sleep(0)
        for _ in range(100):
            group.create_task(reload.now())
        await asyncio.sleep(0)
        reading.release(2)
    assert [config.defaults.poll_interval for config in applied] == [1, 2]


async def test_the_service_manager_is_told_of_a_reload(
    fleet: Running, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        await Reload(lambda: read("vms: []"), lambda _: None, fleet.stats).now()
        begun, since = manager.recv(100).split(b"\nMONOTONIC_USEC=")
        assert begun == b"RELOADING=1"
        assert int(since) > 0
        assert manager.recv(100) == b"READY=1"


def listen(directory: Path, more: str = "") -> str:
    return f'listen: [{{socket: "{directory}/dial-in.sock", {more}}}]'


async def test_where_vms_dial_in_changes_with_the_configuration_and_its_vms_come_again(
    fleet: Running, configure: Configure, directory: Path
) -> None:
    configured = configure(listen(directory))
    async with DiallingMonitor(SimulatedVm("web01"), directory / "dial-in.sock", reconnect=0.01) as monitor:
        await up(fleet, "web01")
        configured.apply(read(listen(directory)))  # no change
        configured.apply(read(listen(directory, "labels: {tenant: acme}")))
        await up(fleet, "web01", 'tenant="acme",')
        assert connections(monitor) == 2
        configured.apply(read("vms: []"))
        await eventually(lambda: not fleet.watches and not (directory / "dial-in.sock").exists())
