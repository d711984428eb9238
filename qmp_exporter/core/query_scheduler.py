"""Events, replies and the time -> the query to send next: one at a time, follow-ups before polls, storms coalesced."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil, inf

from msgspec import Struct

from .family import Query
from .in_flight import PATIENCE, InFlight
from .vm_facts import VmFacts

SLOW_INTERVAL = 60.0  # seconds at least between two polls of what touches image files, which can hang with the storage
RARE = 5  # times as rarely as the slow cadence is asked what changes with an event or by an operator only
SLOTS = 64  # of a poll interval: VMs that are polled together wake us together, which costs less than one by one
QUIET = 2.0  # seconds without a query after QEMU has announced its end, which takes it some milliseconds
STAYS = frozenset({"STOP", "RESET", "RESUME"})  # events that say that QEMU is still there after all (-no-shutdown)
SHARE = 0.03  # of QEMU's time that one of its queries may take: its main loop does nothing else meanwhile
REST = 1 / SHARE - 1  # times what the last query took, until the next of its kind
LONGEST_REST = 3600.0  # seconds; beyond that what was told is too old to be of use
DEAR = 0.02  # seconds of our own event loop; a reply with 100 disks takes a quarter of it
OUR_SHARE = 0.02  # of our time that the replies of one VM may take where they are dear
LONGEST_OF_OURS = 60.0  # seconds
LONGEST_REST_OF_MEMORY = 2.0  # seconds; a query that reads memory alone takes QEMU 50 ms at most, whatever it waits for
MAX_FOLLOW_UPS = 8  # in a row while something else is wanted; in a storm a slow QEMU would never be polled otherwise
MAX_OVERTAKEN = 3  # replies dropped in a row; beyond that a storm would leave the page without any answer at all


class CommandInfo(Struct, frozen=True):
    """An element of query-commands (qapi/introspect.json)."""

    name: str


QUERY_COMMANDS = Query("query-commands", list[CommandInfo])


class QueryScheduler:
    """The queries of one session that are wanted, and when each may be sent.

    QEMU runs the commands of all its monitors one after the other in its main loop: a second query in flight would not
    be answered sooner, only take a turn from its manager.  Times are seconds on a clock that never jumps.

        wanted ──next()──► in flight ──answered(), failed()──► resting ──its rest is over──► may be asked again
          ▲                    │
          └──overtaken, given up ┘

    | What happens | What it makes of a query |
    |---|---|
    | set_available() | those that QEMU has are wanted: the resync |
    | on_event() | those that the event settles are wanted, before all others; a reply on its way is overtaken |
    | the time of a poll | those of its cadences are wanted |
    | next() | the first that is wanted and has rested is in flight, if none is |
    | answered() | it rests, in proportion to what it took; overtaken, it is wanted again |
    | failed() | the same, and it is polled at the slow cadence until it is answered |
    | STUCK seconds without an answer | it is given up; what the resync needs is wanted again |
    """

    def __init__(
        self, queries: tuple[Query, ...], poll_interval: float, facts: VmFacts, *, hears_events: bool = True
    ) -> None:
        """What is known of the VM decides on some queries: whether it has them, and whether they are needed now.

        `hears_events`: else nothing announces a change, and what an event settles is asked with each poll.
        """
        self._hears_events = hears_events
        self._queries = queries
        self._poll_interval = poll_interval
        self._facts = facts
        self.available: tuple[Query, ...] = ()
        self._settles: Mapping[str, Sequence[Query]] = {}
        self._urgent: dict[Query, None] = {}  # wanted because an event said so, in the order of the events
        self._wanted: dict[Query, None] = {}  # wanted because it is time
        self._resync: frozenset[Query] | None = None
        self._sent_at: dict[Query, float] = {}
        self._ended_at: dict[Query, float] = {}
        self._took: dict[Query, tuple[float, ...]] = {}  # seconds, of the last two
        self._failing: set[Query] = set()  # answered by an error last
        self._dropped: dict[Query, int] = {}
        self._poll_at = inf
        self._polls = 0
        self._polls_to_slow = ceil(SLOW_INTERVAL / poll_interval)
        self.in_flight = InFlight()
        self._follow_ups = 0  # asked in a row
        self._ending = False
        self._quiet_until: float | None = None
        self._took_us: dict[Query, tuple[float, ...]] = {}  # the same, of our own time

    def start(self, now: float, chance: float) -> None:
        """The session was negotiated.  `chance` in [0, 1) spreads the polls of VMs that connected together."""
        self._wanted[QUERY_COMMANDS] = None
        self._poll_at = in_a_slot(now + self._poll_interval * (1 + chance) / 2, self._poll_interval)
        self._polls = int(chance * self._polls_to_slow * RARE)

    def set_available(self, commands: Iterable[str] | None) -> None:
        """QEMU has these commands (None: it would not say, and is taken to have all).  They are wanted now."""
        names = frozenset(query.command for query in self._queries) if commands is None else frozenset(commands)
        self.available = tuple(
            query
            for query in self._queries
            if query.command in names and query.instead_of_newer not in names and self._is_for_this_qemu(query)
        )
        self._settles = _settling(self.available)
        self._resync = frozenset(query for query in self.available if query.every != "event")
        self._wanted.update((query, None) for query in self.available if query in self._resync)

    @property
    def knows_available(self) -> bool:
        """It is known which commands QEMU has."""
        return self._resync is not None

    @property
    def resynced(self) -> bool:
        """Every query of the connect was answered, be it by an error."""
        return self._resync is not None and not self._resync

    @property
    def settled(self) -> bool:
        """Nothing is in flight, and no event waits for the query that settles it."""
        return self.in_flight.query is None and not self._urgent

    def on_event(self, event: str) -> None:
        """An event: the queries that settle it are wanted at once, and a reply on its way may be older than it."""
        if self._ending and event in STAYS:
            self._ending, self._quiet_until = False, None
        for query in self._settles.get(event, ()):
            if query is self.in_flight.query:
                if self._is_needed(query):
                    self._urgent[query] = None
                    self.in_flight.overtaken = True
            elif query not in self._urgent and self._is_needed(query):
                self._urgent[query] = None

    def took_us(self, query: Query, seconds: float) -> None:
        """Reading its answer took so long, in which no other VM was heard: it is asked less often then.

        A reply of thousands of disks takes a third of a second, and an event behind each would have it sent again.
        Once is no evidence: a collection of garbage falls into any of them.
        """
        self._took_us[query] = (*self._took_us.get(query, (0.0,))[-1:], seconds)

    def expect_end(self) -> None:
        """QEMU has announced its end: a query on its way out is no use, and makes QEMU 5.2 abort once in a while."""
        self._ending = True

    def next(self, now: float) -> Query | None:
        """The query to send now, if any; it counts as sent."""
        self._want_what_is_due(now)
        self._give_up(now)
        self._wait_for_the_end(now)
        if self.in_flight.query is not None or self._ending:
            return None
        turns = (self._urgent, self._wanted) if self._follow_ups < MAX_FOLLOW_UPS else (self._wanted, self._urgent)
        for queries in turns:
            for query in tuple(queries):
                if not self._is_needed(query):
                    del queries[query]
                    self._done(query)
                elif now >= self._ready_at(query):
                    self._follow_ups = self._follow_ups + 1 if queries is self._urgent else 0
                    self.ask(query, now)
                    return query
        return None

    def ask(self, query: Query, now: float) -> None:
        """Take note that this query is sent now, be it its turn or not."""
        self._urgent.pop(query, None)
        self._wanted.pop(query, None)
        self._sent_at[query] = now
        self.in_flight.send(query, now)

    def due(self, now: float) -> float:
        """Seconds until `next`, or what is in flight, may have something to say, if nothing happens before."""
        at = inf
        if self.in_flight.query is None:
            at = min((self._ready_at(query) for query in (*self._urgent, *self._wanted)), default=inf)
            at = max(at, self._quiet_until or at)
        return max(0.0, min(at, self.in_flight.due(), self._poll_at) - now)

    def answered(self, query: Query, now: float) -> bool:
        """A reply came: is it still true?  If not, the query is wanted again already.

        One that was overtaken is better than none where QEMU is to have a long rest before it is asked again.
        """
        overtaken = self._end(query, now)
        self._failing.discard(query)
        may_ask_again = self._dropped.get(query, 0) < MAX_OVERTAKEN and self._ready_at(query) - now < PATIENCE
        if overtaken and may_ask_again:
            self._dropped[query] = self._dropped.get(query, 0) + 1
            return False
        self._dropped.pop(query, None)
        self._done(query)
        return True

    def failed(self, query: Query, now: float, took: float | None = None) -> None:
        """An error came instead of a reply: it is not polled as often as others until it is answered.

        `took`: seconds that it has to be taken to cost QEMU, where nobody waited for the end of it.
        """
        self._end(query, now, took)
        self._failing.add(query)
        self._done(query)

    def _want_what_is_due(self, now: float) -> None:
        if now >= self._poll_at:
            self._poll_at = in_a_slot(now + self._poll_interval, self._poll_interval)
            self._polls += 1
            self._wanted.update(dict.fromkeys(query for query in self.available if self._is_polled(query)))

    def _is_polled(self, query: Query) -> bool:
        """With this poll.  The slow cadences are so many polls, so that they wake nobody on their own."""
        if query.poll_while is not None and query.poll_while(self._facts):
            return True
        is_slow = self._polls % self._polls_to_slow == 0
        is_unannounced = not self._hears_events and query.after and not query.reads_images
        match "poll" if is_unannounced else query.every:
            case "poll":
                return is_slow or query not in self._failing
            case "slow":
                return is_slow
            case "rare":
                return self._polls % (self._polls_to_slow * RARE) == 0
        return False

    def _is_for_this_qemu(self, query: Query) -> bool:
        return self._facts.is_qemu(query.since) and not (query.before and self._facts.is_qemu(query.before))

    def _is_needed(self, query: Query) -> bool:
        return query.needed_when is None or query.needed_when(self._facts)

    def _end(self, query: Query, now: float, took: float | None = None) -> bool:
        """The answer came: take note of what it cost QEMU.  True if it was overtaken."""
        self._ended_at[query] = now
        cost = now - self._sent_at.get(query, now) if took is None else took
        self._took[query] = (*self._took.get(query, ())[-1:], cost)
        return self.in_flight.answered(query)

    def _done(self, query: Query) -> None:
        if self._resync:
            self._resync -= {query}

    def _wait_for_the_end(self, now: float) -> None:
        """QEMU has said that it ends.  One that is still there after a while is asked again."""
        if self._ending and self._quiet_until is None:
            self._quiet_until = now + QUIET
        if self._quiet_until is not None and now >= self._quiet_until:
            self._ending, self._quiet_until = False, None

    def _give_up(self, now: float) -> None:
        """No longer wait for a reply that does not come; what the connect needs is asked again."""
        query = self.in_flight.take_stuck(now)
        if query is QUERY_COMMANDS:
            self.set_available(None)
        elif query is not None and self._resync and query in self._resync:
            self._wanted[query] = None

    def _ready_at(self, query: Query) -> float:
        """When QEMU has had its rest from the last one, in proportion to what that took.

        What a query takes may be due to others, whom QEMU's main loop serves as well: the quicker of the last two
        counts.  One that reads memory alone never costs much, however long its answer took to come.
        """
        longest = LONGEST_REST if query.reads_images else min(self._poll_interval, LONGEST_REST_OF_MEMORY)
        rest = min(REST * min(self._took.get(query, (0.0,))), longest)
        ours = min(self._took_us.get(query, (0.0,)))
        if ours > DEAR:
            rest = max(rest, min(ours / OUR_SHARE, LONGEST_OF_OURS))
        return max(self._ended_at.get(query, -inf), self._sent_at.get(query, -inf)) + max(query.spacing, rest)


def in_a_slot(at: float, interval: float) -> float:
    """The beginning of the slot in which this time is; all VMs that are looked at as often have the same slots."""
    return at - at % (interval / SLOTS)


@lru_cache(maxsize=64)
def _settling(queries: tuple[Query, ...]) -> Mapping[str, Sequence[Query]]:
    """What each event makes us ask; one for all VMs that have the same commands."""
    by_event: dict[str, list[Query]] = {}
    for query in queries:
        for event in query.after:
            by_event.setdefault(event, []).append(query)
    return by_event
