"""Disks and drives: I/O errors, their latched status, damaged images, trays and media."""

from collections.abc import Iterable

from msgspec import Struct

from qmp_exporter.catalog import disk
from qmp_exporter.catalog.disk import DEVICE, DEVICE_MEANS, QUERY_BLOCK, QUERY_BLOCKSTATS, BlockInfo, BlockStats
from qmp_exporter.catalog.disk_names import DEVICES
from qmp_exporter.core.family import Group, Label, Sample, Source, bare_event, counter, event, gauge, query
from qmp_exporter.core.read import by, once
from qmp_exporter.core.vm_facts import VmFacts


class BlockIoError(Struct, frozen=True, rename="kebab"):
    """BLOCK_IO_ERROR, qapi/block-core.json: `node-name` since 2.8, `qom-path` since 9.2, `device` "" with -blockdev."""

    operation: str
    action: str
    device: str = ""
    qom_path: str = ""
    node_name: str = ""
    nospace: bool = False


class ImageCorrupted(Struct, frozen=True, rename="kebab"):
    """BLOCK_IMAGE_CORRUPTED, qapi/block-core.json (since 1.7): `node-name` since 2.4."""

    fatal: bool
    device: str = ""
    node_name: str = ""


class WriteThreshold(Struct, frozen=True, rename="kebab"):
    """BLOCK_WRITE_THRESHOLD, qapi/block-core.json, since 2.3."""

    node_name: str


class QuorumReport(Struct, frozen=True):
    """QUORUM_REPORT_BAD, qapi/block-core.json: `type` since 2.6."""

    type: str = "unknown"


class TrayMoved(Struct, frozen=True, rename="kebab"):
    """DEVICE_TRAY_MOVED, qapi/block.json: `id` since 2.8."""

    tray_open: bool
    device: str = ""
    id: str = ""


TRAY_DEVICE = Label("device", DEVICE_MEANS, zero=lambda facts: facts[DEVICES].trays)
OPERATION = Label("operation", "IoOperationType; a failed flush or discard comes as write.", values=("read", "write"))
ACTION = Label("action", "BlockErrorAction: what QEMU did, by rerror and werror.", values=("ignore", "report", "stop"))
FAILED_OPERATION = Label("operation", "Which operation failed.", values=("read", "write", "flush", "unmap"))
STATUS = Label("status", "BlockDeviceIoStatus.", values=("ok", "failed", "nospace"))
FATAL = Label("fatal", "Whether QEMU closed the image for good.", values=("true", "false"))
QUORUM_TYPE = Label(
    "type",
    "QuorumOpType; unknown before QEMU 2.6.",
    values=("read", "write", "flush", "unknown"),
    zero=("read", "write", "flush"),
)
TO = Label("to", "Where the tray moved to.", values=("open", "closed"))


def io_error(error: BlockIoError, facts: VmFacts) -> tuple[Sample, ...]:
    device = facts[DEVICES].name(error.device, error.qom_path, error.node_name)
    return (((device, error.operation, error.action), 1),)


def no_space(error: BlockIoError, facts: VmFacts) -> tuple[Sample, ...]:
    if not error.nospace:
        return ()
    return (((facts[DEVICES].name(error.device, error.qom_path, error.node_name),), 1),)


def corrupted(image: ImageCorrupted, facts: VmFacts) -> Iterable[Sample]:
    device = facts[DEVICES].name(image.device, "", image.node_name)
    yield (device, "true" if image.fatal else "false"), 1


def exceeded(threshold: WriteThreshold, facts: VmFacts) -> Iterable[Sample]:
    yield (facts[DEVICES].name("", "", threshold.node_name),), 1


def has_quorum(facts: VmFacts) -> bool:
    return facts[DEVICES].has_quorum


def io_status(infos: list[BlockInfo], _facts: VmFacts) -> Iterable[Sample]:
    for info in infos:
        if info.io_status:
            yield (info.name, info.io_status), 1


def tray_moved(moved: TrayMoved, facts: VmFacts) -> Iterable[Sample]:
    yield (facts[DEVICES].name(moved.device, moved.id, ""),), int(moved.tray_open)


def tray_move(moved: TrayMoved, facts: VmFacts) -> Iterable[Sample]:
    yield (facts[DEVICES].name(moved.device, moved.id, ""), "open" if moved.tray_open else "closed"), 1


def tray_open(infos: list[BlockInfo], _facts: VmFacts) -> Iterable[Sample]:
    for info in infos:
        if info.tray_open is not None:
            yield (info.name,), int(info.tray_open)


def medium(infos: list[BlockInfo], _facts: VmFacts) -> Iterable[Sample]:
    for info in infos:
        if info.removable:
            yield (info.name,), int(info.inserted is not None)


def medium_in_tray(stats: list[BlockStats], facts: VmFacts) -> Iterable[Sample]:
    """blockdev-remove-medium sends no event; the poll sees it first, since a drive without a medium has no node."""
    for one in stats:
        if one.name in facts[DEVICES].trays:
            yield (one.name,), int(bool(one.node_name))


def failed(stats: list[BlockStats], _facts: VmFacts) -> Iterable[Sample]:
    for one in stats:
        by_operation = {
            "read": one.stats.failed_rd_operations,
            "write": one.stats.failed_wr_operations,
            "flush": one.stats.failed_flush_operations,
            "unmap": one.stats.failed_unmap_operations,
        }
        for operation, number in by_operation.items():
            if number is not None:
                yield (one.name, operation), number


FAMILIES = (
    counter(
        "qemu_block_io_errors_total",
        "I/O errors of a disk as the guest met them, by BLOCK_IO_ERROR; a lower bound from QEMU 9.2 on, which sends "
        "one a second and device at most.",
        event("BLOCK_IO_ERROR", BlockIoError, io_error),
        labels=(DEVICE, OPERATION, ACTION),
    ),
    counter(
        "qemu_block_io_nospace_errors_total",
        "I/O errors for want of space on the host, by BLOCK_IO_ERROR with nospace.",
        event("BLOCK_IO_ERROR", BlockIoError, no_space),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_io_status",
        "The latched I/O status by query-block: 1 for the one it is, 0 for the others; with -blockdev it stays failed "
        "after a cont that succeeded, and it is absent where both policies are report or ignore.",
        query(QUERY_BLOCK, io_status),
        labels=(DEVICE, STATUS),
        onehot=True,
    ),
    counter(
        "qemu_block_failed_operations_total",
        "Operations that failed and were reported to the guest, by query-blockstats; those that stopped the VM are "
        "retried and not counted.",
        query(QUERY_BLOCKSTATS, failed),
        labels=(DEVICE, FAILED_OPERATION),
    ),
    counter(
        "qemu_block_image_corruptions_total",
        "Images found to be damaged, by BLOCK_IMAGE_CORRUPTED, which QEMU sends once for each image while it is open.",
        event("BLOCK_IMAGE_CORRUPTED", ImageCorrupted, corrupted),
        labels=(DEVICE, FATAL),
    ),
    counter(
        "qemu_block_write_threshold_exceeded_total",
        "Writes beyond the threshold that the management set to learn that an image needs room, by "
        "BLOCK_WRITE_THRESHOLD.",
        event("BLOCK_WRITE_THRESHOLD", WriteThreshold, exceeded),
        labels=(DEVICE,),
    ),
    gauge(
        "qemu_block_tray_open",
        "1 while the tray is open, by DEVICE_TRAY_MOVED and query-block.",
        event("DEVICE_TRAY_MOVED", TrayMoved, tray_moved),
        query(QUERY_BLOCK, tray_open),
        labels=(TRAY_DEVICE,),
    ),
    counter(
        "qemu_block_tray_moves_total",
        "Times a tray moved, by DEVICE_TRAY_MOVED; a reset closes trays without one.",
        event("DEVICE_TRAY_MOVED", TrayMoved, tray_move),
        labels=(TRAY_DEVICE, TO),
    ),
    gauge(
        "qemu_block_medium_inserted",
        "1 while a removable drive has a medium, by query-block, and by query-blockstats for those with a tray.",
        query(QUERY_BLOCK, medium),
        Source(QUERY_BLOCKSTATS.reply, QUERY_BLOCKSTATS.returns, medium_in_tray, replaces=False),
        labels=(DEVICE,),
    ),
    counter(
        "qemu_quorum_failures_total",
        "Times the images of a quorum disk did not agree, by QUORUM_FAILURE, of which QEMU sends one a second at most.",
        bare_event("QUORUM_FAILURE", once),
        only_where=has_quorum,
    ),
    counter(
        "qemu_quorum_bad_reports_total",
        "Times an image of a quorum disk failed or was outvoted, by QUORUM_REPORT_BAD, of which QEMU sends one a "
        "second and node at most.",
        event("QUORUM_REPORT_BAD", QuorumReport, by("type")),
        labels=(QUORUM_TYPE,),
        only_where=has_quorum,
    ),
)

GROUP = Group(
    "block",
    FAMILIES,
    queries=disk.QUERIES,
    updates=disk.UPDATES,
    more="4 for each CD-ROM drive; 4 where a disk is a quorum",
    events={
        "BLOCK_IO_ERROR": {
            "operation": "read",
            "action": "stop",
            "device": "disk0",
            "qom-path": "/machine/peripheral/disk0",
            "node-name": "node0",
            "nospace": True,
        },
        "DEVICE_TRAY_MOVED": {"tray-open": True, "device": "cd", "id": "cd0"},
        "BLOCK_IMAGE_CORRUPTED": {"device": "disk0", "node-name": "node0", "fatal": True},
        "BLOCK_WRITE_THRESHOLD": {"node-name": "node0"},
        "QUORUM_REPORT_BAD": {"type": "read"},
    },
)
