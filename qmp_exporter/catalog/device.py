"""Devices that are not disks: serial ports, network backends, SCSI reservations, and what would not be unplugged."""

import re
from collections.abc import Iterable
from functools import partial

from msgspec import Struct, field

from qmp_exporter.catalog.disk_names import DEVICES, bare
from qmp_exporter.core.family import (
    Group,
    Label,
    Query,
    Sample,
    Source,
    StateUpdate,
    bare_event,
    counter,
    event,
    gauge,
    query,
)
from qmp_exporter.core.read import once
from qmp_exporter.core.vm_facts import MAX_NAME, Slice, VmFacts


class SerialPort(Struct, frozen=True):
    """VSERPORT_CHANGE, qapi/char.json: the id of the port, which is not that of its chardev; not sent without one."""

    id: str
    open: bool


class Chardev(Struct, frozen=True):
    """An element of query-chardev, qapi/char.json: `frontend-open` since 2.1."""

    label: str
    frontend_open: bool | None = field(name="frontend-open", default=None)


class PrManager(Struct, frozen=True):
    """PR_MANAGER_STATUS_CHANGED and an element of query-pr-managers, qapi/block.json, since 3.0."""

    id: str
    connected: bool


class Netdev(Struct, frozen=True):
    """NETDEV_STREAM_* (since 7.2) and NETDEV_VHOST_USER_* (since 10.0), qapi/net.json."""

    id: str = field(name="netdev-id")


class Deleted(Struct, frozen=True):
    """DEVICE_DELETED, qapi/qdev.json: without `device` for a part of one, or one without an id."""

    path: str = ""
    device: str = ""

    @property
    def owner(self) -> str:
        """The id of the device that it is or that it is a part of, where that has one."""
        return self.device or bare(self.path)


# Both read a few members in memory.
QUERY_CHARDEV = Query(
    "query-chardev",
    list[Chardev],
    example=[{"label": "charchannel0", "frontend-open": True}],
    at_rest=[],
    every="slow",  # no event tells of a port without an id, such as Proxmox VE's of the guest agent
    after=("VSERPORT_CHANGE", "DEVICE_DELETED"),
    spacing=1.0,
)
QUERY_PR_MANAGERS = Query(
    "query-pr-managers",
    list[PrManager],
    example=[{"id": "pr0", "connected": True}],
    at_rest=[],
    every="rare",
    after=("PR_MANAGER_STATUS_CHANGED",),
    spacing=1.0,
)
QUERIES = (QUERY_CHARDEV, QUERY_PR_MANAGERS)

PORT = Label(
    "port", "The id of the port's device; as Proxmox VE gives none to that of the guest agent, its chardev's: qga0."
)
PR_MANAGER = Label("manager", "The id of the pr-manager object.")
NETDEV = Label("netdev", "The id of the netdev.")

# query-chardev names no ports, and says "open" of every chardev that is no virtio-serial port at all: monitors, UARTs,
# consoles.  It is taken at its word only where the name of the chardev says that it is the port's: libvirt calls the
# chardev of device channel0 charchannel0, and Proxmox VE that of the agent's port, which has no id, qga0.
_PORT_OF_CHARDEV = re.compile(r"char(?P<libvirt>channel\d+)|(?P<proxmox>qga\d+)")

_DEVICE_OF_NETDEV = re.compile(r"(?:host)?(?P<device>net\d+)")
MAX_PORTS = MAX_NETDEVS = 64  # more are a broken peer's

CONNECTED = ("NETDEV_STREAM_CONNECTED", "NETDEV_VHOST_USER_CONNECTED")
DISCONNECTED = ("NETDEV_STREAM_DISCONNECTED", "NETDEV_VHOST_USER_DISCONNECTED")
ERROR_OF_ALL_DEVICES_SINCE = (6, 2)


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
        elif port in self._announced or len(self._announced) < MAX_PORTS:
            self._announced[port] = is_open

    def told(self, ports: dict[str, bool]) -> None:
        self._told = ports

    def deleted(self, port: str) -> None:
        self._announced.pop(port, None)
        self._told.pop(port, None)


PORTS = Slice(Ports)
NETDEVS = Slice(dict[str, bool])  # whether the other end of each is connected


def update_port(port: SerialPort, facts: VmFacts) -> None:
    facts[PORTS].changed(port.id, is_open=port.open)


def update_chardevs(chardevs: list[Chardev], facts: VmFacts) -> None:
    named = ((_PORT_OF_CHARDEV.fullmatch(chardev.label), chardev.frontend_open) for chardev in chardevs)
    facts[PORTS].told(
        {match["libvirt"] or match["proxmox"]: is_open for match, is_open in named if match and is_open is not None}
    )


def update_netdev(netdev: Netdev, facts: VmFacts, *, is_connected: bool) -> None:
    name = netdev.id[:MAX_NAME]
    if name in facts[NETDEVS] or len(facts[NETDEVS]) < MAX_NETDEVS:
        facts[NETDEVS][name] = is_connected


def update_deleted(deleted: Deleted, facts: VmFacts) -> None:
    """No query tells of netdevs, so those are forgotten that may have gone with the device: then they are absent.

    libvirt calls the netdev of device net1 hostnet1, and Proxmox VE calls both net1.  Whose any other netdev is cannot
    be told; it is not that of a disk or of a serial port.
    """
    owner = deleted.owner
    may_have_any = owner not in facts[DEVICES].names and owner not in facts[PORTS].open
    netdevs = facts[NETDEVS]
    for netdev in tuple(netdevs):
        of_device = _DEVICE_OF_NETDEV.fullmatch(netdev)
        if netdev == owner or (of_device["device"] == owner if of_device else may_have_any):
            del netdevs[netdev]
    facts[PORTS].deleted(deleted.device)


def netdevs_connected(_payload: object, facts: VmFacts) -> Iterable[Sample]:
    for netdev, is_connected in facts[NETDEVS].items():
        yield (netdev,), int(is_connected)


def ports(_payload: object, facts: VmFacts) -> Iterable[Sample]:
    for port, is_open in facts[PORTS].open.items():
        yield (port,), int(is_open)


def pr_manager(changed: PrManager, _facts: VmFacts) -> Iterable[Sample]:
    yield (changed.id,), int(changed.connected)


def pr_managers(told: list[PrManager], _facts: VmFacts) -> Iterable[Sample]:
    for one in told:
        yield (one.id,), int(one.connected)


def memory_unplug_error(_payload: None, facts: VmFacts) -> tuple[Sample, ...]:
    """Where QEMU sends DEVICE_UNPLUG_GUEST_ERROR for the same error, that one counts."""
    return () if facts.is_qemu(ERROR_OF_ALL_DEVICES_SINCE) else once(None, facts)


UPDATES = (
    StateUpdate("VSERPORT_CHANGE", SerialPort, update_port),
    StateUpdate("query-chardev", list[Chardev], update_chardevs),
    *(StateUpdate(name, Netdev, partial(update_netdev, is_connected=True)) for name in CONNECTED),
    *(StateUpdate(name, Netdev, partial(update_netdev, is_connected=False)) for name in DISCONNECTED),
    StateUpdate("DEVICE_DELETED", Deleted, update_deleted),
)

FAMILIES = (
    gauge(
        "qemu_serial_port_open",
        "1 while something in the guest, such as the guest agent, holds the virtio-serial port open, by "
        "VSERPORT_CHANGE; by query-chardev before that where the name of the chardev tells the port.",
        event("VSERPORT_CHANGE", SerialPort, ports),
        query(QUERY_CHARDEV, ports),
        labels=(PORT,),
    ),
    gauge(
        "qemu_pr_manager_connected",
        "1 while the helper for SCSI persistent reservations is connected, by PR_MANAGER_STATUS_CHANGED and "
        "query-pr-managers.",
        event("PR_MANAGER_STATUS_CHANGED", PrManager, pr_manager),
        query(QUERY_PR_MANAGERS, pr_managers),
        labels=(PR_MANAGER,),
    ),
    gauge(
        "qemu_netdev_connected",
        "1 while the other end of a stream or vhost-user netdev is connected, by NETDEV_STREAM_CONNECTED and its like, "
        "until DEVICE_DELETED; no query tells, so it is absent until it changes.",
        *(Source(name, Netdev, netdevs_connected, replaces=True) for name in (*CONNECTED, *DISCONNECTED)),
        Source("DEVICE_DELETED", Deleted, netdevs_connected, replaces=True),
        labels=(NETDEV,),
    ),
    counter(
        "qemu_device_unplug_errors_total",
        "Times a device could not be unplugged, by DEVICE_UNPLUG_GUEST_ERROR (MEM_UNPLUG_ERROR before QEMU 6.2).",
        bare_event("DEVICE_UNPLUG_GUEST_ERROR", once),
        bare_event("MEM_UNPLUG_ERROR", memory_unplug_error),
    ),
)

GROUP = Group(
    "device",
    FAMILIES,
    queries=QUERIES,
    updates=UPDATES,
    of_a_machine=True,
    more="1 for each serial port, pr-manager and netdev that is told of",
    events={
        "VSERPORT_CHANGE": {"id": "channel0", "open": True},
        "PR_MANAGER_STATUS_CHANGED": {"id": "pr0", "connected": True},
        "DEVICE_DELETED": {"device": "channel0", "path": "/machine/peripheral/channel0"},
        **{key: {"netdev-id": "hostnet0"} for key in (*CONNECTED, *DISCONNECTED)},
    },
)
