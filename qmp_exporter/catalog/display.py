"""Who looks at the screen: VNC clients and SPICE sessions.  Counted, never named: an address is nobody's label."""

from collections.abc import Iterable

from msgspec import Struct

from qmp_exporter.catalog.qapi import Int
from qmp_exporter.core.family import Query, Remember, Sample, counter, event, gauge, query, signal
from qmp_exporter.core.memory import MAX_NAME, Memory, VncClient
from qmp_exporter.core.read import once


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
    """VncInfo and VncInfo2: what query-vnc and each element of query-vnc-servers tell."""

    clients: list[VncPeer] = []


class SpiceChannel(Struct, frozen=True, rename="kebab"):
    """An element of SpiceInfo's `channels`; a connection-id may be negative."""

    connection_id: Int
    channel_type: Int


class SpiceInfo(Struct, frozen=True):
    """query-spice; no `channels` where SPICE is off."""

    channels: list[SpiceChannel] = []


VNC_EVENTS = ("VNC_CONNECTED", "VNC_INITIALIZED", "VNC_DISCONNECTED")
QUERY_VNC_SERVERS = Query("query-vnc-servers", list[VncServer], every="poll", after=VNC_EVENTS)
QUERY_VNC = Query("query-vnc", VncServer, every="poll", after=VNC_EVENTS, instead_of_newer="query-vnc-servers")
QUERY_SPICE = Query(
    "query-spice", SpiceInfo, every="poll", after=("SPICE_CONNECTED", "SPICE_INITIALIZED", "SPICE_DISCONNECTED")
)
QUERIES = (QUERY_VNC_SERVERS, QUERY_VNC, QUERY_SPICE)

SPICE_MAIN = 1  # channel-type of the channel that each session has once


def note_connected(vnc: VncEvent, memory: Memory) -> None:
    memory.vnc.connected(vnc.client.key)


def note_initialized(vnc: VncEvent, memory: Memory) -> None:
    memory.vnc.initialized(vnc.client.key)


def note_disconnected(vnc: VncEvent, memory: Memory) -> None:
    memory.vnc.disconnected(vnc.client.key)


def note_servers(servers: list[VncServer], memory: Memory) -> None:
    memory.vnc.reconcile(client.key for server in servers for client in server.clients)


def note_server(server: VncServer, memory: Memory) -> None:
    memory.vnc.reconcile(client.key for client in server.clients)


def vnc_clients(_payload: object, memory: Memory) -> tuple[Sample, ...]:
    return (((), memory.vnc.clients),)


def vnc_sessions(_payload: object, memory: Memory) -> tuple[Sample, ...]:
    return (((), memory.vnc.sessions),)


def spice_sessions(spice: SpiceInfo, _memory: Memory) -> Iterable[Sample]:
    yield (), len({channel.connection_id for channel in spice.channels if channel.channel_type == SPICE_MAIN})


def spice_channels(spice: SpiceInfo, _memory: Memory) -> Iterable[Sample]:
    yield (), len(spice.channels)


REMEMBER = (
    Remember("VNC_CONNECTED", VncEvent, note_connected),
    Remember("VNC_INITIALIZED", VncEvent, note_initialized),
    Remember("VNC_DISCONNECTED", VncEvent, note_disconnected),
    Remember("query-vnc-servers", list[VncServer], note_servers),
    Remember("query-vnc", VncServer, note_server),
)

FAMILIES = (
    gauge(
        "qemu_vnc_clients",
        "Clients connected to all VNC servers, logged in or not, by VNC events and query-vnc-servers (query-vnc before "
        "QEMU 2.3).",
        *(event(name, VncEvent, vnc_clients) for name in VNC_EVENTS),
        query(QUERY_VNC_SERVERS, vnc_clients),
        query(QUERY_VNC, vnc_clients),
    ),
    gauge(
        "qemu_vnc_sessions",
        "VNC clients past authentication, by VNC_INITIALIZED and VNC_DISCONNECTED, reconciled with query-vnc-servers.",
        *(event(name, VncEvent, vnc_sessions) for name in VNC_EVENTS),
        query(QUERY_VNC_SERVERS, vnc_sessions),
        query(QUERY_VNC, vnc_sessions),
    ),
    counter(
        "qemu_vnc_connections_total", "VNC clients that connected, by VNC_CONNECTED.", signal("VNC_CONNECTED", once)
    ),
    counter(
        "qemu_vnc_initializations_total",
        "VNC clients that logged in, by VNC_INITIALIZED.",
        signal("VNC_INITIALIZED", once),
    ),
    counter(
        "qemu_vnc_disconnections_total",
        "VNC clients that left, logged in or not, by VNC_DISCONNECTED.",
        signal("VNC_DISCONNECTED", once),
    ),
    gauge(
        "qemu_spice_sessions",
        "SPICE sessions, that is connection-ids with a main channel, by query-spice.",
        query(QUERY_SPICE, spice_sessions),
    ),
    gauge(
        "qemu_spice_channels",
        "Open SPICE channels, of which a session has several, by query-spice.",
        query(QUERY_SPICE, spice_channels),
    ),
    counter(
        "qemu_spice_connections_total",
        "SPICE channels that connected, by SPICE_CONNECTED.",
        signal("SPICE_CONNECTED", once),
    ),
    counter(
        "qemu_spice_initializations_total",
        "SPICE channels that were set up, by SPICE_INITIALIZED.",
        signal("SPICE_INITIALIZED", once),
    ),
    counter(
        "qemu_spice_disconnections_total",
        "SPICE channels that closed, by SPICE_DISCONNECTED.",
        signal("SPICE_DISCONNECTED", once),
    ),
)
