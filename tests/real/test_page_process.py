"""The process of a real QEMU -> what the page says of it and of its vCPUs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parts import missing, need_root
from qmp_exporter.daemon.host.cgroup import mount_point
from qmp_exporter.demo.machine import DataDisk, Machine
from qmp_exporter.demo.qemu import Order, Qemu
from taps import TAP

pytestmark = pytest.mark.real

VCPU_TIME = "qemu_vcpu_cpu_seconds_total"
TAPS = Path(__file__).parents[1] / "taps.py"


async def test_the_process_behind_the_monitor_is_on_the_page(boot, watch):
    qemu = await boot(Machine(extra=("-smp", "2")))
    exporter = await watch(qemu, poll="1s")
    page = await exporter.shows(lambda page: [] if page.family(VCPU_TIME) else ["no process yet"])
    proc = Path("/proc", str(qemu.process.pid))
    resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert page["qemu_vcpus"] == 2
    assert page.values("vcpu")[VCPU_TIME] == {"0", "1"}
    assert page.values("vcpu")["qemu_vcpu_run_delay_seconds_total"] == {"0", "1"}
    assert page["qemu_process_resident_memory_bytes"] == pytest.approx(resident, rel=0.3)
    assert page["qemu_process_open_fds"] == pytest.approx(len(list((proc / "fd").iterdir())), abs=3)
    assert page["qemu_process_cpu_seconds_total"] > 0


async def test_iothreads_and_the_rest_of_qemu_are_told_apart(boot, watch):
    qemu = await boot(Machine(extra=("-object", "iothread,id=io0", "-object", "iothread,id=io1")))
    exporter = await watch(qemu, poll="1s")
    name = "qemu_iothread_cpu_seconds_total"
    page = await exporter.shows(lambda page: [] if page.family(name) else ["no IOThreads yet"])
    assert page.values("iothread")[name] == {"io0", "io1"}
    assert page.values("iothread")["qemu_iothread_run_delay_seconds_total"] == {"io0", "io1"}
    process = page["qemu_process_cpu_seconds_total"]
    assert sum(page.family(name).values()) < 0.1
    assert 0 < page["qemu_emulator_cpu_seconds_total"] <= process
    assert page["qemu_process_threads"] >= 4
    assert page["qemu_process_swap_bytes"] == 0
    assert page["qemu_process_hugetlb_bytes"] == 0
    assert page["qemu_process_start_time_seconds"] == pytest.approx(time.time(), abs=60)
    assert page["qemu_process_max_fds"] >= page["qemu_process_open_fds"]


@pytest.fixture
def own_group() -> Iterator[Callable[[int], None]]:
    """Puts a process into a control group of its own, called as libvirt does, until the test ends."""
    need_root()
    mounted = mount_point()
    if mounted is None:
        missing("no control groups of version 2 are mounted")
    group = Path(mounted, f"machine-qemu-{os.getpid()}.scope")
    group.mkdir()
    yield lambda pid: (group / "cgroup.procs").write_text(str(pid))
    for pid in (group / "cgroup.procs").read_text().split():
        Path(mounted, "cgroup.procs").write_text(pid)
    group.rmdir()


async def test_the_pressure_on_a_vms_own_group_is_on_the_page(boot, watch, own_group):
    qemu = await boot(Machine())
    own_group(qemu.process.pid)
    exporter = await watch(qemu, poll="1s")
    name = "qemu_cgroup_pressure_seconds_total"
    page = await exporter.shows(lambda page: [] if page.family(name) else ["no group yet"])
    assert page.values("resource")[name] == {"cpu", "memory", "io"}
    assert page.values("kind")[name] == {"some", "full"}


def send_into(pid: int, tap: str, frames: int) -> None:
    """From the host, in the network namespace of that process."""
    enter = ["nsenter", "--net", f"--target={pid}"]
    subprocess.run([*enter, sys.executable, TAPS, "send", tap, str(frames)], check=True)


async def test_the_guests_traffic_is_counted_at_the_tap(watch, qemu_binary, tmp_path):
    """slirp answers on the other port of a hub, as a guest would; with IPv6 it would advertise itself as well."""
    need_root()
    tap = f"qmp{os.getpid()}"
    program = tmp_path / "qemu"
    program.write_text(
        f'#!/bin/sh\nexec unshare --net {sys.executable} {TAPS} {tap} fe:54:00:00:00:01 {qemu_binary} "$@"\n'
    )
    program.chmod(0o755)
    backends = ("-netdev", f"tap,id=net0,fd={TAP}", "-netdev", "user,id=net1,ipv6=off")
    hub = ("-netdev", "hubport,id=h0,hubid=0,netdev=net0", "-netdev", "hubport,id=h1,hubid=0,netdev=net1")
    async with Qemu(Machine(extra=(*backends, *hub)), str(program)) as qemu:
        exporter = await watch(qemu, poll="1s")
        before = await exporter.says(f'qemu_network_info{{interface="{tap}",netdev="net0",mac=""}} 1')
        send_into(qemu.process.pid, tap, 5)

        def more(page, direction):
            name = f'qemu_network_{direction}_packets_total{{interface="{tap}"}}'
            return page[name] - before[name]

        page = await exporter.shows(
            lambda page: [] if min(more(page, "receive"), more(page, "transmit")) >= 5 else ["not yet"]
        )
        assert more(page, "transmit") == 5
        assert page[f'qemu_network_receive_drops_total{{interface="{tap}"}}'] == 0


async def test_the_cpu_time_of_a_guest_that_works_grows(boot, watch):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    before = (await exporter.shows(lambda page: [] if page.family(VCPU_TIME) else ["no process yet"])).family(VCPU_TIME)
    await qemu.order(Order.WRITE_GOOD, 2000)
    await exporter.shows(lambda page: ["it does not grow"] if page.family(VCPU_TIME) == before else [])
