"""Targets as a scan finds them, and simulated VMs that say who they are -> what each VM is called on the page."""

from pathlib import Path

import pytest

from qmp_exporter.catalog.vm import IDENTITY
from qmp_exporter.config import Discover, parse
from qmp_exporter.daemon.targets.discovery import scan
from qmp_exporter.daemon.targets.naming import Naming
from qmp_exporter.daemon.targets.sources import DISCOVER, Source
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.faults import Stall
from watching import Running, connections, eventually

SCAN = Source(DISCOVER, "discover")
UUID = "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"
CHANGED = 'qemu_rtc_changes_total{vm="%s"} 1.0'


def entry(directory: Path, **keys: str) -> Discover:
    lines = "".join(f"    {key}: '{value}'\n" for key, value in keys.items())
    return parse(f"discover:\n  - glob: {directory}/*.sock\n{lines}", "config.yaml").discover[0]


def discovered(found: Discover, fleet: Running, naming: Naming) -> list[str]:
    """What each look at the directory brings about."""
    targets = naming.name(scan(found).targets)
    fleet.want(SCAN, targets, grace=60)
    return [target.name for target in targets]


async def told(fleet: Running, *names: str) -> None:
    """Wait until these VMs have said who they are."""
    await eventually(
        lambda: (
            fleet.watches.keys() >= set(names) and all(fleet.watches[name].vm.facts[IDENTITY].is_told for name in names)
        )
    )


async def named_web01(found: Discover, fleet: Running, naming: Naming) -> None:
    """The VM behind 101.sock has told its name and is called by it."""
    discovered(found, fleet, naming)
    await told(fleet, "101")
    assert discovered(found, fleet, naming) == ["web01"]
    await eventually(lambda: "web01" in fleet.watches)


async def test_a_vm_has_its_path_s_name_until_it_tells_its_own_and_keeps_connection_and_counters(
    fleet: Running, directory: Path
) -> None:
    found = entry(directory, name_from="name")
    naming = Naming(found, fleet)
    async with Monitor(SimulatedVm(name="web01"), directory / "101.sock") as monitor:
        assert discovered(found, fleet, naming) == ["101"]
        await fleet.says('qemu_up{vm="101"} 1.0')
        monitor.vm.change_rtc(7)
        await fleet.says(CHANGED % "101")
        await told(fleet, "101")
        assert discovered(found, fleet, naming) == ["web01"]
        await fleet.says(CHANGED % "web01")
        assert 'vm="101"' not in await fleet.text()
        assert list(fleet.watches) == ["web01"]
        monitor.vm.change_rtc(7)
        await fleet.says('qemu_rtc_changes_total{vm="web01"} 2.0')
        assert connections(monitor) == 1
    await fleet.says('qemu_up{vm="web01"} 0.0')
    (directory / "101.sock").unlink(missing_ok=True)
    assert discovered(found, fleet, naming) == []
    await fleet.says('qemu_rtc_changes_total{vm="web01"} 2.0')


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"name_from": "name", "name": "^(?P<vm>[^.]+)"}, "web01"),
        ({"name_from": "name"}, "web01.example.org"),
        ({"name_from": "uuid"}, UUID),
        ({"name_from": "uuid", "name": "^(?P<vm>[^-]+)"}, "6a3c1f0e"),
        ({"name_from": "file"}, "101"),
        ({}, "101"),
    ],
)
async def test_a_pattern_cuts_the_name_out_of_what_names_the_vm(
    fleet: Running, directory: Path, keys: dict[str, str], name: str
) -> None:
    found = entry(directory, **keys)
    naming = Naming(found, fleet)
    async with Monitor(SimulatedVm("web01.example.org", vm_uuid=UUID), directory / "101.sock"):
        discovered(found, fleet, naming)
        await told(fleet, "101")
        assert discovered(found, fleet, naming) == [name]


@pytest.mark.parametrize(
    ("vm", "pattern", "why"),
    [
        (SimulatedVm(""), "(?P<vm>.*)", "QEMU was started without -name"),
        (SimulatedVm("web01"), "^db(?P<vm>.*)", "web01 does not match ^db(?P<vm>.*)"),
        (SimulatedVm("web\n01"), "(?s)(?P<vm>.*)", "control characters"),
    ],
)
async def test_a_vm_whose_own_name_is_none_keeps_that_of_its_path_and_the_log_says_why_once(  # noqa: PLR0917  # its parts and its three parameters
    fleet: Running, directory: Path, capsys: pytest.CaptureFixture[str], vm: SimulatedVm, pattern: str, why: str
) -> None:
    found = entry(directory, name_from="name", name=pattern)
    naming = Naming(found, fleet)
    async with Monitor(vm, directory / "101.sock"):
        discovered(found, fleet, naming)
        await told(fleet, "101")
        assert [discovered(found, fleet, naming) for _ in range(2)] == [["101"], ["101"]]
    said = [line for line in capsys.readouterr().out.splitlines() if "named by its path" in line]
    assert len(said) == 1
    assert why in said[0]


async def test_of_two_vms_with_one_name_the_second_is_still_watched_under_the_name_of_its_path(
    fleet: Running, directory: Path
) -> None:
    found = entry(directory, name_from="name")
    naming = Naming(found, fleet)
    async with (
        Monitor(SimulatedVm("web01", vm_uuid=UUID), directory / "101.sock") as one,
        Monitor(SimulatedVm("web01"), directory / "102.sock") as other,
    ):
        assert discovered(found, fleet, naming) == ["101", "102"]
        await told(fleet, "101", "102")
        assert discovered(found, fleet, naming) == ["web01", "102"]
        await fleet.says('qemu_up{vm="web01"} 1.0')
        assert discovered(found, fleet, naming) == ["web01", "102"]
        await fleet.says('qemu_up{vm="102"} 1.0')
        assert connections(one) == connections(other) == 1


async def test_a_vm_that_was_restarted_and_is_silent_keeps_its_own_name(fleet: Running, directory: Path) -> None:
    found = entry(directory, name_from="name")
    naming = Naming(found, fleet)
    async with Monitor(SimulatedVm("web01"), directory / "101.sock"):
        await named_web01(found, fleet, naming)
    async with Monitor(SimulatedVm("web01"), directory / "101.sock") as silent:
        silent.inject(Stall("query-name"))
        await eventually(lambda: connections(silent) == 1)
        assert discovered(found, fleet, naming) == ["web01"]


async def test_a_socket_where_another_vm_answers_has_that_vm_s_name(fleet: Running, directory: Path) -> None:
    found = entry(directory, name_from="name")
    naming = Naming(found, fleet)
    async with Monitor(SimulatedVm("web01"), directory / "101.sock"):
        await named_web01(found, fleet, naming)
    async with Monitor(SimulatedVm("db01"), directory / "101.sock"):
        await eventually(lambda: fleet.watches["web01"].vm.facts[IDENTITY].name == "db01")
        await told(fleet, "web01")
        assert discovered(found, fleet, naming) == ["db01"]
        await fleet.says('qemu_up{vm="db01"} 1.0')
