"""Who comes, logs in and leaves at the VNC servers -> how many are connected, and how many of those are logged in."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from qmp_exporter.core.vm_facts import Slice

MAX_CLIENTS = 1024  # what is kept of a VM must not be its to fill
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
        self.is_complete = False  # the query has told who was there before any event

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
        self.is_complete = True
        self._clients = Counter(islice(clients, MAX_CLIENTS))
        self._tidy()

    def _has_room(self, client: VncClient) -> bool:
        return client in self._clients or len(self._clients) < MAX_CLIENTS

    def _tidy(self) -> None:
        self._clients = +self._clients
        self._pending &= self._clients  # nobody is waiting to log in who is not there


VNC = Slice(VncClients)
