"""Bytes of a peer, cut anywhere -> a watch that takes them as from its socket; what it asks is kept.

No socket and no clock: a second passes when the test says so. All else is the daemon's own: lines, decoding, handshake,
replies and their ids, the count of bad messages.
"""

import json
import time

from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.core.wire import BadMessage, Message
from qmp_exporter.daemon.monitor.link import Link, Unreachable
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats

POLL = 15.0
GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}\r\n'
)
NEGOTIATED = b'{"return": {}, "id": 0}\r\n'


ALLOWED = [(query.command, json.loads(query.arguments or b"null")) for query in (QUERY_COMMANDS, *CATALOG.queries)]


class Peer:
    """A monitor that may say anything to the watch of one VM, one session after the other."""

    def __init__(self, stats: Selfstats | None = None) -> None:
        self.stats = stats or Selfstats()
        self.watch = Watch(Target("web01", "/nowhere", poll_interval=POLL), CATALOG, self.stats, lambda: 0.5)
        self.now = 0.0
        self.asked: list[tuple[str, int]] = []  # what has no answer yet: a command and its id
        self.taken = 0  # messages that were good
        self.bad = 0
        self.open = False
        self.link = self._link()

    @property
    def vm(self):
        return self.watch.vm

    def _link(self) -> Link:
        link = Link(
            "/nowhere",
            CATALOG.commands,
            hear=self._hear,
            heard=lambda: None,
            bad=self._count,
            ended=lambda: None,
        )
        link._writer = self
        return link

    def greets(self) -> None:
        self.says(GREETING)
        self.says(NEGOTIATED)

    def says(self, chunk: bytes) -> None:
        """As much of the stream as one read brings."""
        try:
            self.link._deliver(chunk)
        except Unreachable as failure:
            self.leaves()
            self.vm.monitor(failure.state, time.time())
            return
        if self.link._negotiated and not self.open:
            self.open = True
            self.vm.connected(self.link._hello, time.time(), self.now, 0.5)
        self.turn()

    def turn(self, seconds: float = 0.06) -> None:
        """Time passes, and what it is time for is asked."""
        self.now += seconds
        if self.open:
            self.vm.scheduler.take_timeout(self.now)
            if query := self.vm.scheduler.next(self.now):
                self.watch._ask(self.link, query, self.now)

    def leaves(self) -> None:
        """End of file; the next that is said begins a new session."""
        if self.open:
            self.vm.disconnected(time.time())
        else:
            self.vm.monitor("error", time.time())
        self.watch._asked.clear()
        self.asked.clear()
        self.open = False
        self.link = self._link()

    def write(self, message: bytes) -> None:
        """In the place of the socket, past the gate that holds the allow-list."""
        question = json.loads(message)
        assert question.keys() - {"arguments"} == {"execute", "id"}
        assert (question["execute"], question.get("arguments")) in ALLOWED
        self.asked = [*self.asked[-7:], (question["execute"], question["id"])]

    def _hear(self, message: Message) -> None:
        self.watch._hear(message)
        self.taken += 1

    def _count(self, bad: BadMessage) -> None:
        self.watch._count_bad(bad)
        self.bad += 1
