"""Hundreds of thousands of events -> exact counters, and memory where it was."""

import gc
import os
from pathlib import Path

from qmp_exporter.simulator import Monitor
from watching import Start

EVENTS = 500_000
STORM = 'qemu_block_io_errors_total{action="report",device="drive-virtio-disk0",operation="write"}'


def resident() -> int:
    """Bytes of memory that this process occupies."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def test_half_a_million_events_leave_the_memory_where_it_was(monitor: Monitor, watch: Start) -> None:
    """On the stock library, which keeps each event forever, they cost a gigabyte."""
    page = watch()
    await page.says("qemu_up")
    await monitor.storm(EVENTS // 10)  # fills buffers that stay
    await page.says(STORM, EVENTS // 10)
    before = resident()
    await monitor.storm(EVENTS)
    await page.says(STORM, EVENTS + EVENTS // 10)
    assert resident() - before < 4 * 1024 * 1024
