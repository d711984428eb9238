"""Samples as they come, and a clock -> what they are now, what counted lately, and how fast: what a trouble asks about.

Of a counter the last rises are kept, a few of each series; of one whose rate matters, what it was every two minutes;
of a gauge, what it was before it went with the monitor, and since when and until when it was not 0.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple, Protocol

from .family import Labels

Values = Callable[[str], Mapping[Labels, float]]
Found = dict[str, str]
RISES = 16  # of a series that are kept; nothing asks for as many
SERIES = 256  # of a family whose past is kept; a VM that renames its disks without end must not fill memory
SPACING = 120.0  # seconds between two points of a rate
POINTS = 6  # of a rate: 10 minutes
NONE: Mapping[Labels, float] = {}
Wants = Mapping[str, str]  # labels -> what they may be, divided by |
ANY: Wants = {}


class Wanted(NamedTuple):
    """The names of the families whose past is kept."""

    counters: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    gauges: tuple[str, ...] = ()


class Asks(Protocol):
    """A condition, as far as the past goes: the families of which it asks what they were before."""

    @property
    def counters(self) -> tuple[str, ...]: ...

    @property
    def rates(self) -> tuple[str, ...]: ...

    @property
    def gauges(self) -> tuple[str, ...]: ...


def wanted_by(conditions: Iterable[Asks]) -> Wanted:
    """What has to be kept for all of them, each family once."""
    every = tuple(conditions)
    kinds = (tuple(dict.fromkeys(name for one in every for name in getattr(one, kind))) for kind in Wanted._fields)
    return Wanted(*kinds)


class Rise(NamedTuple):
    """`at` on a clock that never jumps."""

    at: float
    by: float


class LastSeen(NamedTuple):
    """A gauge when it was there last."""

    at: float
    values: Mapping[Labels, float]


class Past:
    """What is kept of the samples of one VM, or of the exporter.  Times are seconds on a clock that never jumps."""

    __slots__ = ("_last", "_points", "_wanted", "gauges", "held_since", "held_until", "rises")

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._last: dict[str, Mapping[Labels, float]] = {}
        self._points: deque[tuple[float, dict[str, dict[Labels, float]]]] = deque(maxlen=POINTS)
        self.rises: dict[str, dict[Labels, deque[Rise]]] = {}
        self.gauges: dict[str, LastSeen] = {}
        self.held_since: dict[str, dict[Labels, float]] = {}  # of those that are not 0 now
        self.held_until: dict[str, dict[Labels, float]] = {}

    def note(self, values: Values, now: float) -> None:
        """The samples as they are now."""
        for name in self._wanted.counters:
            current, last = values(name), self._last.get(name, NONE)
            if current is not last and current != last:
                self._note_rises(name, last, current, now)
                self._last[name] = dict(current)
        for name in self._wanted.gauges:
            if current := values(name):
                self._note_gauge(name, current, now)
        if self._wanted.rates and (not self._points or now - self._points[-1][0] >= SPACING):
            self._points.append((now, {name: dict(values(name)) for name in self._wanted.rates}))

    def rates(self, values: Values, name: str, now: float) -> Iterator[tuple[Labels, float]]:
        """By how much each series grew a second, since the oldest point; a counter that began again is left out."""
        if not self._points:
            return
        began, before = self._points[0]
        if now - began < SPACING:
            return
        for labels, value in values(name).items():
            steps = [point[name].get(labels) for _, point in self._points]
            known = [step for step in steps if step is not None]
            if len(known) == len(steps) and all(one <= two for one, two in pairwise((*known, value))):
                yield labels, (value - before[name][labels]) / (now - began)

    def _note_gauge(self, name: str, current: Mapping[Labels, float], now: float) -> None:
        self.gauges[name] = LastSeen(now, current)
        since = self.held_since.get(name, NONE)
        held = self.held_since[name] = {labels: since.get(labels, now) for labels, value in current.items() if value}
        until = self.held_until.setdefault(name, {})
        until.update(dict.fromkeys(held, now))
        if len(until) > SERIES:
            self.held_until[name] = dict(sorted(until.items(), key=lambda one: one[1])[-SERIES:])

    def _note_rises(self, name: str, last: Mapping[Labels, float], current: Mapping[Labels, float], now: float) -> None:
        for labels, value in current.items():
            was = last.get(labels, 0)
            if value != was and value:
                by = value - was if value > was else value  # one that is lower began again
                self.rises.setdefault(name, {}).setdefault(labels, deque(maxlen=RISES)).append(Rise(now, by))
        rises = self.rises.get(name, {})
        if len(rises) > SERIES:
            self.rises[name] = dict(sorted(rises.items(), key=lambda one: one[1][-1].at)[-SERIES:])


class Evidence:
    """What a condition may ask about one VM, or about the exporter.

    `names`: of the labels of a family.  `at` is the time in seconds since the epoch.
    """

    __slots__ = ("_names", "_past", "at", "now", "values")

    def __init__(
        self, values: Values, names: Callable[[str], tuple[str, ...]], past: Past, now: float, at: float
    ) -> None:
        self.values = values
        self._names = names
        self._past = past
        self.now = now
        self.at = at

    def those(self, family: str, wanted: Wants = ANY, *, lately: float = 0.0) -> list[Found]:
        """Samples that are not 0, with these labels; `lately`: for so many seconds after the family had gone."""
        values = self.values(family)
        if not values and lately:
            last = self._past.gauges.get(family)
            if last is None or self.now - last.at > lately:
                return []
            values = last.values
        named = (self._found(family, labels, wanted) for labels, value in values.items() if value)
        return [found for found in named if found is not None]

    def is_zero(self, family: str) -> bool:
        """A gauge without labels that is there, and 0."""
        return self.values(family).get(()) == 0

    def rises(
        self, family: str, seconds: float, wanted: Wants = ANY, *, by: float = 0, without: tuple[str, ...] = ()
    ) -> list[Found]:
        """Counters that rose by more than `by` within so many seconds; added up over the labels in `without`."""
        sums: dict[tuple[tuple[str, str], ...], float] = {}
        for labels, rises in self._past.rises.get(family, {}).items():
            found = self._found(family, labels, wanted)
            if found is not None:
                key = tuple((name, value) for name, value in found.items() if name not in without)
                sums[key] = sums.get(key, 0) + sum(rise.by for rise in rises if self.now - rise.at < seconds)
        return [dict(key) for key, total in sums.items() if total > by]

    def was(self, family: str, seconds: float, wanted: Wants) -> bool:
        """Whether a gauge was not 0 at some time in so many seconds."""
        until = self._past.held_until.get(family, NONE).items()
        return any(self.now - at <= seconds and self._found(family, labels, wanted) is not None for labels, at in until)

    def holds_since(self, family: str, wanted: Wants) -> Iterator[tuple[Found, float]]:
        """What a gauge that is not 0 is about, and for how many seconds."""
        since = self._past.held_since.get(family, NONE)
        for labels, value in self.values(family).items():
            found = self._found(family, labels, wanted) if value else None
            if found is not None:
                yield found, self.now - since.get(labels, self.now)

    def zeros(self, family: str) -> list[Found]:
        """Samples of a gauge that are 0."""
        return [self.named(family, labels) for labels, value in self.values(family).items() if not value]

    def by_labels(self, family: str) -> Iterator[tuple[Found, float]]:
        """All samples, their labels by name."""
        for labels, value in self.values(family).items():
            yield self.named(family, labels), value

    def named(self, family: str, labels: Labels) -> Found:
        """The labels by name."""
        return dict(zip(self._names(family), labels, strict=True))

    def rates(self, family: str) -> dict[Labels, float]:
        """By how much each series of a counter grew a second, in the last 10 minutes or as long as it is known."""
        return dict(self._past.rates(self.values, family, self.now))

    def _found(self, family: str, labels: Labels, wanted: Wants) -> Found | None:
        """The labels by name; None where they are not what is wanted."""
        found = self.named(family, labels)
        if any(found[name] not in value.split("|") for name, value in wanted.items()):
            return None
        return found
