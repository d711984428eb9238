"""A VM's counters after each read of its monitor -> what happened lately, and when each of them moved last.

Events are not looked at one by one: a storm brings hundreds with each read, and all that is worth telling of them is
in the counters that they moved.  That costs a read some microseconds, an event of a storm nothing, and what is told
here can never disagree with the page.  The price is that all that one read brought has the time of its newest message.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from .family import ANY_EVENT, Family, Labels
from .samples import Samples, renamings

KEPT = 16  # happenings of a VM: some 2 KiB
BURST = 60.0  # seconds; what happens again within them is the same happening once more


class Entry:
    """An event, or a word of LIFECYCLE, that came `count` times with the same labels between `since` and `last`."""

    __slots__ = ("count", "event", "family", "labels", "last", "since")

    def __init__(self, event: str, family: int, labels: Labels, count: float, at: float) -> None:
        self.event = event
        self.family = family  # whose labels they are; -1 where there are none
        self.labels = labels
        self.count = count
        self.since = self.last = at


class Sources:
    """Which counter counts all events by name, and which one says most about each of them; shared by all VMs."""

    def __init__(self, families: tuple[Family, ...]) -> None:
        self.events: int | None = None
        self.detail: dict[str, int] = {}
        for index, family in enumerate(families):
            if not family.counts_events:
                continue
            for source in family.sources:
                known = self.detail.get(source.name)
                if source.name == ANY_EVENT:
                    self.events = index
                elif family.labels and (known is None or len(families[known].labels) < len(family.labels)):
                    self.detail[source.name] = index


class _Moved(NamedTuple):
    value: float
    at: float


_NEVER = _Moved(0, 0)


class EventLog:
    """`entries` are at most KEPT, in the order in which they began."""

    __slots__ = ("_events", "_moved", "_sources", "entries")

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.clear()

    def clear(self) -> None:
        self.entries: list[Entry] = []
        self._events: dict[Labels, float] = {}
        self._moved: dict[int, dict[Labels, _Moved]] = {}

    def note(self, samples: Samples, at: float) -> None:
        """The monitor was read; `at` is the time of the newest message."""
        if self._sources.events is None or samples.values[self._sources.events] == self._events:
            return
        events = samples.values[self._sources.events]
        came = {
            labels[0]: more for labels, count in events.items() if (more := count - self._events.get(labels, 0)) > 0
        }
        self._events = dict(events)
        counters = [self._sources.detail.get(name) for name in came]
        for counter, (name, count) in zip(counters, came.items(), strict=True):
            # Two events that one counter counts: which of its series is whose is not known.
            self.record(name, samples, at, count, alone=counters.count(counter) == 1)

    def record(self, event: str, samples: Samples, at: float, count: float = 1, *, alone: bool = True) -> None:
        """Take note of an event, or of a word of LIFECYCLE, that moved its counters by `count`."""
        family = self._sources.detail.get(event, -1)
        moves = self._moves(family, samples, at) if family >= 0 else []
        if alone and moves:
            for labels, times in moves:
                self._note(event, family, labels, times, at)
        else:
            self._note(event, -1, (), count, at)

    def last(self, family: int, labels: Labels) -> float | None:
        """When this counter moved last."""
        moved = self._moved.get(family, {}).get(labels)
        return moved and moved.at

    def rename(self, family: int, position: int, names: Mapping[str, str]) -> None:
        """As in Samples: what was counted under an old value of a label goes on under the new one."""
        moved = self._moved.get(family)
        if not names or not moved:
            return
        for old, new in renamings(moved, position, names):
            was, known = moved.pop(old), moved.get(new, _NEVER)
            moved[new] = _Moved(was.value + known.value, max(was.at, known.at))
        for one in self.entries:
            if one.family == family and one.labels[position] in names:
                one.labels = (*one.labels[:position], names[one.labels[position]], *one.labels[position + 1 :])

    def _moves(self, family: int, samples: Samples, at: float) -> list[tuple[Labels, float]]:
        """The series of a counter that moved since it was looked at last, and how far.

        One that is lower than it was belongs to a disk that was unplugged and came back: it began again.
        """
        before = self._moved.get(family, {})
        now = self._moved[family] = {}
        moves = []
        for labels, value in samples.values[family].items():
            was = before.get(labels, _NEVER)
            if value and value != was.value:
                moves.append((labels, value - was.value if value > was.value else value))
                now[labels] = _Moved(value, at)
            elif value:
                now[labels] = was
        return moves

    def _note(self, event: str, family: int, labels: Labels, count: float, at: float) -> None:
        for one in reversed(self.entries):
            if one.event == event and one.labels == labels:
                if abs(at - one.last) > BURST:
                    break
                one.count += count
                one.last = at
                return
        if len(self.entries) == KEPT:
            self._make_room()
        self.entries.append(Entry(event, family, labels, count, at))

    def _make_room(self) -> None:
        """The oldest of what came most often goes, so that no event can push out the others."""
        ((event, _),) = Counter(one.event for one in self.entries).most_common(1)
        del self.entries[next(index for index, one in enumerate(self.entries) if one.event == event)]
