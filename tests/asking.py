"""A query scheduler and a clock of its own: what the daemon does with them, step by step -> what is asked, and when."""

import pytest

from qmp_exporter.core.family import Query
from qmp_exporter.core.in_flight import STUCK
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS, QueryScheduler
from qmp_exporter.core.vm_facts import VmFacts

POLL = 15.0
STATUS = Query("query-status", dict, every="poll", after=("STOP", "RESUME", "RESET"), spacing=0.02)
BLOCK = Query("query-block", list, every="slow", after=("RESET", "DEVICE_TRAY_MOVED"), spacing=1.0, reads_images=True)
STATS = Query("query-blockstats", list, every="poll")
VNC_SERVERS = Query("query-vnc-servers", list, every="poll", after=("VNC_CONNECTED",))
VNC = Query("query-vnc", dict, every="poll", after=("VNC_CONNECTED",), instead_of_newer="query-vnc-servers")
IOTHREADS = Query("query-iothreads", list, every="rare")
NAME = Query("query-name", dict)
QUERIES = (STATUS, BLOCK, STATS, VNC_SERVERS, VNC, IOTHREADS, NAME)


class Loop:
    """What the daemon does with a query scheduler, on a clock of its own."""

    def __init__(self, *, connected: bool = True, poll: float = POLL) -> None:
        self.now = 0.0
        self.scheduler = QueryScheduler(QUERIES, poll, VmFacts())
        self.asked: list[Query] = []
        self.late: list[Query] = []
        self.hung_at: list[float] = []
        self.events: list[str] = []
        self._asked_after: dict[Query, int] = {}  # how many events there were when it was asked
        self.true_as_of: dict[Query, int] = {}  # the same, of the last reply that was taken
        self.scheduler.start(self.now, 0.0)
        if connected:
            self.turn()
            self.scheduler.answered(QUERY_COMMANDS, self.now)
            self.scheduler.set_available(None)
            self.answer_all()

    def turn(self) -> bool:
        """One round of the loop; whether anything was done."""
        late = self.scheduler.in_flight.take_timeout(self.now)
        if late:
            self.late.append(late)
        hung = self.scheduler.in_flight.take_hang(self.now)
        if hung:
            self.hung_at.append(self.now)
        before, sent_at = self.scheduler.in_flight.query, self.scheduler.in_flight.sent_at
        query = self.scheduler.next(self.now)
        if query:
            assert before is None or self.now >= sent_at + STUCK, "two in flight"
            self.asked.append(query)
            self._asked_after[query] = len(self.events)
        return bool(late or hung or query)

    def sleep(self, seconds: float) -> None:
        """Let time pass with nothing happening, waking up when the scheduler wants it."""
        end = self.now + seconds
        while self.now < end:
            did = self.turn()
            due = self.scheduler.due(self.now)
            assert did or due > 0, "awake for nothing, and again at once"
            self.now = min(end, self.now + due)
        self.turn()

    def happens(self, event: str) -> None:
        self.events.append(event)
        self.scheduler.on_event(event)
        self.turn()

    def answer(self) -> None:
        query = self.scheduler.in_flight.query
        if query and self.scheduler.answered(query, self.now):
            self.true_as_of[query] = self._asked_after[query]
        self.turn()

    def fail(self) -> None:
        if self.scheduler.in_flight.query:
            self.scheduler.failed(self.scheduler.in_flight.query, self.now)
        self.turn()

    def answer_all(self) -> None:
        """Answer each query as soon as it is asked, until no event makes us want one, and no poll for some seconds."""
        for _ in range(2000):
            if self.scheduler.settled and self.scheduler.due(self.now) > 2.0:
                return
            self.now += 0.0 if self.scheduler.in_flight.query else self.scheduler.due(self.now)
            self.turn()
            self.answer()
        pytest.fail("never at rest")
