"""A disk on a long chain of images, with an error each second -> the share of QEMU's time that `query-block` takes."""

import asyncio
import shutil
import time

from qmp_exporter.demo.machine import DataDisk, Fault, Machine
from qmp_exporter.demo.qemu import BINARY, Order, Qemu
from tests.bench.contest import POLL, Scrape, exporting
from tests.bench.scale import Scale
from tests.bench.table import Number, numbers


async def run(scale: Scale) -> str:
    if not shutil.which(BINARY):
        return "No QEMU is installed here, and a simulated one has no images.\n"
    async with Qemu(Machine(disk=DataDisk(faults=(Fault("write"),), werror="report"))) as qemu:
        for number in range(1, scale.chain):
            image = str(qemu.directory / f"{number}.qcow2")
            await qemu.execute(
                "blockdev-snapshot-sync", device="drive-virtio0", format="qcow2", **{"snapshot-file": image}
            )
        version = ".".join(str(qemu.greeting["version"]["qemu"][part]) for part in ("major", "minor", "micro"))
        rows = await _watched(qemu, scale.chain_seconds)
    return f"QEMU {version}, {scale.chain} images, an error each second for {scale.chain_seconds} s:\n\n{numbers(rows)}"


def _query_block(scrape: Scrape) -> tuple[float, float]:
    """-> the seconds that all answers together took, and how many they were"""
    of_it = 'command="query-block"'
    name = "qmp_exporter_command_duration_seconds"
    return scrape.total(f"{name}_sum", of_it), scrape.total(f"{name}_count", of_it)


async def _watched(qemu: Qemu, seconds: int) -> list[Number]:
    async with exporting({"web01": qemu.monitor}, POLL) as exporter:
        await exporter.all_up(1)
        took, asked = _query_block(await exporter.scrape())
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            async with asyncio.TaskGroup() as second:
                second.create_task(asyncio.sleep(1))
                second.create_task(qemu.order(Order.WRITE_BAD))
        lasted = time.monotonic() - began
        took_then, asked_then = _query_block(await exporter.scrape())
    each = took / asked
    return [
        Number("one `query-block`, as it connects", [each], "s"),
        Number("asked while the errors came", [asked_then - asked]),
        Number("of QEMU's time in `query-block`", [100 * (took_then - took) / lasted], "%", most=5),
    ]
