"""What rows must remember of a VM between messages: which node belongs to which device, who is logged in to VNC ..."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

UNKNOWN_DEVICE = "unknown"
MAX_STRANGERS = 64  # nodes waiting to be told which device they belong to; more come from a broken peer only
MAX_BELOW = 4096  # nodes below devices: hundreds of disks with long chains of snapshots
MAX_CLIENTS = 1024  # of VNC, likewise; what is kept of a VM must not be its to fill
MAX_NAME = 128  # characters of a name that is kept; no label is longer, and QEMU's own names have 31


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
        self.gone: frozenset[str] = frozenset()  # names that are no more; these three are for whoever looks to reset
        self.renamed: dict[str, str] = {}  # nodes met before it was known which device they belong to
        self.news = False  # devices or trays are not the same as before
        self.has_quorum = False
        self._by_node: dict[str, str] = {}
        self._below: dict[str, str] = {}  # the same of nodes below those: the file of an image, its backing images
        self._above: dict[str, str] = {}  # and of nodes above: the filter that a job puts between a device and its node
        self._strangers: set[str] = set()
        self._homeless: set[str] = set()  # strangers that no device had when all nodes were listed

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
            self.news = True
            self._homeless = set()
            self._above = {node: name for node, name in self._above.items() if name in names}
        self.gone = (self.gone | frozenset(self.names)) - names.keys()
        self.names, self._by_node = tuple(names), by_node
        self._recognize(by_node)

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
        return not self._strangers <= self._homeless

    def learn_trays(self, names: Iterable[str]) -> None:
        trays = tuple(names)
        self.news |= trays != self.trays
        self.trays = trays

    def learn_quorum(self, *, there: bool) -> None:
        self.news |= there != self.has_quorum
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
        self.renamed |= {node: owners[node] for node in known if owners[node] != node}
        self.news |= bool(self.renamed)
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


VncClient = tuple[
    str, str, str
]  # family, host, service: not unique behind a unix socket, where host and service are ""


class VncClients:
    """Who is connected to the VNC servers, and how many of those have not logged in (yet).

    The query tells who is connected and the events who logged in.  A client that was there before us counts as logged
    in: one that never logs in does not stay long.
    """

    def __init__(self) -> None:
        self._clients: Counter[VncClient] = Counter()
        self._pending: Counter[VncClient] = Counter()

    @property
    def clients(self) -> int:
        return self._clients.total()

    @property
    def sessions(self) -> int:
        return self._clients.total() - self._pending.total()

    def connected(self, client: VncClient) -> None:
        if self._has_room(client):
            self._clients[client] += 1
            self._pending[client] += 1

    def initialized(self, client: VncClient) -> None:
        if not self._clients[client] and self._has_room(client):
            self._clients[client] = 1
        self._pending[client] = max(0, self._pending[client] - 1)
        self._tidy()

    def disconnected(self, client: VncClient) -> None:
        """Where several cannot be told apart, the one that had not logged in is taken to be the one that left."""
        self._clients[client] = max(0, self._clients[client] - 1)
        self._pending[client] = max(0, self._pending[client] - 1)
        self._tidy()

    def reconcile(self, clients: Iterable[VncClient]) -> None:
        self._clients = Counter(islice(clients, MAX_CLIENTS))
        self._tidy()

    def _has_room(self, client: VncClient) -> bool:
        return client in self._clients or len(self._clients) < MAX_CLIENTS

    def _tidy(self) -> None:
        self._clients = +self._clients
        self._pending &= self._clients  # nobody is waiting to log in who is not there


class Ports:
    """Which virtio-serial ports the guest holds open: as events said, and as a query said of those that it can tell."""

    def __init__(self) -> None:
        self._announced: dict[str, bool] = {}
        self._told: dict[str, bool] = {}

    @property
    def open(self) -> dict[str, bool]:
        """Each port, and whether it is."""
        return self._announced | self._told

    def changed(self, port: str, *, is_open: bool) -> None:
        port = port[:MAX_NAME]
        if port in self._told:
            self._told[port] = is_open
        elif port in self._announced or len(self._announced) < MAX_STRANGERS:
            self._announced[port] = is_open

    def told(self, ports: dict[str, bool]) -> None:
        self._told = ports

    def deleted(self, port: str) -> None:
        self._announced.pop(port, None)
        self._told.pop(port, None)


class VmFacts:
    """All that is remembered of one VM; `at` is the time of the message that is being read."""

    __slots__ = (
        "at",
        "devices",
        "ending",
        "has_balloon",
        "last_uuid",
        "migrating",
        "name",
        "netdevs",
        "ports",
        "replaced",
        "run_state",
        "run_state_hint",
        "run_state_moved",
        "run_state_since",
        "stat_types",
        "uuid",
        "vcpu_paths",
        "vcpu_threads",
        "version",
        "vnc",
    )

    def __init__(self) -> None:
        self.at = 0.0
        self.devices = Devices()
        self.vnc = VncClients()
        self.name = self.uuid = self.version = ""  # who it is, as far as it was told
        self.vcpu_threads: dict[int, int] = {}  # thread id of each vCPU, as query-cpus-fast said last
        self.vcpu_paths: dict[str, int] = {}  # QOM path of each vCPU, as it said, too
        self.stat_types: dict[tuple[str, str], str] = {}  # StatsType by target and name
        self.ports = Ports()
        self.netdevs: dict[str, bool] = {}  # whether the other end of each is connected
        self.has_balloon = False
        self.migrating = False  # a migration is under way, outgoing or incoming
        self.last_uuid = ""  # of the last VM that had one
        self.replaced = False  # it is another VM than the last one; for whoever looks to reset
        self.run_state = ""  # as query-status said last
        self.run_state_since = 0.0
        self.run_state_hint = 0.0  # when an event said that the run state may be changing
        self.run_state_moved = 0.0  # when an event said that it has changed, be it back to what it was
        self.ending = False  # the end of this QEMU was announced

    def is_qemu(self, since: tuple[int, ...]) -> bool:
        """Whether it is this version of QEMU or a later one."""
        return tuple(int(part) for part in self.version.split(".") if part) >= since

    def learn_uuid(self, uuid: str) -> None:
        """A VM of the same name may be another one; without -uuid, which is all zeros then, nobody can tell."""
        self.uuid = uuid
        if uuid.strip("0-"):
            self.replaced = self.last_uuid not in {"", uuid}
            self.last_uuid = uuid

    def forget_monitor(self) -> None:
        """The monitor is lost: what it told may change unseen, so nothing of it may colour what the next one says."""
        self.vnc = VncClients()
        self.vcpu_threads, self.vcpu_paths, self.stat_types = {}, {}, {}
        self.ports = Ports()
        self.netdevs = {}
        self.has_balloon = self.migrating = False
        self.run_state = ""
        self.run_state_hint = self.run_state_moved = 0.0
        self.ending = False
