"""Disks and drives as two queries tell of them, and the one name of each: what all rows about disks share."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from msgspec import Struct, field

from qmp_exporter.catalog.disk_names import DEVICES, LABEL, Attached, device_name
from qmp_exporter.core.command_line import Disk
from qmp_exporter.core.effects import LabelChanged
from qmp_exporter.core.family import Label, Query, StateUpdate
from qmp_exporter.core.vm_facts import VmFacts


class Inserted(Struct, frozen=True, rename="kebab"):
    """The medium of a BlockInfo."""

    node_name: str = ""
    drv: str = ""


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


class LatencyHistogram(Struct, frozen=True):
    """BlockLatencyHistogramInfo, qapi/block-core.json (since 4.0): nanoseconds; one bin more than boundaries."""

    boundaries: list[int]
    bins: list[int]


class Node(Struct, frozen=True, rename="kebab"):
    """What query-blockstats tells of a node: its file is called its `parent`, what it overlays its `backing`."""

    node_name: str = ""
    parent: "Node | None" = None
    backing: "Node | None" = None

    def below(self) -> Iterator[str]:
        """The names of all nodes below this one.  Without recursion: a broken peer nests them as deep as it likes."""
        nodes = [self.parent, self.backing]
        while nodes:
            node = nodes.pop()
            if node is not None:
                yield node.node_name
                nodes += (node.parent, node.backing)


class DeviceStats(Struct, frozen=True):
    """BlockDeviceStats, qapi/block-core.json; times in nanoseconds.  A member that a QEMU lacks stays None."""

    rd_bytes: int | None = None
    wr_bytes: int | None = None
    rd_operations: int | None = None
    wr_operations: int | None = None
    flush_operations: int | None = None
    rd_total_time_ns: int | None = None
    wr_total_time_ns: int | None = None
    flush_total_time_ns: int | None = None
    failed_rd_operations: int | None = None
    failed_wr_operations: int | None = None
    failed_flush_operations: int | None = None
    failed_unmap_operations: int | None = None
    unmap_operations: int | None = None
    unmap_bytes: int | None = None
    unmap_total_time_ns: int | None = None
    rd_merged: int | None = None
    wr_merged: int | None = None
    invalid_rd_operations: int | None = None
    invalid_wr_operations: int | None = None
    invalid_flush_operations: int | None = None
    invalid_unmap_operations: int | None = None
    rd_latency_histogram: LatencyHistogram | None = None
    wr_latency_histogram: LatencyHistogram | None = None
    flush_latency_histogram: LatencyHistogram | None = None


class BlockStats(Node, frozen=True, rename="kebab", kw_only=True):
    """An element of query-blockstats, qapi/block-core.json: `qdev` since 3.0."""

    stats: DeviceStats
    device: str = ""
    qdev: str = ""

    @property
    def name(self) -> str:
        return device_name(self.device, self.qdev, self.node_name)


IMAGE = {"virtual-size": 1, "actual-size": 1, "format": "qcow2", "format-specific": {"data": {"corrupt": False}}}
MEDIUM = {
    "drv": "qcow2",
    "file": "/disk0.qcow2",
    "ro": False,
    "cache": {"writeback": True, "direct": False, "no-flush": False},
    "image": IMAGE,
}
FLAT_SINCE = (11, 1)
BLOCK = {
    "device": "disk0",
    "qdev": "/machine/peripheral/disk0",
    "removable": True,
    "io-status": "ok",
    "tray_open": True,
    "inserted": {
        **MEDIUM,
        "node-name": "node0",
        "bps": 1,
        "bps_rd": 1,
        "bps_wr": 1,
        "iops": 1,
        "iops_rd": 1,
        "iops_wr": 1,
        "image": IMAGE | {"snapshots": [{"date-sec": 1}]},
    },
}
BLOCK_AT_REST = {"device": "disk0", "io-status": "ok", "inserted": MEDIUM}
HISTOGRAM = {"boundaries": [1000], "bins": [1, 1]}
NUMBERS = {name: 1 for name in DeviceStats.__struct_fields__ if not name.endswith("histogram")}
STATS = {
    "device": "disk0",
    "qdev": "/machine/peripheral/disk0",
    "node-name": "node0",
    "parent": {"node-name": "file0", "stats": {"wr_highest_offset": 1}},
    "backing": {"node-name": "base0", "parent": {"node-name": "base-file0"}},
    "stats": NUMBERS
    | {"wr_highest_offset": 1}
    | {f"{operation}_latency_histogram": HISTOGRAM for operation in ("rd", "wr", "flush")},
}
STATS_AT_REST = {"device": "disk0", "stats": NUMBERS, "parent": {"stats": {"wr_highest_offset": 1}}}

# query-block reads the size of every image, in the main loop: it can hang with the storage.  A second between two, and
# otherwise the slow cadence.  RESUME, because `cont` clears the latched io-status of a -drive.  With `flat` it leaves
# out the backing files, which nobody here wants of it: 1 ms instead of 4 ms with 30, 3 ms instead of 32 ms with 100.
QUERY_BLOCK = Query(
    "query-block",
    list[BlockInfo],
    example=[BLOCK],
    at_rest=[BLOCK_AT_REST],
    every="slow",
    after=("BLOCK_IO_ERROR", "DEVICE_TRAY_MOVED", "RESET", "RESUME", "DEVICE_DELETED"),
    spacing=1.0,
    reads_images=True,
    before=FLAT_SINCE,
)
QUERY_BLOCK_FLAT = replace(QUERY_BLOCK, before=(), since=FLAT_SINCE, arguments=b'{"flat": true}')
# query-blockstats reads counters in memory only.
QUERY_BLOCKSTATS = Query(
    "query-blockstats",
    list[BlockStats],
    example=[STATS],
    at_rest=[STATS_AT_REST],
    every="poll",
    after=("DEVICE_DELETED",),
    spacing=0.2,
)
# The same of every node, be it attached to a device or not: hundreds, where chains of images are long.
QUERY_NODES = Query(
    "query-blockstats",
    list[Node],
    example=[{"node-name": "#block1", "parent": {"node-name": "node0"}, "backing": {"node-name": "base0"}}],
    at_rest=[],
    every="event",
    after=("BLOCK_IO_ERROR", "BLOCK_IMAGE_CORRUPTED", "BLOCK_WRITE_THRESHOLD"),
    needed_when=lambda facts: facts[DEVICES].has_strangers,
    spacing=0.2,
    arguments=b'{"query-nodes": true}',
    of="nodes",
)
BLOCK_QUERIES = (QUERY_BLOCK, QUERY_BLOCK_FLAT)  # one of them is asked
QUERIES = (QUERY_NODES, *BLOCK_QUERIES, QUERY_BLOCKSTATS)

DEVICE_MEANS = "The drive id, else the qdev id, else the node name: the same for a disk in every metric."
DEVICE = Label(LABEL, DEVICE_MEANS, zero=lambda facts: facts[DEVICES].names)


def update_block(infos: list[BlockInfo], facts: VmFacts) -> Iterable[LabelChanged]:
    devices = facts[DEVICES]
    devices.learn(Attached(i.device, i.qdev, i.inserted.node_name if i.inserted else "") for i in infos)
    devices.learn_trays(info.name for info in infos if info.tray_open is not None)
    devices.learn_quorum(there=any(info.inserted is not None and info.inserted.drv == "quorum" for info in infos))
    return devices.changes()


def update_blockstats(stats: list[BlockStats], facts: VmFacts) -> Iterable[LabelChanged]:
    """A disk may be plugged in without an event: the poll sees it first."""
    devices = facts[DEVICES]
    devices.learn(Attached(one.device, one.qdev, one.node_name) for one in stats)
    devices.learn_below((node, one.name) for one in stats for node in one.below())
    return devices.changes()


def update_nodes(nodes: list[Node], facts: VmFacts) -> Iterable[LabelChanged]:
    devices = facts[DEVICES]
    devices.learn_all((node.node_name, node.below()) for node in nodes)
    return devices.changes()


def update_disks(disks: Collection[Disk], facts: VmFacts) -> Iterable[LabelChanged]:
    """From QEMU's command line: there is no query that would tell of a disk that is plugged in."""
    devices = facts[DEVICES]
    devices.learn_started_with(Attached(*disk) for disk in disks)
    return devices.changes()


UPDATES = (
    StateUpdate("disks", None, update_disks),
    StateUpdate(QUERY_NODES.reply, list[Node], update_nodes),
    StateUpdate("query-block", list[BlockInfo], update_block),
    StateUpdate("query-blockstats", list[BlockStats], update_blockstats),
)
