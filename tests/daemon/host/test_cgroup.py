"""Control groups of the real kernel, and files like its own -> what a VM's group says."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgroups import control_group
from parts import missing, need_root
from qmp_exporter.daemon.host.cgroup import mount_point, own_cgroup, read_cgroup

PSI = "some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"
# The groups that the three managers make, below one of the test's own.
LIBVIRT = r"machine.slice/machine-qemu\x2d1\x2dweb01.scope"
PROXMOX = "qemu.slice/101.scope"
UNIT = "system.slice/vm-web01.service"


@pytest.fixture
def root() -> Iterator[Path]:
    """A group of the test's own, where those of VMs are made."""
    need_root()
    mounted = mount_point()
    if mounted is None:
        missing("no control groups of version 2 are mounted")
    with control_group(Path(mounted, f"qmp-exporter-test-{os.getpid()}")) as base:
        yield base


@contextlib.contextmanager
def member(group: Path) -> Iterator[int]:
    """A process in that group -> its pid"""
    group.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("group", "own"),
    [(LIBVIRT, LIBVIRT), (f"{LIBVIRT}/libvirt/emulator", LIBVIRT), (PROXMOX, PROXMOX), (UNIT, UNIT)],
)
def test_the_group_of_a_vm_is_found_by_how_managers_call_it(root, group, own):
    with member(root / group) as pid:
        assert own_cgroup(pid, mount_point()) == str(root / own)


def test_a_unit_that_has_others_in_it_is_not_the_vms(root):
    """As that of a tool that starts all its VMs in its own service."""
    with member(root / UNIT) as pid, member(root / UNIT):
        assert own_cgroup(pid, mount_point()) is None


def test_a_group_that_is_nobodys_unit_is_not_the_vms(root):
    with member(root / "user") as pid:
        assert own_cgroup(pid, mount_point()) is None


def test_without_control_groups_or_a_process_there_is_none(root):
    with member(root / PROXMOX) as pid:
        assert own_cgroup(pid, None) is None
    assert own_cgroup(2**22 + 1, mount_point()) is None


def test_the_pressure_on_a_group_is_read_from_the_kernel(root):
    with member(root / PROXMOX) as pid:
        told = read_cgroup(str(own_cgroup(pid, mount_point())))
    assert {resource for resource, _ in told.pressure} == {"cpu", "memory", "io"}
    assert all(seconds >= 0 for seconds in told.pressure.values())


def test_the_files_are_read_in_base_units(tmp_path):
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nnr_throttled 2\nthrottled_usec 1500000\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "io.pressure").write_text(PSI.format(some=2_500_000, full=1_000_000))
    (tmp_path / "memory.events").write_text("low 0\nhigh 3\nmax 2\noom 1\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.max").write_text("8192\n")
    (tmp_path / "memory.high").write_text("max\n")
    told = read_cgroup(str(tmp_path))
    assert told.throttled_seconds == 1.5
    assert told.cpu_quota == 1.5
    assert told.pressure == {("io", "some"): 2.5, ("io", "full"): 1.0}
    assert told.memory_events["oom_kill"] == 1
    assert (told.memory_current, told.memory_max, told.memory_high) == (4096, 8192, None)


@pytest.mark.parametrize("text", ["max 100000\n", "", "nonsense", "100000 0\n"])
def test_no_quota_is_no_limit(tmp_path, text):
    (tmp_path / "cpu.max").write_text(text)
    assert read_cgroup(str(tmp_path)).cpu_quota is None


def test_a_controller_that_is_off_says_nothing(tmp_path):
    told = read_cgroup(str(tmp_path))
    assert told.throttled_seconds is told.memory_current is told.memory_max is None
    assert told.pressure == told.memory_events == {}
