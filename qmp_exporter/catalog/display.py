"""Who looks at the screen: VNC clients and SPICE sessions.  Counted, never named: an address is nobody's label."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from qmp_exporter.catalog.qapi import Int
from qmp_exporter.catalog.vnc_clients import VNC, VncClient
from qmp_exporter.core.family import Group, Query, Sample, StateUpdate, bare_event, counter, event, gauge, query
from qmp_exporter.core.read import once
from qmp_exporter.core.vm_facts import MAX_NAME, VmFacts


class VncPeer(Struct, frozen=True):
    """VncBasicInfo, qapi/ui.json; host and service are "" behind a unix socket."""

    family: str = ""
    host: str = ""
    service: str = ""

    @property
    def key(self) -> VncClient:
        return (self.family[:MAX_NAME], self.host[:MAX_NAME], self.service[:MAX_NAME])


class VncEvent(Struct, frozen=True):
    """VNC_CONNECTED, VNC_INITIALIZED, VNC_DISCONNECTED."""

    client: VncPeer


class VncServer(Struct, frozen=True):
    """VncInfo and VncInfo2: what query-vnc and each element of query-vnc-servers tell.

    `enabled` has only the former, `server` only the latter: its listening sockets, of which `-vnc none` has none.
    """

    clients: list[VncPeer] = []
    enabled: bool = False
    server: list[dict[str, Any]] = []

    @property
    def is_on(self) -> bool:
        return self.enabled or bool(self.server or self.clients)


class SpiceChannel(Struct, frozen=True, rename="kebab"):
    """An element of SpiceInfo's `channels`; a connection-id may be negative."""

    connection_id: Int
    channel_type: Int


class SpiceInfo(Struct, frozen=True):
    """query-spice; no `channels` where SPICE is off."""

    enabled: bool = False
    channels: list[SpiceChannel] = []


VNC_EVENTS = ("VNC_CONNECTED", "VNC_INITIALIZED", "VNC_DISCONNECTED")
VNC_CLIENT = {"family": "ipv4", "host": "192.0.2.1", "service": "40001"}
VNC_SERVER = {"enabled": True, "server": [{}], "clients": [VNC_CLIENT]}


def has_vnc_clients(facts: VmFacts) -> bool:
    return facts[VNC].clients > 0


# An event announces who comes and who goes.  While somebody is there, the poll sees who left without a word.
QUERY_VNC_SERVERS = Query(
    "query-vnc-servers",
    list[VncServer],
    example=[VNC_SERVER],
    at_rest=[],
    every="rare",
    after=VNC_EVENTS,
    poll_while=has_vnc_clients,
)
QUERY_VNC = Query(
    "query-vnc",
    VncServer,
    example=VNC_SERVER,
    at_rest={"enabled": False},
    every="rare",
    after=VNC_EVENTS,
    poll_while=has_vnc_clients,
    instead_of_newer="query-vnc-servers",
)
QUERY_SPICE = Query(
    "query-spice",
    SpiceInfo,
    example={"enabled": True, "channels": [{"connection-id": 1, "channel-type": 1}]},
    at_rest={"enabled": False},
    every="rare",
    after=("SPICE_CONNECTED", "SPICE_INITIALIZED", "SPICE_DISCONNECTED"),
)
QUERIES = (QUERY_VNC_SERVERS, QUERY_VNC, QUERY_SPICE)

SPICE_MAIN = 1  # channel-type of the channel that each session has once


def update_connected(vnc: VncEvent, facts: VmFacts) -> None:
    facts[VNC].connected(vnc.client.key)


def update_initialized(vnc: VncEvent, facts: VmFacts) -> None:
    facts[VNC].initialized(vnc.client.key)


def update_disconnected(vnc: VncEvent, facts: VmFacts) -> None:
    facts[VNC].disconnected(vnc.client.key)


def update_servers(servers: list[VncServer], facts: VmFacts) -> None:
    facts[VNC].reconcile(client.key for server in servers for client in server.clients)


def update_server(server: VncServer, facts: VmFacts) -> None:
    facts[VNC].reconcile(client.key for client in server.clients)


def has_vnc(told: VncEvent | VncServer | list[VncServer]) -> bool:
    """Whether QEMU itself serves VNC at all.  Where another process does, as libvirt's, 0 clients would be a lie."""
    match told:
        case VncServer():
            return told.is_on
        case list():
            return any(server.is_on for server in told)
    return True


def vnc_clients(told: VncEvent | VncServer | list[VncServer], facts: VmFacts) -> Iterable[Sample]:
    if has_vnc(told) and facts[VNC].is_complete:
        yield (), facts[VNC].clients


def vnc_sessions(told: VncEvent | VncServer | list[VncServer], facts: VmFacts) -> Iterable[Sample]:
    if has_vnc(told) and facts[VNC].is_complete:
        yield (), facts[VNC].sessions


def spice_sessions(spice: SpiceInfo, _facts: VmFacts) -> Iterable[Sample]:
    if spice.enabled:
        yield (), len({channel.connection_id for channel in spice.channels if channel.channel_type == SPICE_MAIN})


def spice_channels(spice: SpiceInfo, _facts: VmFacts) -> Iterable[Sample]:
    if spice.enabled:
        yield (), len(spice.channels)


UPDATES = (
    StateUpdate("VNC_CONNECTED", VncEvent, update_connected),
    StateUpdate("VNC_INITIALIZED", VncEvent, update_initialized),
    StateUpdate("VNC_DISCONNECTED", VncEvent, update_disconnected),
    StateUpdate("query-vnc-servers", list[VncServer], update_servers),
    StateUpdate("query-vnc", VncServer, update_server),
)

FAMILIES = (
    gauge(
        "qemu_vnc_clients",
        "Clients connected to all VNC servers, logged in or not, by VNC events and query-vnc-servers (query-vnc before "
        "QEMU 2.3); absent where QEMU has no VNC server.",
        *(event(name, VncEvent, vnc_clients) for name in VNC_EVENTS),
        query(QUERY_VNC_SERVERS, vnc_clients),
        query(QUERY_VNC, vnc_clients),
    ),
    gauge(
        "qemu_vnc_sessions",
        "VNC clients past authentication, by VNC_INITIALIZED and VNC_DISCONNECTED, reconciled with query-vnc-servers; "
        "absent where QEMU has no VNC server.",
        *(event(name, VncEvent, vnc_sessions) for name in VNC_EVENTS),
        query(QUERY_VNC_SERVERS, vnc_sessions),
        query(QUERY_VNC, vnc_sessions),
    ),
    counter(
        "qemu_vnc_connections_total", "VNC clients that connected, by VNC_CONNECTED.", bare_event("VNC_CONNECTED", once)
    ),
    counter(
        "qemu_vnc_initializations_total",
        "VNC clients that logged in, by VNC_INITIALIZED.",
        bare_event("VNC_INITIALIZED", once),
    ),
    counter(
        "qemu_vnc_disconnections_total",
        "VNC clients that left, logged in or not, by VNC_DISCONNECTED.",
        bare_event("VNC_DISCONNECTED", once),
    ),
    gauge(
        "qemu_spice_sessions",
        "SPICE sessions, that is connection-ids with a main channel, by query-spice; absent where QEMU has no SPICE "
        "server.",
        query(QUERY_SPICE, spice_sessions),
    ),
    gauge(
        "qemu_spice_channels",
        "Open SPICE channels, of which a session has several, by query-spice; absent where QEMU has no SPICE server.",
        query(QUERY_SPICE, spice_channels),
    ),
    counter(
        "qemu_spice_connections_total",
        "SPICE channels that connected, by SPICE_CONNECTED.",
        bare_event("SPICE_CONNECTED", once),
    ),
    counter(
        "qemu_spice_initializations_total",
        "SPICE channels that were set up, by SPICE_INITIALIZED.",
        bare_event("SPICE_INITIALIZED", once),
    ),
    counter(
        "qemu_spice_disconnections_total",
        "SPICE channels that closed, by SPICE_DISCONNECTED.",
        bare_event("SPICE_DISCONNECTED", once),
    ),
)

GROUP = Group(
    "display",
    FAMILIES,
    queries=QUERIES,
    updates=UPDATES,
    of_a_machine=True,
    events={key: {"client": VNC_CLIENT} for key in VNC_EVENTS},
)
