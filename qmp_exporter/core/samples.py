"""One VM's samples by family, and which families changed since they were last rendered."""

from collections.abc import Collection, Iterable

from .family import OTHER, Family, Labels, Sample


class Samples:
    """The numbers in `values[family index][labels]`.

    Looking up labels that are there is all that a hot event costs; what is new is checked, bounded and made printable
    once, when it is born.  Keys are therefore always clean: valid, closed lists closed, never too many.
    """

    __slots__ = ("_families", "dirty", "limited", "values")

    def __init__(self, families: tuple[Family, ...]) -> None:
        self._families = families
        self.values: list[dict[Labels, float]] = [{} for _ in families]
        self.dirty: set[int] = set()
        self.limited = 0  # samples that found their family full

    def count(self, index: int, changes: Iterable[Sample]) -> None:
        """An event: so many more of each."""
        values = self.values[index]
        for labels, amount in changes:
            try:
                values[labels] += amount
            except KeyError:
                clean = self._admit(index, values, labels)
                values[clean] = values.get(clean, 0) + amount
            self.dirty.add(index)

    def put(self, index: int, changes: Iterable[Sample]) -> None:
        """An event: these have a new value."""
        values = self.values[index]
        for labels, value in changes:
            clean = labels if labels in values else self._admit(index, values, labels)
            if values.get(clean) != value:
                values[clean] = value
                self.dirty.add(index)

    def replace(self, index: int, changes: Iterable[Sample]) -> None:
        """A reply: these and no others."""
        old = self.values[index]
        new: dict[Labels, float] = {}
        room = self._families[index].capacity
        for labels, value in changes:
            known = labels in new or (labels in old and len(new) < room)
            new[labels if known else self._admit(index, new, labels)] = value
        if new != old:
            self.values[index] = new
            self.dirty.add(index)

    def seed(self, index: int, foreseen: Iterable[Labels]) -> None:
        """A counter that has not counted yet stands at 0, so that its first increase is seen as one."""
        values = self.values[index]
        for labels in foreseen:
            clean = labels if labels in values else self._admit(index, values, labels)
            if clean not in values:
                values[clean] = 0
                self.dirty.add(index)

    def clear(self, index: int) -> None:
        if self.values[index]:
            self.values[index] = {}
            self.dirty.add(index)

    def rename(self, index: int, position: int, names: dict[str, str]) -> None:
        """What was counted under an old value of the label at `position` goes on under the new one."""
        values = self.values[index]
        for labels in [labels for labels in values if labels[position] in names]:
            amount = values.pop(labels)
            renamed = (*labels[:position], names[labels[position]], *labels[position + 1 :])
            self.count(index, ((renamed, amount),))

    def discount(self, index: int, counted: dict[Labels, float]) -> None:
        """Take back what was counted for somebody else; where nothing is left the series ends."""
        left = {labels: value - counted.get(labels, 0) for labels, value in self.values[index].items()}
        self.values[index] = {labels: value for labels, value in left.items() if value}
        self.dirty.add(index)

    def retire(self, index: int, position: int, known: Collection[str]) -> None:
        """End the series that never counted of what is not there any more; those that did count are history."""
        values = self.values[index]
        for labels in [labels for labels, value in values.items() if not value and labels[position] not in known]:
            del values[labels]
            self.dirty.add(index)

    def _admit(self, index: int, values: dict[Labels, float], labels: Labels) -> Labels:
        """The key under which labels not seen before are kept: printable, closed, bounded."""
        family = self._families[index]
        clean = tuple(label.clean(one) for label, one in zip(family.labels, labels, strict=True))
        if clean in values or len(values) < family.capacity:
            return clean
        self.limited += 1
        return tuple(one if label.values else OTHER for label, one in zip(family.labels, clean, strict=True))
