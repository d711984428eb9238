"""Where each disk is stored: its node, its file, and the storage that it shares with others."""

from collections.abc import Iterable, Iterator
from math import inf

from msgspec import Struct, field

from qmp_exporter.catalog import cpu
from qmp_exporter.catalog.disk import BLOCK_QUERIES, DEVICE, QUERY_BLOCK
from qmp_exporter.catalog.disk_names import device_name
from qmp_exporter.core.block_file import BlockFile, Mount, block_file, storage
from qmp_exporter.core.family import HOST, Group, Label, Labels, Sample, StateUpdate, gauge, host, query
from qmp_exporter.core.process import HOST_WANTS, ProcessInfo
from qmp_exporter.core.vm_facts import Slice, VmFacts

MOUNTS_WITHIN = 30.0  # seconds from the first reply on; they are read with the first poll of the process

NODE = Label("node", "The node name; QEMU makes one up where none was given.")
FORMAT = Label("format", "The driver of that node.", pattern=r"[a-z0-9_-]+")
FILE = Label("file", "The image as QEMU names it, without users, passwords and options; of a long one the end.")
STORAGE = Label(
    "storage",
    "What the disk shares with others: the source of the mount, lvm:GROUP, zfs:POOL, rbd:POOL, host and export, or the "
    "device itself; unknown where none of these is to be seen.",
)
READ_ONLY = Label("read_only", "Whether the disk cannot be written.", values=("true", "false"))
CACHE = Label(
    "cache",
    "The cache mode by its name in -drive, as it is now: the guest decides on the write cache.",
    values=("writeback", "none", "writethrough", "directsync", "unsafe"),
)


class Cache(Struct, frozen=True, rename="kebab"):
    """BlockdevCacheInfo, qapi/block-core.json."""

    writeback: bool
    direct: bool
    no_flush: bool

    @property
    def mode(self) -> str:
        """The table of `cache` in qemu(1)."""
        if self.no_flush:
            return "unsafe"
        if self.writeback:
            return "none" if self.direct else "writeback"
        return "directsync" if self.direct else "writethrough"


class Stored(Struct, frozen=True):
    """BlockDeviceInfo, qapi/block-core.json."""

    file: str = ""
    drv: str = ""
    ro: bool = False
    cache: Cache | None = None
    node_name: str = field(name="node-name", default="")


class StoredDisk(Struct, frozen=True):
    """BlockInfo, qapi/block-core.json."""

    device: str = ""
    qdev: str = ""
    inserted: Stored | None = None


class Place(Struct, frozen=True):
    """A disk and its file; `before` and `after`: the labels on both sides of `storage`."""

    before: Labels
    file: BlockFile
    after: Labels


class Places:
    """Where the disks are, as query-block said last, and the mount table that was read for them."""

    def __init__(self) -> None:
        self.of_disks: tuple[Place, ...] = ()
        self.mounts: tuple[Mount, ...] = ()
        self.first_at = inf  # when QEMU told of them first, in seconds since the epoch


PLACES = Slice(Places)


def places_of(disks: list[StoredDisk]) -> Iterator[Place]:
    for disk in disks:
        medium = disk.inserted
        if medium is not None and medium.cache is not None:
            name, file = device_name(disk.device, disk.qdev, medium.node_name), block_file(medium.file)
            after = ("true" if medium.ro else "false", medium.cache.mode)
            yield Place((name, medium.node_name, medium.drv, file.shown), file, after)


def update_places(disks: list[StoredDisk], facts: VmFacts) -> None:
    """The mount table is long and hardly changes: it is read when a disk has another file than before."""
    places = facts[PLACES]
    known = {one.file for one in places.of_disks}
    places.first_at = min(places.first_at, facts.at)
    places.of_disks = tuple(places_of(disks))
    facts[HOST_WANTS].mounts |= not known.issuperset(one.file for one in places.of_disks)


def update_mounts(process: ProcessInfo | None, facts: VmFacts) -> None:
    if process is not None and process.mounts is not None:
        facts[PLACES].mounts = process.mounts


def forget_places(facts: VmFacts) -> None:
    facts[PLACES].of_disks = ()


def info(_payload: object, facts: VmFacts) -> Iterable[Sample]:
    """A file is told when its mount is known, or is not to be seen: each change of a label is another series."""
    places = facts[PLACES]
    for one in places.of_disks:
        if one.file.shared or places.mounts or facts.at - places.first_at > MOUNTS_WITHIN:
            yield (*one.before, storage(one.file, places.mounts), *one.after), 1


FAMILIES = (
    gauge(
        "qemu_block_info",
        "1 for each disk with a medium, by query-block and the mount table of the QEMU process: where it is stored.",
        query(QUERY_BLOCK, info, list[StoredDisk]),
        host("mounts", info),
        labels=(DEVICE, NODE, FORMAT, FILE, STORAGE, READ_ONLY, CACHE),
    ),
)

GROUP = Group(
    "block_info",
    FAMILIES,
    queries=(*BLOCK_QUERIES, *cpu.QUERIES),
    updates=(
        *cpu.UPDATES,
        StateUpdate("query-block", list[StoredDisk], update_places, unsaid=forget_places),
        StateUpdate(HOST, None, update_mounts),
    ),
)
