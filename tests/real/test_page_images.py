"""The images of a real QEMU's disks -> their sizes, chains, snapshots, damage, limits, and where they are stored."""

import json
import subprocess
import time

import pytest

from qmp_exporter.demo.machine import MIB, DataDisk, Machine, Style
from qmp_exporter.demo.qemu import Order

pytestmark = pytest.mark.real

DISK = "drive-virtio1"
CORRUPT_BIT = 79, 2  # of a qcow2 header: the last byte of incompatible_features, docs/interop/qcow2.txt


async def asked_again(qemu) -> None:
    """query-block follows RESUME, and not sooner than a second after the last."""
    await qemu.execute("stop")
    await qemu.execute("cont")


def source_of(path) -> str:
    """What the file system of a path is on, as another program sees it."""
    told = subprocess.run(
        ["findmnt", "-no", "SOURCE", "-T", path], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return told.strip().split("[")[0]


async def test_an_image_that_is_overlaid_and_saved_is_told_as_it_is(boot, watch):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    await exporter.says(
        f"""
        qemu_block_size_bytes{{device="{DISK}"}} {16 * MIB}
        qemu_block_allocated_bytes{{device="{DISK}"}} {16 * MIB}
        qemu_block_backing_files{{device="{DISK}"}} 0
        """,
        absent=["qemu_block_snapshots", "qemu_block_image_corrupt", "qemu_block_throttle_limit_bytes_per_second"],
    )
    for overlay in ("1", "2"):
        file = str(qemu.directory / f"{overlay}.qcow2")
        await qemu.execute("blockdev-snapshot-sync", device=DISK, format="qcow2", **{"snapshot-file": file})
    began = time.time()
    await qemu.execute("blockdev-snapshot-internal-sync", device=DISK, name="monday")
    limits = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
    await qemu.execute("block_set_io_throttle", device=DISK, **limits | {"bps": 10**9, "iops_wr": 5000})
    await asked_again(qemu)
    page = await exporter.says(f"""
        qemu_block_size_bytes{{device="{DISK}"}} {16 * MIB}
        qemu_block_backing_files{{device="{DISK}"}} 2
        qemu_block_snapshots{{device="{DISK}"}} 1
        qemu_block_image_corrupt{{device="{DISK}"}} 0
        qemu_block_throttle_limit_bytes_per_second{{device="{DISK}",operation="total"}} 1e9
        qemu_block_throttle_limit_operations_per_second{{device="{DISK}",operation="write"}} 5000
    """)
    assert len(page.family("qemu_block_throttle_limit_operations_per_second")) == 1
    taken = page[f'qemu_block_oldest_snapshot_timestamp_seconds{{device="{DISK}"}}']
    assert taken == pytest.approx(began, abs=2)
    assert page[f'qemu_block_allocated_bytes{{device="{DISK}"}}'] < MIB


async def test_how_far_a_disk_was_written_is_told_once_it_was(boot, watch):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    await exporter.says(
        'qemu_block_backing_files{device="drive-virtio1"} 0', absent=["qemu_block_write_highest_offset_bytes"]
    )
    await qemu.order(Order.WRITE_GOOD, 4)
    name = "qemu_block_write_highest_offset_bytes"
    page = await exporter.shows(lambda page: [] if page.family(name) else ["nothing written yet"])
    assert 0 < page.family(name)[f'{name}{{device="{DISK}"}}'] <= 16 * MIB


async def test_a_corrupt_image_is_told_by_an_exporter_that_was_not_there_when_it_broke(boot, watch):
    maker = await boot(Machine(disk=DataDisk()))
    image = maker.directory / "a.qcow2"
    await maker.execute("blockdev-snapshot-sync", device=DISK, format="qcow2", **{"snapshot-file": str(image)})
    content = bytearray(image.read_bytes())
    content[CORRUPT_BIT[0]] |= CORRUPT_BIT[1]
    broken = maker.directory / "broken.qcow2"
    broken.write_bytes(content)
    drive = ("-drive", f"file={broken},if=none,id=bad,readonly=on", "-device", "virtio-blk-pci,drive=bad")
    exporter = await watch(await boot(Machine(extra=drive)))
    await exporter.says('qemu_block_image_corrupt{device="bad"} 1\nqemu_block_backing_files{device="bad"} 1')


@pytest.mark.parametrize("style", Style, ids=lambda style: style.name.lower())
async def test_each_disk_says_where_it_is_stored(boot, watch, style):
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    page = await exporter.shows(lambda page: [] if len(page.family("qemu_block_info")) == 2 else ["not both disks yet"])
    assert set(page.values("file")["qemu_block_info"]) == {str(qemu.files.boot), str(qemu.files.data)}
    assert page.values("storage")["qemu_block_info"] == {source_of(qemu.files.data)}
    assert page.values("format")["qemu_block_info"] == {"raw"}
    assert page.values("read_only")["qemu_block_info"] == {"false"}


async def test_a_throttle_filter_is_neither_a_backing_file_nor_the_place(boot, watch):
    """libvirt makes such from its version 11.2 on."""
    maker = await boot(Machine(disk=DataDisk()))
    node = {"driver": "raw", "file": {"driver": "file", "filename": str(maker.files.data), "locking": "off"}}
    throttled = json.dumps(
        {"driver": "throttle", "throttle-group": "tg0", "node-name": "t0", "read-only": True, "file": node}
    )
    extra = ("-object", "throttle-group,id=tg0,x-iops-total=100", "-blockdev", throttled)
    qemu = await boot(Machine(extra=(*extra, "-device", "virtio-blk-pci,drive=t0,id=disk9")))
    exporter = await watch(qemu, poll="1s")
    page = await exporter.says('qemu_block_backing_files{device="disk9"} 0')
    page = await exporter.shows(lambda page: [] if len(page.family("qemu_block_info")) == 2 else ["not both disks yet"])
    assert str(maker.files.data) in page.values("file")["qemu_block_info"]
