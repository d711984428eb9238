"""VNC and SPICE clients that come and go -> members of their events and of query-vnc* and query-spice."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from qmp_exporter.simulator.wire import Json

# main, display, cursor, inputs: what a plain SPICE client opens, in the order recorded.
USUAL_CHANNELS = (1, 2, 4, 3)
_FIRST_PORT = 40000

Emit = Callable[[str, Json], None]


@dataclass(slots=True, eq=False)
class VncClient:
    """Two clients of a unix socket look the same from outside, so identity, not equality, tells them apart."""

    server: "VncServer"
    host: str
    service: str
    websocket: bool = False

    def info(self) -> Json:
        return {
            "family": self.server.family,
            "service": self.service,
            "host": self.host,
            "websocket": self.websocket,
        }

    def event_data(self) -> Json:
        return {"server": self.server.info(), "client": self.info()}


@dataclass(slots=True)
class VncServer:
    """A display: TCP (host and port) or, with family "unix", a socket whose path is the `service`."""

    id: str = "default"
    service: str = "5900"
    host: str = "127.0.0.1"
    family: str = "ipv4"
    auth: str = "none"
    clients: list[VncClient] = field(default_factory=list)  # the newest first, as QEMU lists them

    @classmethod
    def unix(cls, path: str, id: str = "default", auth: str = "none") -> "VncServer":  # noqa: A002 - QEMU's name
        return cls(id=id, service=path, host="", family="unix", auth=auth)

    def client(self, port: int, host: str, *, websocket: bool) -> VncClient:
        if self.family == "unix":  # the peer of a unix socket has neither name nor number
            return VncClient(self, "", "", websocket)
        return VncClient(self, host, str(port), websocket)

    def info(self) -> Json:
        return {"auth": self.auth, **self._address(), "websocket": False}

    def _address(self) -> Json:
        return {"family": self.family, "service": self.service, "host": self.host}

    def query_vnc_servers(self, *, with_display: bool) -> Json:
        display = {"display": "video0"} if with_display else {}
        clients = [client.info() for client in self.clients]
        return {"auth": self.auth, "clients": clients, **display, "server": [self.info()], "id": self.id}

    def query_vnc(self) -> Json:
        clients = [client.info() for client in self.clients]
        return {"enabled": True, "auth": self.auth, **self._address(), "clients": clients}


@dataclass(slots=True, eq=False)
class SpiceChannel:
    channel_type: int
    connection_id: int
    host: str
    port: str
    initialized: bool = False

    def basic(self) -> Json:
        return {"port": self.port, "family": "ipv4", "host": self.host}

    def info(self) -> Json:
        """Only INITIALIZED and query-spice have more than the address."""
        identity = {"channel-type": self.channel_type, "connection-id": self.connection_id}
        return {**self.basic(), **identity, "channel-id": 0, "tls": False}


@dataclass(slots=True, eq=False)
class SpiceSession:
    """All channels of one client: they share the connection-id."""

    channels: list[SpiceChannel]


@dataclass(slots=True)
class SpiceServer:
    port: int = 5930
    host: str = "127.0.0.1"
    auth: str = "none"
    sessions: list[SpiceSession] = field(default_factory=list)

    def basic(self) -> Json:
        # A string in events, a number in query-spice: QEMU's own inconsistency.
        return {"port": str(self.port), "family": "ipv4", "host": self.host}

    def basic_data(self, channel: SpiceChannel) -> Json:
        return {"server": self.basic(), "client": channel.basic()}

    def query_spice(self) -> Json:
        channels = [c.info() for session in self.sessions for c in session.channels if c.initialized]
        return {
            "migrated": False,
            "enabled": True,
            "auth": self.auth,
            "port": self.port,
            "compiled-version": "0.15.2",
            "host": self.host,
            "channels": channels,
            "mouse-mode": "server",
        }


class Displays:
    """All VNC servers of a VM and its SPICE server, if it has one, and the verbs of their clients."""

    def __init__(self, vnc: Collection[VncServer], spice: SpiceServer | None, emit: Emit) -> None:
        self.vnc = list(vnc)
        self.spice = spice
        self._emit = emit
        self._last_port = _FIRST_PORT
        self._spice_logins = 0

    def vnc_connect(
        self, server: str = "default", *, host: str = "127.0.0.1", port: int | None = None, websocket: bool = False
    ) -> VncClient:
        """Someone has connected to the display `server` and has not logged in yet."""
        display = next(display for display in self.vnc if display.id == server)
        client = display.client(port or self._port(), host, websocket=websocket)
        display.clients.insert(0, client)
        self._emit("VNC_CONNECTED", client.event_data())
        return client

    def vnc_initialize(self, client: VncClient) -> None:
        self._emit("VNC_INITIALIZED", client.event_data())

    def vnc_disconnect(self, client: VncClient) -> None:
        client.server.clients.remove(client)
        self._emit("VNC_DISCONNECTED", client.event_data())

    def spice_connect(
        self,
        channels: Collection[int] = USUAL_CHANNELS,
        *,
        host: str = "127.0.0.1",
        connection_id: int | None = None,
        initialize: bool = True,
    ) -> SpiceSession:
        """A client opens its channels, the main one first. One client at a time: it throws out any other.

        With `initialize` false it gets no further than connecting.
        """
        server = self._spice_server()
        identity = self._connection_id() if connection_id is None else connection_id
        session = SpiceSession([SpiceChannel(kind, identity, host, str(self._port())) for kind in channels])
        others, server.sessions[:] = tuple(server.sessions), [session]
        main, *rest = session.channels
        self._emit("SPICE_CONNECTED", server.basic_data(main))
        for other in others:
            self._leave(server, other)
        if initialize:
            self._initialize(server, main)
        for channel in rest:
            self._emit("SPICE_CONNECTED", server.basic_data(channel))
        for channel in rest if initialize else ():
            self._initialize(server, channel)
        return session

    def spice_disconnect(self, session: SpiceSession) -> None:
        server = self._spice_server()
        server.sessions.remove(session)
        self._leave(server, session)

    def _initialize(self, server: SpiceServer, channel: SpiceChannel) -> None:
        channel.initialized = True
        described = {"auth": server.auth, **server.basic()}
        self._emit("SPICE_INITIALIZED", {"server": described, "client": channel.info()})

    def _leave(self, server: SpiceServer, session: SpiceSession) -> None:
        for channel in reversed(session.channels):
            self._emit("SPICE_DISCONNECTED", server.basic_data(channel))

    def _spice_server(self) -> SpiceServer:
        if self.spice is None:
            raise ValueError("this VM has no SPICE server")
        return self.spice

    def _connection_id(self) -> int:
        # QEMU's are random signed 32-bit numbers; these look so and are the same at every run.
        self._spice_logins += 1
        return (self._spice_logins * 2654435761) % (1 << 32) - (1 << 31)

    def _port(self) -> int:
        self._last_port += 1
        return self._last_port
