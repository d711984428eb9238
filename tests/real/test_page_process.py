"""The process of a real QEMU -> what the page says of it and of its vCPUs."""

import os
from pathlib import Path

import pytest

from qmp_exporter.demo.machine import DataDisk, Machine
from qmp_exporter.demo.qemu import Order

pytestmark = pytest.mark.real

VCPU_TIME = "qemu_vcpu_cpu_seconds_total"


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


async def test_the_cpu_time_of_a_guest_that_works_grows(boot, watch):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    before = (await exporter.shows(lambda page: [] if page.family(VCPU_TIME) else ["no process yet"])).family(VCPU_TIME)
    await qemu.order(Order.WRITE_GOOD, 2000)
    await exporter.shows(lambda page: ["it does not grow"] if page.family(VCPU_TIME) == before else [])
