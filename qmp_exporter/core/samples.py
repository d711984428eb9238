"""One VM's samples by family, and which families changed since they were last rendered."""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from .budget import Budget, Share
from .family import MAX_VALUE, OTHER, Family, Label, Labels, Sample

LINGER = 300.0  # seconds on the page after the first scrape that came too late: a second Prometheus is to see it, too
MOST_LIMITED = 512  # samples of a reply that find no room and are added up as other; the rest would only cost time
OWN = 1000  # series that a VM may have whatever the others have; one with 4 disks has some 300
SHARED = 1_000_000  # series of all VMs beyond it: half a GB, and a page of 120 MB
MAX_COMMON = 64  # samples of a family that VMs share; a broken peer must not fill what is kept for all


@lru_cache(maxsize=16_384)
def shared(labels: Labels) -> Labels:
    """The same for all VMs, which are alike: the keys are a tenth of what a VM takes."""
    return labels


def alike(samples: tuple[Sample, ...]) -> Mapping[Labels, float]:
    """The same for all VMs that have the same: states, and counters that have not counted yet, are most families."""
    return _common(samples) if len(samples) <= MAX_COMMON else dict(samples)


@lru_cache(maxsize=2048)
def _common(samples: tuple[Sample, ...]) -> Mapping[Labels, float]:
    return MappingProxyType(dict(samples))


NONE = alike(())
STATES = frozenset((0.0, 1.0))


class Samples:
    """The numbers in `values[family index][labels]`; a family with nothing but 0 and 1 is shared with other VMs.

    Looking up labels that are there is all that a hot event costs; what is new is checked, bounded and made printable
    once, when it is born.  Keys are therefore always clean: valid, closed lists closed, never too many.

    The bound of an open label counts its values on all families together: 128 devices are 128, not 128 for each metric.

    What a counter counted of a disk just before it was unplugged must still be seen: such a series is `leaving`, and
    ends some time after a scrape has had it.

    A value that is out of range affects its own sample only, which is absent then.
    """

    __slots__ = (
        "_ended",
        "_families",
        "_known",
        "_leaving",
        "_share",
        "dirty",
        "generation",
        "limited",
        "out_of_range",
        "values",
    )

    def __init__(self, families: tuple[Family, ...], budget: Budget | None = None) -> None:
        self._families = families
        self._share = Share(budget or Budget(SHARED), OWN)
        self.values: list[Mapping[Labels, float]] = [NONE] * len(families)
        self.dirty: set[int] = set()
        self.generation = 0  # how often series have ended
        self.limited = 0  # samples that found no room for a new value of an open label
        self.out_of_range = ""  # the family of a value that was out of range, for the one who looks to reset
        self._known: dict[str, set[str]] = {}  # the values of each open label; some may be gone by now
        self._ended = False  # series ended since they were gathered last
        self._leaving: dict[tuple[int, Labels], float | None] = {}  # when they were scraped first since they are gone

    def count(self, index: int, changes: Iterable[Sample]) -> None:
        """An event: so many more of each."""
        values = self.values[index]
        if not isinstance(values, dict):  # seen to here, for it is on the way of every event
            values = self._own(index)
        for labels, amount in changes:
            try:
                values[labels] += amount
            except KeyError:
                clean = self._admit(index, labels)
                values[clean] = values.get(clean, 0) + amount
            self.dirty.add(index)

    def put(self, index: int, changes: Iterable[Sample]) -> None:
        """An event: these have a new value."""
        values = self._own(index)
        family = self._families[index]
        least = family.least
        for labels, value in changes:
            if not least <= value <= MAX_VALUE:
                self.out_of_range = family.name
                self._end(((index, labels),))
                continue
            clean = labels if labels in values else self._admit(index, labels)
            if values.get(clean) != value:
                values[clean] = value
                self.dirty.add(index)

    def replace(self, index: int, changes: Iterable[Sample]) -> None:
        """A reply: these and no others, but for what is leaving."""
        old = self.values[index]
        new: dict[Labels, float] = {}
        family = self._families[index]
        kind = family.kind
        adds_up = kind != "gauge"  # of two by one name: their sum, or the one that was said last
        least = family.least
        enough = self.limited + MOST_LIMITED
        for labels, value in changes:
            if not least <= value <= MAX_VALUE:
                self.out_of_range = family.name
                continue
            key = labels if labels in old else self._admit(index, labels, new)
            if self.limited > enough:
                break
            new[key] = value + new[key] if adds_up and key in new else value
        if kind == "counter" and (self._leaving or new.keys() != old.keys()):
            self._keep_for_now(index, old, new)
        if len(new) > len(old) and not self._has_room(len(new) - len(old)):
            self.limited += len(new)
            new = {}  # rather none of a family than some of it
        if new != old:
            self._ended |= new.keys() != old.keys()
            self.values[index] = alike(tuple(new.items())) if STATES.issuperset(new.values()) else new
            self.dirty.add(index)

    def seed(self, index: int, foreseen: Iterable[Labels]) -> None:
        """A counter that has not counted yet stands at 0, so that its first increase is seen as one."""
        values = self.values[index]
        new: dict[Labels, float] = {}
        for labels in foreseen:
            clean = labels if labels in values else self._admit(index, labels, new)
            self._leaving.pop((index, clean), None)
            if clean not in values:
                new[clean] = 0
        if new:
            self.values[index] = values | new if isinstance(values, dict) else alike((*values.items(), *new.items()))
            self.dirty.add(index)

    def release(self) -> None:
        """They are nobody's any more: others may have their room, and what still comes gets none."""
        self._share.move(Budget(0))

    def _has_room(self, more: int) -> bool:
        """For a reply; events bring single series, which the limits of labels bound."""
        return self._share.resize(sum(map(len, self.values)) + more)

    def clear(self, index: int) -> None:
        if self.values[index]:
            self.values[index] = NONE
            self._changed(index)

    def rename(self, index: int, position: int, names: Mapping[str, str]) -> None:
        """What was counted under an old value of the label at `position` goes on under the new one."""
        for old, new in renamings(self.values[index], position, names):
            amount = self._own(index).pop(old)
            self._changed(index)
            self.count(index, ((new, amount),))

    def discount(self, index: int, counted: dict[Labels, float]) -> None:
        """Take back what was counted for somebody else; where nothing is left the series ends."""
        left = {labels: value - counted.get(labels, 0) for labels, value in self.values[index].items()}
        self.values[index] = {labels: value for labels, value in left.items() if value}
        self._changed(index)

    def retire(self, index: int, position: int, gone: Collection[str]) -> None:
        """What has one of these values of the label at `position` is leaving."""
        for labels in self.values[index]:
            if labels[position] in gone:
                self._leaving.setdefault((index, labels))

    def leave(self, now: float) -> None:
        """A scrape is about to see these samples: end what others saw long enough ago, in seconds on any clock."""
        if not self._leaving:
            return
        self._end([key for key, since in self._leaving.items() if since is not None and now - since >= LINGER])
        self._leaving = {key: now if since is None else since for key, since in self._leaving.items()}

    def _end(self, leaving: Collection[tuple[int, Labels]]) -> None:
        for index, labels in leaving:
            self._leaving.pop((index, labels), None)
            if self._own(index).pop(labels, None) is not None:
                self._changed(index)

    def _keep_for_now(self, index: int, old: Mapping[Labels, float], new: dict[Labels, float]) -> None:
        """Take over what a reply no longer has; what it has again stays for good."""
        for labels in new:
            self._leaving.pop((index, labels), None)
        for labels in old.keys() - new.keys():
            new[labels] = old[labels]
            self._leaving.setdefault((index, labels))

    def _own(self, index: int) -> dict[Labels, float]:
        """A family's samples, to be changed for this VM alone."""
        values = self.values[index]
        if not isinstance(values, dict):
            values = self.values[index] = dict(values)
        return values

    def _changed(self, index: int) -> None:
        """Series of this family ended."""
        self._ended = True
        self.generation += 1
        self.dirty.add(index)

    def _admit(self, index: int, labels: Labels, coming: Collection[Labels] = ()) -> Labels:
        """The key under which labels not seen before are kept: printable, closed, bounded.

        `coming`: what a reply brought to this family before.
        """
        known = zip(self._families[index].labels, labels, strict=True)
        return shared(tuple(self._bounded(label, label.clean(one), index, coming) for label, one in known))

    def _bounded(self, label: Label, value: str, index: int, coming: Collection[Labels]) -> str:
        if label.limit is None or label.values:
            return value
        known = self._known.setdefault(label.name, set())
        if value in known:
            return value
        if len(known) >= label.limit and (self._ended or self._leaving):
            self._end(tuple(self._leaving))  # what comes has a better claim to the room than what is gone
            self._gather(index, coming)
            known = self._known.setdefault(label.name, set())
        if len(known) >= label.limit:
            self.limited += 1
            return OTHER
        known.add(value)
        return value

    def _gather(self, index: int, coming: Collection[Labels]) -> None:
        """See again which values are in use.  Only when there seem to be too many: it looks at every sample."""
        self._known, self._ended = {}, False
        for number, family in enumerate(self._families):
            keys = (*self.values[number], *coming) if number == index else tuple(self.values[number])
            for position, label in enumerate(family.labels):
                if label.limit is not None and not label.values:
                    self._known.setdefault(label.name, set()).update(key[position] for key in keys)


def renamings(keys: Iterable[Labels], position: int, names: Mapping[str, str]) -> list[tuple[Labels, Labels]]:
    """Keys with an old value of the label at `position`, and what they are under the new one."""
    return [
        (labels, (*labels[:position], names[labels[position]], *labels[position + 1 :]))
        for labels in keys
        if labels[position] in names
    ]
