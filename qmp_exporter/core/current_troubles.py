"""What is known of a VM, time after time -> the troubles that it has, which of them began, and which are over."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .evidence import Evidence, Past, Values, wanted_by
from .trouble import Condition, Found, OverVms, Trouble

Key = tuple[str, tuple[tuple[str, str], ...]]
PLACEHOLDER = re.compile(r"{{ \$labels\.(\w+) }}")


class Standing(NamedTuple):
    """A trouble that there is.  `since` in seconds since the epoch; `detail`: the disks or the like, in some words."""

    trouble: Trouble
    labels: Mapping[str, str]
    since: float
    detail: str = ""


class Change(NamedTuple):
    """What an update has found to be new."""

    began: Sequence[Standing] = ()
    over: Sequence[Standing] = ()


class _Known:
    """`seen_at` by the clock that never jumps."""

    __slots__ = ("began_at", "is_told", "seen_at", "standing")

    def __init__(self, standing: Standing, now: float) -> None:
        self.standing = standing
        self.began_at = self.seen_at = now
        self.is_told = False


class Tracker:
    """Which troubles there are, by what the conditions yield each time: those that last, kept as long as they are."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}

    def update(self, found: Iterable[tuple[Trouble, Found, str]], now: float, at: float) -> Change:
        """`found`: each trouble that holds now, what it is about, and its detail."""
        for trouble, labels, detail in found:
            key = trouble.name, tuple(labels.items())
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = _Known(Standing(trouble, labels, at, detail), now)
            elif detail != known.standing.detail:
                known.standing = known.standing._replace(detail=detail)
            known.seen_at = now
        if not self._known:
            return _NOTHING
        return Change(tuple(self._began(now)), tuple(self._over(now)))

    @property
    def standing(self) -> list[Standing]:
        """The worst first, and of those the oldest."""
        told = (known.standing for known in self._known.values() if known.is_told)
        return sorted(told, key=lambda one: (one.trouble.severity != "critical", one.since))

    def _began(self, now: float) -> Iterator[Standing]:
        for known in self._known.values():
            if not known.is_told and now - known.began_at >= known.standing.trouble.lasts:
                known.is_told = True
                yield known.standing

    def _over(self, now: float) -> Iterator[Standing]:
        for key, known in tuple(self._known.items()):
            if known.seen_at != now and (not known.is_told or now - known.seen_at >= known.standing.trouble.keeps):
                del self._known[key]
                if known.is_told:
                    yield known.standing


_NOTHING = Change()


class Rows:
    """Rows of the list, and what they have to know of the past; shared by all VMs."""

    def __init__(self, troubles: Iterable[Trouble], more: Iterable[OverVms] = ()) -> None:
        """`more`: conditions over many VMs, which ask about the past of each."""
        self.rows = [(one, one.when) for one in troubles if isinstance(one.when, Condition)]
        self.wanted = wanted_by((*(when for _, when in self.rows), *more))

    def found(self, evidence: Evidence) -> Iterator[tuple[Trouble, Found, str]]:
        for trouble, when in self.rows:
            for labels in when.ask(evidence):
                yield trouble, labels, trouble.detail(evidence) if trouble.detail else ""


class CurrentTroubles:
    """Those of one VM, or of the exporter.  Times as in Evidence."""

    __slots__ = ("_names", "_past", "_rows", "_tracker", "_values")

    def __init__(self, rows: Rows, values: Values, names: Callable[[str], tuple[str, ...]]) -> None:
        self._rows = rows
        self._values = values
        self._names = names
        self._past = Past(rows.wanted)
        self._tracker = Tracker()

    def update(self, now: float, at: float) -> Change:
        self._past.note(self._values, now)
        return self._tracker.update(self._rows.found(self.evidence(now, at)), now, at)

    def evidence(self, now: float, at: float) -> Evidence:
        return Evidence(self._values, self._names, self._past, now, at)

    @property
    def standing(self) -> list[Standing]:
        return self._tracker.standing


def in_words(template: str, labels: Mapping[str, str]) -> str:
    """A text of a row -> what a person reads."""
    return PLACEHOLDER.sub(lambda match: labels.get(match[1], "?"), template)
