"""What a guest reports to the balloon of a real QEMU -> the page, and what was asked for it."""

import time

import pytest

from balloon import Guest, machine
from exporter import Vm, exporting
from recorder import recording

pytestmark = pytest.mark.real

GIB = 1 << 30
STATS = {"path": "/machine/peripheral/balloon0", "property": "guest-stats"}


async def test_what_the_guest_reports_is_on_the_page_and_nothing_else_is_asked_of_the_device(boot, short_path):
    qemu = await boot(machine(short_path))
    await qemu.execute("cont")
    async with (
        recording(short_path, qemu.monitor) as recorder,
        exporting(short_path, Vm("web01", recorder.socket), poll="1s") as exporter,
        Guest.of(short_path) as guest,
    ):
        await exporter.says("qemu_up 1", absent=["qemu_guest_memory_total_bytes"])
        await guest.reports(total=4 * GIB, free=GIB, available=2 * GIB, caches=GIB, major=7, minor=8, **{"swap-in": 5})
        page = await exporter.says(
            f"""
            qemu_guest_memory_total_bytes {4 * GIB}
            qemu_guest_memory_free_bytes {GIB}
            qemu_guest_memory_available_bytes {2 * GIB}
            qemu_guest_memory_disk_caches_bytes {GIB}
            qemu_guest_swap_in_bytes_total 5
            qemu_guest_major_faults_total 7
            qemu_guest_minor_faults_total 8
            """,
            absent=["qemu_guest_swap_out_bytes_total"],
            deadline=90.0,
        )
        assert page["qemu_guest_memory_last_update_timestamp_seconds"] == pytest.approx(time.time(), abs=90)
    asked = {(one["execute"], str(one["arguments"])) for one in recorder.messages if "arguments" in one}
    assert asked == {("qom-list", "{'path': '/machine/peripheral'}"), ("qom-get", str(STATS))}


async def test_oom_kills_in_the_guest_are_told_where_qemu_knows_them(boot, watch, short_path):
    qemu = await boot(machine(short_path))
    await qemu.execute("cont")
    version = qemu.greeting["version"]["qemu"]
    async with Guest.of(short_path) as guest:
        await guest.reports(total=4 * GIB, oom=3)
    exporter = await watch(qemu, poll="1s")
    page = await exporter.says(f"qemu_guest_memory_total_bytes {4 * GIB}", deadline=90.0)
    knows = (version["major"], version["minor"]) >= (9, 2)
    assert page.family("qemu_guest_oom_kills_total") == ({"qemu_guest_oom_kills_total": 3} if knows else {})
