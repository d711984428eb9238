"""Disks and drives: I/O errors, their latched status, trays and media, traffic."""

from collections.abc import Iterable

from msgspec import Struct, field

from qmp_exporter.catalog.qapi import Count
from qmp_exporter.core.family import Family, Label, Query, Remember, Sample, counter, event, gauge, query
from qmp_exporter.core.memory import Attached, Memory, device_name


class BlockIoError(Struct, frozen=True, rename="kebab"):
    """BLOCK_IO_ERROR, qapi/block-core.json: `node-name` since 2.8, `qom-path` since 9.2, `device` "" with -blockdev."""

    operation: str
    action: str
    device: str = ""
    qom_path: str = ""
    node_name: str = ""
    nospace: bool = False


class TrayMoved(Struct, frozen=True, rename="kebab"):
    """DEVICE_TRAY_MOVED, qapi/block.json: `id` since 2.8."""

    tray_open: bool
    device: str = ""
    id: str = ""


class Inserted(Struct, frozen=True, rename="kebab"):
    """The medium of a BlockInfo."""

    node_name: str = ""


class BlockInfo(Struct, frozen=True, rename="kebab"):
    """An element of query-block, qapi/block-core.json."""

    device: str = ""
    qdev: str = ""
    removable: bool = False
    io_status: str = ""
    tray_open: bool | None = field(name="tray_open", default=None)
    inserted: Inserted | None = None

    @property
    def name(self) -> str:
        return device_name(self.device, self.qdev, self.inserted.node_name if self.inserted else "")


class DeviceStats(Struct, frozen=True):
    """BlockDeviceStats, qapi/block-core.json; times in nanoseconds.  A member that a QEMU lacks stays None."""

    rd_bytes: Count | None = None
    wr_bytes: Count | None = None
    rd_operations: Count | None = None
    wr_operations: Count | None = None
    flush_operations: Count | None = None
    rd_total_time_ns: Count | None = None
    wr_total_time_ns: Count | None = None
    flush_total_time_ns: Count | None = None
    failed_rd_operations: Count | None = None
    failed_wr_operations: Count | None = None
    failed_flush_operations: Count | None = None
    failed_unmap_operations: Count | None = None


class BlockStats(Struct, frozen=True, rename="kebab"):
    """An element of query-blockstats, qapi/block-core.json: `qdev` since 3.0."""

    stats: DeviceStats
    device: str = ""
    qdev: str = ""
    node_name: str = ""

    @property
    def name(self) -> str:
        return device_name(self.device, self.qdev, self.node_name)


# query-block reads the size of every image, in the main loop: it can hang with the storage.  A second between two, and
# otherwise the slow cadence.  RESUME, because `cont` clears the latched io-status of a -drive.
QUERY_BLOCK = Query(
    "query-block",
    list[BlockInfo],
    every="slow",
    after=("BLOCK_IO_ERROR", "DEVICE_TRAY_MOVED", "RESET", "RESUME", "DEVICE_DELETED"),
    spacing=1.0,
)
# query-blockstats reads counters in memory only.
QUERY_BLOCKSTATS = Query("query-blockstats", list[BlockStats], every="poll")
QUERIES = (QUERY_BLOCK, QUERY_BLOCKSTATS)

NANOSECONDS = 1e9  # make a second

_DEVICE = "The drive id, else the qdev id, else the node name: the same for a disk in every metric."
DEVICE = Label("device", _DEVICE, zero=lambda memory: memory.devices.names)
TRAY_DEVICE = Label("device", _DEVICE, zero=lambda memory: memory.devices.trays)
OPERATION = Label("operation", "IoOperationType; a failed flush or discard comes as write.", values=("read", "write"))
ACTION = Label("action", "BlockErrorAction: what QEMU did, by rerror and werror.", values=("ignore", "report", "stop"))
FAILED_OPERATION = Label("operation", "Which operation failed.", values=("read", "write", "flush", "unmap"))
STATUS = Label("status", "BlockDeviceIoStatus.", values=("ok", "failed", "nospace"))
TO = Label("to", "Where the tray moved to.", values=("open", "closed"))


def note_block(infos: list[BlockInfo], memory: Memory) -> None:
    memory.devices.learn(Attached(i.device, i.qdev, i.inserted.node_name if i.inserted else "") for i in infos)
    memory.devices.learn_trays(info.name for info in infos if info.tray_open is not None)


def note_blockstats(stats: list[BlockStats], memory: Memory) -> None:
    """A disk may be plugged in without an event: the poll sees it first."""
    memory.devices.learn(Attached(one.device, one.qdev, one.node_name) for one in stats)


def io_error(error: BlockIoError, memory: Memory) -> tuple[Sample, ...]:
    device = memory.devices.name(error.device, error.qom_path, error.node_name)
    return (((device, error.operation, error.action), 1),)


def no_space(error: BlockIoError, memory: Memory) -> tuple[Sample, ...]:
    if not error.nospace:
        return ()
    return (((memory.devices.name(error.device, error.qom_path, error.node_name),), 1),)


def io_status(infos: list[BlockInfo], _memory: Memory) -> Iterable[Sample]:
    for info in infos:
        if info.io_status:
            yield (info.name, info.io_status), 1


def tray_moved(moved: TrayMoved, memory: Memory) -> Iterable[Sample]:
    yield (memory.devices.name(moved.device, moved.id, ""),), int(moved.tray_open)


def tray_move(moved: TrayMoved, memory: Memory) -> Iterable[Sample]:
    yield (memory.devices.name(moved.device, moved.id, ""), "open" if moved.tray_open else "closed"), 1


def tray_open(infos: list[BlockInfo], _memory: Memory) -> Iterable[Sample]:
    for info in infos:
        if info.tray_open is not None:
            yield (info.name,), int(info.tray_open)


def medium(infos: list[BlockInfo], _memory: Memory) -> Iterable[Sample]:
    for info in infos:
        if info.removable:
            yield (info.name,), int(info.inserted is not None)


def failed(stats: list[BlockStats], _memory: Memory) -> Iterable[Sample]:
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


def traffic(name: str, help: str, member: str, unit: float = 1) -> Family:  # noqa: A002  the exposition format's own word
    """A row that copies a member of DeviceStats, of which `unit` make one of the row's."""

    def read(stats: list[BlockStats], _memory: Memory) -> Iterable[Sample]:
        for one in stats:
            number = getattr(one.stats, member)
            if number is not None:
                yield (one.name,), number if unit == 1 else number / unit

    return counter(name, help, query(QUERY_BLOCKSTATS, read), labels=(DEVICE,))


REMEMBER = (
    Remember("query-block", list[BlockInfo], note_block),
    Remember("query-blockstats", list[BlockStats], note_blockstats),
)

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
        "1 while a removable drive has a medium, by query-block.",
        query(QUERY_BLOCK, medium),
        labels=(DEVICE,),
    ),
    traffic("qemu_block_read_bytes_total", "Bytes the guest read, by query-blockstats.", "rd_bytes"),
    traffic("qemu_block_written_bytes_total", "Bytes the guest wrote, by query-blockstats.", "wr_bytes"),
    traffic("qemu_block_reads_completed_total", "Reads completed, by query-blockstats.", "rd_operations"),
    traffic("qemu_block_writes_completed_total", "Writes completed, by query-blockstats.", "wr_operations"),
    traffic("qemu_block_flushes_completed_total", "Flushes completed, by query-blockstats.", "flush_operations"),
    traffic(
        "qemu_block_read_time_seconds_total",
        "Time spent on reads, summed over all of them, by query-blockstats.",
        "rd_total_time_ns",
        NANOSECONDS,
    ),
    traffic(
        "qemu_block_write_time_seconds_total",
        "Time spent on writes, summed over all of them, by query-blockstats.",
        "wr_total_time_ns",
        NANOSECONDS,
    ),
    traffic(
        "qemu_block_flush_time_seconds_total",
        "Time spent on flushes, summed over all of them, by query-blockstats.",
        "flush_total_time_ns",
        NANOSECONDS,
    ),
)
