"""A fleet whose targets come, change and go, with simulated VMs behind some of them."""

import asyncio
import time
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import DISCOVER, FILES, STATIC, Source
from qmp_exporter.runtime import supervisor
from qmp_exporter.simulator import Monitor, SimulatedVm
from watching import Running, connections, eventually

SCAN = Source(DISCOVER, "discover")


@pytest.fixture
def target(monitor: Monitor) -> Target:
    return Target("web01", str(monitor.address))


async def test_a_target_that_comes_is_watched_and_one_that_goes_leaves_no_series(
    fleet: Running, target: Target
) -> None:
    fleet.want(STATIC, [target])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    assert fleet.watches["web01"].target == target
    fleet.want(STATIC, [])
    await eventually(lambda: not fleet.watches)
    assert await fleet.text() == ""


async def test_what_does_not_change_keeps_its_connection_and_its_counters(
    fleet: Running, monitor: Monitor, target: Target
) -> None:
    fleet.want(STATIC, [target])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    monitor.vm.change_rtc(7)
    fleet.want(STATIC, [target, Target("web02", "/nowhere")])
    await fleet.says('qemu_monitor_state{state="missing",vm="web02"} 1.0')
    await fleet.says('qemu_rtc_changes_total{vm="web01"} 1.0')
    assert connections(monitor) == 1


async def test_what_changes_is_met_anew_under_its_new_labels_only(
    fleet: Running, monitor: Monitor, target: Target
) -> None:
    fleet.want(STATIC, [target])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    fleet.want(STATIC, [Target("web01", target.socket, {"tenant": "acme"})])
    await fleet.says('qemu_up{tenant="acme",vm="web01"} 1.0')
    assert '{vm="web01"}' not in await fleet.text()
    assert connections(monitor) == 2


async def test_a_vm_that_changes_is_never_missing_from_a_page(fleet: Running, target: Target) -> None:
    fleet.want(STATIC, [target])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    fleet.want(STATIC, [Target("web01", target.socket, {"tenant": "acme"})])
    while "tenant" not in (page := fleet.page.text()):
        assert 'qemu_up{vm="web01"} 1.0' in page
        await asyncio.sleep(0)
    assert 'qemu_up{tenant="acme",vm="web01"} 0.0' in page


async def test_a_vm_that_is_renamed_is_met_under_its_new_name(fleet: Running, target: Target) -> None:
    fleet.want(STATIC, [target])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    fleet.want(STATIC, [Target("web02", target.socket)])
    await fleet.says('qemu_up{vm="web02"} 1.0')
    assert list(fleet.watches) == ["web02"]


async def test_a_vm_that_comes_back_within_its_grace_goes_on_counting(fleet: Running, directory: Path) -> None:
    target = Target("web01", f"{directory}/web01.sock")
    vm = SimulatedVm("web01")
    async with Monitor(vm, directory / "web01.sock") as monitor:
        fleet.want(SCAN, [target], grace=60)
        await fleet.says('qemu_up{vm="web01"} 1.0')
        monitor.vm.change_rtc(7)
        await fleet.says('qemu_rtc_changes_total{vm="web01"} 1.0')
    fleet.want(SCAN, [], grace=60)
    await fleet.says('qemu_up{vm="web01"} 0.0')
    assert 'qemu_rtc_changes_total{vm="web01"} 1.0' in await fleet.text()
    async with Monitor(vm, directory / "web01.sock"):
        fleet.want(SCAN, [target], grace=60)
        await fleet.says('qemu_up{vm="web01"} 1.0')
        vm.change_rtc(8)
        await fleet.says('qemu_rtc_changes_total{vm="web01"} 2.0')


async def test_grace_ends_by_itself(fleet: Running) -> None:
    fleet.want(SCAN, [Target("web01", "/nowhere")], grace=0.05)
    fleet.want(SCAN, [], grace=0.05)
    assert "web01" in fleet.watches or await fleet.text() == ""
    await eventually(lambda: not fleet.watches)


async def test_a_collision_is_said_once_and_counted_as_long_as_it_lasts(
    fleet: Running, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.want(STATIC, [target])
    fleet.want(FILES, [Target("web01", "/elsewhere"), Target("web02", target.socket)])
    fleet.want(SCAN, [Target("web03", "/nowhere")])
    log = capsys.readouterr().out
    assert log.count("not watched") == 2
    assert fleet.own('qmp_exporter_target_collisions{same="name"} 1.0')
    assert fleet.own('qmp_exporter_target_collisions{same="socket"} 1.0')
    await fleet.says('qemu_up{vm="web01"} 1.0')
    assert 'vm="web02"' not in await fleet.text()
    fleet.want(FILES, [])
    assert fleet.own('qmp_exporter_target_collisions{same="name"} 0.0')


async def test_the_number_of_targets_by_state_follows(fleet: Running) -> None:
    fleet.want(STATIC, [Target(f"vm{number}", f"/nowhere/{number}") for number in range(100)])
    await eventually(lambda: fleet.own('qmp_exporter_targets{state="missing"} 100.0'))
    fleet.want(STATIC, [Target("vm7", "/nowhere/7")])
    await eventually(lambda: fleet.own('qmp_exporter_targets{state="missing"} 1.0'))


async def test_a_target_that_comes_later_does_not_take_the_readiness_back(fleet: Running) -> None:
    fleet.want(STATIC, [Target("web01", "/nowhere")])
    await eventually(lambda: fleet.ready)
    fleet.want(STATIC, [Target("web01", "/nowhere"), Target("web02", "/nowhere/either")])
    await eventually(lambda: "web02" in fleet.watches)
    assert fleet.ready


async def test_a_bug_in_one_watch_ends_no_other_and_it_begins_anew(
    fleet: Running, target: Target, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "RESTART", 0.05)
    real, stumbled = Watch.run, asyncio.Event()

    async def stumble_once(watch: Watch) -> None:
        if watch.target.name == "web02" and not stumbled.is_set():
            stumbled.set()
            raise LookupError("a bug")
        await real(watch)

    monkeypatch.setattr(Watch, "run", stumble_once)
    fleet.want(STATIC, [Target("web02", "/nowhere"), target])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    await fleet.says('qemu_monitor_state{state="missing",vm="web02"} 1.0')
    assert "LookupError: a bug" in capsys.readouterr().out


async def test_a_clock_that_is_set_takes_nothing_from_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(Selfstats())
    fleet.want(STATIC, [Target("web01", "/nowhere/web01.sock")])
    samples = fleet.watches["web01"].vm.samples
    index = CATALOG.index["qemu_block_io_errors_total"]
    samples.count(index, [(("sda", "read", "stop"), 1)])
    samples.retire(index, 0, {"sda"})
    await fleet.refresh()
    tomorrow = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    await fleet.refresh()
    assert 'device="sda"' in fleet.page.text()
