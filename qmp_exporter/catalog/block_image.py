"""What the image of each disk is like: its size, its backing files and snapshots, damage, and limits."""

from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from qmp_exporter.catalog.disk import BLOCK_QUERIES, DEVICE, QUERY_BLOCK, QUERY_BLOCKSTATS
from qmp_exporter.catalog.disk_names import device_name
from qmp_exporter.core.block_file import FILTERS, block_file, is_block_device
from qmp_exporter.core.family import Group, Label, Sample, StateUpdate, gauge, query
from qmp_exporter.core.vm_facts import Slice, VmFacts

HAS_SNAPSHOTS = "qcow2"  # the format that says so of an image without any by not naming them

OPERATION = Label("operation", "Which operations are limited.", values=("total", "read", "write"))


class Snapshot(Struct, frozen=True, rename="kebab"):
    """SnapshotInfo, qapi/block-core.json."""

    date_sec: int


class FormatData(Struct, frozen=True):
    """ImageInfoSpecificQCow2, qapi/block-core.json; `corrupt` since 2.2, and not of a compat 0.10."""

    corrupt: bool | None = None


class FormatSpecific(Struct, frozen=True):
    """ImageInfoSpecific, qapi/block-core.json."""

    data: FormatData = FormatData()


class Image(Struct, frozen=True, rename="kebab"):
    """ImageInfo, qapi/block-core.json."""

    virtual_size: int | None = None
    format: str = ""
    actual_size: int | None = None
    snapshots: list[Snapshot] = []
    format_specific: FormatSpecific = FormatSpecific()


class Limited(Struct, frozen=True):
    """BlockDeviceInfo, qapi/block-core.json, whose names have no hyphens: bytes and operations per second."""

    image: Image = Image()
    drv: str = ""
    file: str = ""
    bps: int = 0
    bps_rd: int = 0
    bps_wr: int = 0
    iops: int = 0
    iops_rd: int = 0
    iops_wr: int = 0
    node_name: str = field(name="node-name", default="")


class Disk(Struct, frozen=True):
    """BlockInfo, qapi/block-core.json."""

    device: str = ""
    qdev: str = ""
    inserted: Limited | None = None


class OffsetStats(Struct, frozen=True):
    """BlockDeviceStats, qapi/block-core.json."""

    wr_highest_offset: int = 0


class File(Struct, frozen=True):
    """What query-blockstats tells of the node below a format."""

    stats: OffsetStats = OffsetStats()


class Backing(Struct, frozen=True):
    """What query-blockstats tells of a node that another one is an overlay of, or filters."""

    backing: "Backing | None" = None


class Written(Struct, frozen=True, rename="kebab"):
    """BlockStats, qapi/block-core.json."""

    device: str = ""
    qdev: str = ""
    node_name: str = ""
    stats: OffsetStats = OffsetStats()
    parent: File | None = None
    backing: "Backing | None" = None

    @property
    def name(self) -> str:
        return device_name(self.device, self.qdev, self.node_name)

    @property
    def depth(self) -> int:
        """How many nodes are below this one.  Without recursion: a broken peer nests them as deep as it likes."""
        depth, node = 0, self.backing
        while node is not None:
            depth, node = depth + 1, node.backing
        return depth


class Filtered:
    """The disks whose uppermost node is a filter, such as one that throttles."""

    def __init__(self) -> None:
        self.names: set[str] = set()


FILTERED = Slice(Filtered)


def images(disks: list[Disk]) -> Iterator[tuple[str, Limited]]:
    """Each disk with a medium, by its name."""
    for disk in disks:
        if disk.inserted is not None:
            yield device_name(disk.device, disk.qdev, disk.inserted.node_name), disk.inserted


def size(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        if medium.image.virtual_size is not None:
            yield (name,), medium.image.virtual_size


def allocated(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        if medium.image.actual_size is not None and not is_block_device(block_file(medium.file)):
            yield (name,), medium.image.actual_size


def highest_offset(written: list[Written], _facts: VmFacts) -> Iterable[Sample]:
    for one in written:
        offset = (one.parent or one).stats.wr_highest_offset
        if offset:
            yield (one.name,), offset


def update_filtered(disks: list[Disk], facts: VmFacts) -> None:
    facts[FILTERED].names = {name for name, medium in images(disks) if medium.drv in FILTERS}


def backing_files(written: list[Written], facts: VmFacts) -> Iterable[Sample]:
    """query-block has it, too, but says 0 where it is asked for no more than the image itself."""
    for one in written:
        if one.node_name:
            # a filter is above what it filters
            yield (one.name,), max(0, one.depth - (one.name in facts[FILTERED].names))


def snapshots(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        if medium.image.snapshots or medium.image.format == HAS_SNAPSHOTS:
            yield (name,), len(medium.image.snapshots)


def oldest_snapshot(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        if medium.image.snapshots:
            yield (name,), min(snapshot.date_sec for snapshot in medium.image.snapshots)


def corrupt(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        latch = medium.image.format_specific.data.corrupt
        if latch is not None:
            yield (name,), int(latch)


def limits(name: str, *of_each: tuple[str, int]) -> Iterator[Sample]:
    for operation, limit in of_each:
        if limit:
            yield (name, operation), limit


def byte_limits(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        yield from limits(name, ("total", medium.bps), ("read", medium.bps_rd), ("write", medium.bps_wr))


def operation_limits(disks: list[Disk], _facts: VmFacts) -> Iterable[Sample]:
    for name, medium in images(disks):
        yield from limits(name, ("total", medium.iops), ("read", medium.iops_rd), ("write", medium.iops_wr))


FAMILIES = (
    gauge(
        "qemu_block_size_bytes",
        "Size of the disk as the guest sees it, by query-block.",
        query(QUERY_BLOCK, size, list[Disk]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_allocated_bytes",
        "Space that the image takes up on its file system, by query-block, without its backing files; absent for a "
        "block device of the host.",
        query(QUERY_BLOCK, allocated, list[Disk]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_write_highest_offset_bytes",
        "End of the highest write to the file or device below the format since QEMU opened it, by query-blockstats: "
        "how full a thin volume is at least; absent before the first write.",
        query(QUERY_BLOCKSTATS, highest_offset, list[Written]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_backing_files",
        "Length of the chain of backing files below the image, by query-blockstats: snapshots that were not committed.",
        query(QUERY_BLOCKSTATS, backing_files, list[Written]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_snapshots",
        "Internal snapshots of the image, by query-block; absent where the format cannot have any.",
        query(QUERY_BLOCK, snapshots, list[Disk]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_oldest_snapshot_timestamp_seconds",
        "When the oldest internal snapshot of the image was taken, by query-block; absent without one.",
        query(QUERY_BLOCK, oldest_snapshot, list[Disk]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_image_corrupt",
        "Whether the qcow2 image is marked as corrupt, by query-block; it stays so until qemu-img check repairs it.",
        query(QUERY_BLOCK, corrupt, list[Disk]),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_throttle_limit_bytes_per_second",
        "Limit of the throughput of the disk, by query-block, where one is set; that of a throttle filter node is not "
        "told.",
        query(QUERY_BLOCK, byte_limits, list[Disk]),
        labels=(DEVICE, OPERATION),
    ),
    gauge(
        "qemu_block_throttle_limit_operations_per_second",
        "Limit of the operations of the disk, by query-block, where one is set; that of a throttle filter node is not "
        "told.",
        query(QUERY_BLOCK, operation_limits, list[Disk]),
        labels=(DEVICE, OPERATION),
    ),
)

GROUP = Group(
    "block_image",
    FAMILIES,
    queries=(*BLOCK_QUERIES, QUERY_BLOCKSTATS),
    updates=(StateUpdate("query-block", list[Disk], update_filtered),),
    more="2 for each disk with internal snapshots, 1 for each limit of a disk",
)
