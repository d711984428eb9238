"""Block devices and nodes, as queries tell of them -> one name for each disk, whichever of its names a message has."""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from qmp_exporter.core.effects import LabelChanged
from qmp_exporter.core.vm_facts import MAX_NAME, Lifetime, Slice

LABEL = "device"  # whose values the names are
UNKNOWN_DEVICE = "unknown"
MAX_STRANGERS = 64  # nodes waiting to be told which device they belong to; more come from a broken peer only
MAX_BELOW = 4096  # nodes below devices: hundreds of disks with long chains of snapshots


class Attached(NamedTuple):
    """A block device as query-block and query-blockstats name it; an absent name is empty."""

    device: str  # the drive id; empty with -blockdev
    qdev: str  # the qdev id, bare or as a QOM path
    node: str  # the root node attached to the device; empty where there is no medium


class Devices:
    """Gives one disk one name: the drive id, else the qdev id, else the node name.

    With -blockdev an event names only a node, and which device that is has to be remembered from a query.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.trays: tuple[str, ...] = ()
        self.has_quorum = False
        self._by_node: dict[str, str] = {}
        self._below: dict[str, str] = {}  # the same of nodes below those: the file of an image, its backing images
        self._above: dict[str, str] = {}  # and of nodes above: the filter that a job puts between a device and its node
        self._gone: frozenset[str] = frozenset()  # names that are no more
        self._renamed: dict[str, str] = {}  # nodes met before it was known which device they belong to
        self._has_news = False  # devices or trays are not the same as before
        self._strangers: set[str] = set()
        self._is_all = False  # nothing will tell of other nodes
        self._homeless: set[str] = set()  # strangers that no device had when all nodes were listed

    def changes(self) -> Iterable[LabelChanged]:
        """What has changed since this was asked last."""
        if not self._has_news:
            return ()
        changed = LabelChanged(LABEL, self._renamed, self._gone)
        self._renamed, self._gone, self._has_news = {}, frozenset(), False
        return (changed,)

    def learn(self, attached: Iterable[Attached]) -> None:
        """Take the whole truth about what is attached."""
        by_node: dict[str, str] = {}
        names: dict[str, None] = {}
        for one in attached:
            name = device_name(one.device, one.qdev, one.node)
            names[name] = None
            if one.node:
                node = one.node[:MAX_NAME]
                by_node[node] = name if by_node.get(node, name) == name else node
        names |= dict.fromkeys(by_node.values())  # a node of several devices has its own name: that is counted, too
        if tuple(names) != self.names:
            self._has_news = True
            self._homeless = set()
            self._above = {node: name for node, name in self._above.items() if name in names}
        self._gone = (self._gone | frozenset(self.names)) - names.keys()
        self.names, self._by_node = tuple(names), by_node
        self._recognize(by_node)

    def learn_started_with(self, attached: Iterable[Attached]) -> None:
        """Take what QEMU's command line says where no query will tell more: other nodes keep their own names."""
        self.learn(attached)
        self._is_all = True

    def learn_below(self, nodes: Iterable[tuple[str, str]]) -> None:
        """Take the whole truth about the nodes below devices.  One below several, as a shared base, is nobody's."""
        below: dict[str, str] = {}
        for node, name in islice(nodes, MAX_BELOW):
            key = node[:MAX_NAME]
            below[key] = name if below.get(key, name) == name else key
        self._below = below
        self._recognize(below)

    def learn_all(self, nodes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Take all nodes there are, each with those below it, the nearest first.

        A job puts a filter node between a device and its node.  Until QEMU 9.2 events name it, and no list of devices
        does: it belongs to whom the first known node below it belongs.
        """
        above: dict[str, str] = {}
        for node, below in islice(nodes, MAX_BELOW):
            owners = (self._by_node.get(one[:MAX_NAME]) or self._below.get(one[:MAX_NAME]) for one in below)
            owner = next(filter(None, owners), None)
            if owner:
                above[node[:MAX_NAME]] = owner
        self._above = above
        self._recognize(above)
        self._homeless = set(self._strangers)

    @property
    def has_strangers(self) -> bool:
        """Events named nodes of which it is not known yet whose they are."""
        return not (self._is_all or self._strangers <= self._homeless)

    def learn_trays(self, names: Iterable[str]) -> None:
        trays = tuple(names)
        self._has_news |= trays != self.trays
        self.trays = trays

    def learn_quorum(self, *, there: bool) -> None:
        self._has_news |= there != self.has_quorum
        self.has_quorum = there

    def name(self, device: str, qdev: str, node: str) -> str:
        """The name of the device that an event is about, from whichever of the three it carries."""
        if device or qdev:
            return device_name(device, qdev, node)
        node = node[:MAX_NAME]
        known = self._by_node.get(node) or self._below.get(node) or self._above.get(node)
        if known:
            return known
        if node and len(self._strangers) < MAX_STRANGERS:
            self._strangers.add(node)
        return node or UNKNOWN_DEVICE

    def _recognize(self, owners: dict[str, str]) -> None:
        """Strangers that turn out to belong to a device: what was counted for them is that device's."""
        known = self._strangers & owners.keys()
        self._renamed |= {node: owners[node] for node in known if owners[node] != node}
        self._has_news |= bool(self._renamed)
        self._strangers -= known


def device_name(device: str, qdev: str, node: str) -> str:
    return (device or bare(qdev) or node or UNKNOWN_DEVICE)[:MAX_NAME]


def bare(qdev: str) -> str:
    """/machine/peripheral/virtio-disk0/virtio-backend -> virtio-disk0; a bare id stays as it is.

    What else a path has is kept, for it tells two devices apart: /machine/peripheral/scsi0/scsi0.0/legacy[1] ->
    scsi0/scsi0.0/legacy[1], /machine/system.flash1 -> system.flash1.  Unlike the node, a path never changes.
    """
    if not qdev.startswith("/machine/"):
        return qdev
    name = qdev.removeprefix("/machine/").removesuffix("/virtio-backend")
    return name.removeprefix("peripheral/").removeprefix("peripheral-anon/")


DEVICES = Slice(Devices, Lifetime.VM)
