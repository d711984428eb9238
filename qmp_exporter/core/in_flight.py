"""Queries sent and answers received -> the query in flight, and for how long QEMU has not answered."""

from math import inf

from .family import Query

PATIENCE = 5.0  # seconds until a query counts as unanswered; an idle QEMU needs one millisecond
HUNG = 10.0  # seconds without any answer after which QEMU hangs, as far as anybody can tell
STUCK = 60.0  # seconds after which a query that was never answered no longer keeps others from being sent


class InFlight:
    """At most one query at a time.  Times are seconds on a clock that never jumps.

        nothing ──send()──► in flight ──answered()──► nothing
                                │ PATIENCE: take_timeout() tells it, once
                                │ HUNG without any answer: take_hang() tells it, once
                                └ STUCK: take_stuck() gives it up ──► nothing

    `waits_since` survives a query that was given up: only an answer shows that QEMU is alive.
    """

    __slots__ = ("_told_hang", "_told_timeout", "overtaken", "query", "sent_at", "waits_since")

    def __init__(self) -> None:
        self.query: Query | None = None
        self.sent_at = 0.0
        self.overtaken = False  # an event came that its reply may not know of
        self.waits_since: float | None = None  # the time since which nothing that was asked has been answered
        self._told_timeout = self._told_hang = False

    def send(self, query: Query, now: float) -> None:
        self.query, self.sent_at = query, now
        self.overtaken = self._told_timeout = False
        if self.waits_since is None:
            self.waits_since = now

    def answered(self, query: Query) -> bool:
        """An answer came, be it to a query that was given up.  True if it was overtaken by an event."""
        self.waits_since, self._told_hang = None, False
        if query is not self.query:
            return False
        self.query = None
        return self.overtaken

    def take_timeout(self, now: float) -> Query | None:
        """The query in flight, once, when it has gone unanswered for too long."""
        if self.query is None or self._told_timeout or now < self.sent_at + PATIENCE:
            return None
        self._told_timeout = True
        return self.query

    def take_hang(self, now: float) -> bool:
        """True once, when nothing that was asked has been answered for HUNG seconds."""
        if self._told_hang or self.waits_since is None or now < self.waits_since + HUNG:
            return False
        self._told_hang = True
        return True

    def take_stuck(self, now: float) -> Query | None:
        """The query whose reply is no longer waited for; nothing is in flight then."""
        query = self.query
        if query is None or now < self.sent_at + STUCK:
            return None
        self.query = None
        return query

    def due(self) -> float:
        """When one of the three above may have something to tell."""
        at = inf
        if self.query is not None:
            at = self.sent_at + (STUCK if self._told_timeout else PATIENCE)
        if self.waits_since is not None and not self._told_hang:
            at = min(at, self.waits_since + HUNG)
        return at
