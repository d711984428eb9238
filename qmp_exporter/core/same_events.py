"""Events of one VM that come again with the same data -> counted again, without being decoded and read again.

In a storm most events are the same but for their time.  This takes a third of what decoding their data and reading
their rows takes.  It is for events that do nothing but count: what one did, the next one does, until names change.
"""

from .dispatch import Dispatch
from .family import Labels
from .samples import Samples
from .vm_facts import VmFacts
from .wire import Event

Counts = tuple[tuple[int, Labels], ...]  # the series that count one more: index of the family, labels
MOST = 32  # of a VM; a peer whose events are never the same must not fill it
LONGEST = 1024  # bytes of data


class SameEvents:
    """What events counted, by their name and data; empty for one that came once so far."""

    __slots__ = ("_counts", "_dispatch", "_generation", "_size")

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._generation = 0
        self.forget()

    def forget(self) -> None:
        """The same data may count otherwise now: a disk has another name, another QEMU tells."""
        self._counts: dict[str, dict[bytes, Counts]] = {}
        self._size = 0

    def count_again(self, event: Event, samples: Samples) -> bool:
        """Whether it was counted, its name included."""
        by_data = self._counts.get(event.name)
        if not by_data:
            return False
        counts = by_data.get(bytes(event.data))
        if not counts:
            return False
        if samples.generation != self._generation:  # a series has ended, it may be one of these
            self.forget()
            return False
        values, dirty = samples.values, samples.dirty
        for index, labels in counts:
            values[index][labels] += 1  # type: ignore[index]  # what has counted is no mapping that VMs share
            dirty.add(index)
        return True

    def learn(self, event: Event, samples: Samples, facts: VmFacts) -> None:
        """It was taken the long way.  The second time, remember what it counts."""
        if event.name not in self._dispatch.only_counted:
            return
        data = bytes(event.data)
        if self._size >= MOST or samples.generation != self._generation:
            self.forget()
            self._generation = samples.generation
        by_data = self._counts.setdefault(event.name, {})
        if data in by_data:
            by_data[data] = self._counted(event, samples, facts)
        elif len(data) <= LONGEST:
            by_data[data] = ()
            self._size += 1

    def _counted(self, event: Event, samples: Samples, facts: VmFacts) -> Counts:
        """Empty where it is not one more of series that exist: what found no room has to be told again."""
        rows = [(index, read(event, facts)) for index, _, read in self._dispatch.every_event.counts]
        for feed in self._dispatch.feeds(event.name):
            payload = None if feed.decode is None else feed.decode(event.data)
            rows += [(index, read(payload, facts)) for index, _, read in feed.rows]
        counted = [(index, labels, amount) for index, changes in rows for labels, amount in changes]
        if any(amount != 1 or labels not in samples.values[index] for index, labels, amount in counted):
            return ()
        return tuple((index, labels) for index, labels, _ in counted)
