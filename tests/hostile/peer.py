"""Bytes of a peer, cut anywhere -> a watch that takes them as from its socket; what it asks is kept.

No socket and no clock: a second passes when the test says so. All else is the daemon's own: lines, decoding, handshake,
replies and their ids, the count of bad messages.
"""

import json
import time

from qmp_exporter.catalog import CATALOG
from qmp_exporter.config import Target
from qmp_exporter.core.protocol import Protocol, Refusal
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.core.wire import BadMessage, Greeting
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
        self.protocol = Protocol(CATALOG.allowed, self.now)

    @property
    def vm(self):
        return self.watch.vm

    @property
    def open(self) -> bool:
        return self.protocol.is_open

    def greets(self) -> None:
        self.says(GREETING)
        self.says(NEGOTIATED)

    def says(self, chunk: bytes) -> None:
        """As much of the stream as one read brings; then it is time for a query."""
        self.hears(chunk)
        if self.open:
            self.turn()

    def hears(self, chunk: bytes) -> None:
        messages = self.protocol.receive(chunk, self.now)
        self._keep(self.protocol.take_bytes_to_send())
        if any(isinstance(message, Refusal) for message in messages):
            self.leaves()
            return
        notices = self.watch.session.receive(messages, time.time(), self.now)
        self.watch._note(notices)
        bad = sum(isinstance(notice, BadMessage) for notice in notices)
        self.bad += bad
        self.taken += sum(not isinstance(message, Greeting) for message in messages) - bad

    def turn(self, seconds: float = 0.06) -> None:
        """Time passes, and what it is time for is asked."""
        self.now += seconds
        if query := self.watch.session.turn(time.time(), self.now).query:
            self.protocol.ask(query, self.now)
            self._keep(self.protocol.take_bytes_to_send())

    def leaves(self) -> None:
        """End of file; the next that is said begins a new session."""
        self.watch.session.end(time.time())
        if not self.open:
            self.vm.monitor("error", time.time())
        self.watch.session = self.watch._new_session()
        self.protocol = Protocol(CATALOG.allowed, self.now)
        self.asked.clear()

    def _keep(self, sent: bytes) -> None:
        """What was sent has the shape of a query, and is one of the allow-list."""
        if not sent or b"qmp_capabilities" in sent:
            return
        question = json.loads(sent)
        assert question.keys() - {"arguments"} == {"execute", "id"}
        assert (question["execute"], question.get("arguments")) in ALLOWED
        self.asked = [*self.asked[-7:], (question["execute"], question["id"])]
