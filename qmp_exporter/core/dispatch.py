"""The catalog -> tables that say, for each message, which rows it feeds and how."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, NamedTuple, get_origin

import msgspec
from msgspec import Meta, Raw

from .allow_list import AllowList
from .effects import Effect
from .event_log import Sources
from .family import ANY_EVENT, ANY_REPLY, HOST, LIFECYCLE, Family, Labels, Query, Read, Sample, StateUpdate, Update
from .query_scheduler import QUERY_COMMANDS
from .samples import Samples
from .vm_facts import VmFacts

Apply = Callable[[Samples, int, Iterable[Sample]], None]
Row = tuple[int, Apply, Read[Any]]  # index of the family, what to do with what is read, how to read it
MAX_LISTED = 4096  # elements of a reply; QEMU has no VM with more disks, jobs or vCPUs, and each takes the loop's time


class Feed(NamedTuple):
    """What one kind of payload does: decoded once, taken note of first, then read by each row."""

    decode: Callable[[bytes | Raw], Any] | None
    updates: tuple[Update[Any], ...]
    rows: tuple[Row, ...]

    def read(self, samples: Samples, facts: VmFacts, payload: Any) -> Sequence[Effect]:
        effects: Sequence[Effect] = ()
        for update in self.updates:
            if more := update(payload, facts):
                effects = (*effects, *more)
        for index, apply, read in self.rows:
            apply(samples, index, read(payload, facts))
        return effects


class EveryEvent(NamedTuple):
    """The rows that every event feeds, whichever it is: those that count, and those that tell when it was."""

    counts: tuple[Row, ...]
    moments: tuple[Row, ...]


class Dispatch:
    """Made once from the catalog and shared by all VMs.

    `needs`: families that can count only where QEMU has a certain query; elsewhere they do not stand at 0 either.

    :raise ValueError: the catalog contradicts itself: two families that OpenMetrics would take for one, a row fed by
        a query that nobody asks, an unknown word of LIFECYCLE.
    """

    def __init__(
        self,
        families: tuple[Family, ...],
        queries: tuple[Query, ...],
        updates: tuple[StateUpdate, ...] = (),
        needs: Mapping[str, Query] | None = None,
    ) -> None:
        self.families = families
        self.queries = queries
        self.commands = frozenset(query.command for query in (QUERY_COMMANDS, *queries))
        self.allowed = AllowList((QUERY_COMMANDS, *queries))
        self._replies = frozenset(query.reply for query in (QUERY_COMMANDS, *queries))
        self.host_parts = frozenset(source.part for family in families for source in family.sources if source.part)
        self._check_names()
        self.index = {family.name: index for index, family in enumerate(families)}
        self._label_names = {family.name: tuple(label.name for label in family.labels) for family in families}
        self.event_log = Sources(families)
        self._feeds = self._compile(updates)
        # Events that do nothing but count: what one with the same data did, the next one does again.
        self.only_counted = frozenset(
            name for name, feeds in self._feeds.items() if all(map(_only_counts, feeds)) and name.isupper()
        )
        rows = [row for feed in self.feeds(ANY_EVENT) for row in feed.rows]
        self.every_event = EveryEvent(
            tuple(row for row in rows if row[1] is Samples.count),
            tuple(row for row in rows if row[1] is not Samples.count),
        )
        self._unsaid = {row.name: row.unsaid for row in updates if row.unsaid}
        self._only_told_by = self._sole_replies()
        self.zeros = tuple(
            (index, family) for index, family in enumerate(families) if family.counts_events and family.sources
        )
        self.needs = {
            index: needs[family.name] for index, family in enumerate(families) if needs and family.name in needs
        }
        self.vm_counters = tuple(
            index for index, family in self.zeros if not any(source.name in LIFECYCLE for source in family.sources)
        )
        self.cleared_on_disconnect = tuple(
            index for index, family in enumerate(families) if family.kind == "gauge" and not family.survives_disconnect
        )
        self.counted_by_label: dict[str, list[tuple[int, int]]] = {}  # counters of events, and where each label is
        for index, family in enumerate(families):
            for position, label in enumerate(family.labels):
                if family.counts_events:
                    self.counted_by_label.setdefault(label.name, []).append((index, position))

    def label_names(self, family: str) -> tuple[str, ...]:
        return self._label_names[family]

    def feeds(self, name: str) -> tuple[Feed, ...]:
        return self._feeds.get(name, ())

    def unanswered(self, name: str, samples: Samples, facts: VmFacts) -> None:
        """QEMU answers this query by an error: what it told before holds no longer."""
        if unsaid := self._unsaid.get(name):
            unsaid(facts)
        for index in self._only_told_by.get(name, ()):
            samples.replace(index, ())

    def foreseen(self, family: Family, facts: VmFacts) -> Iterable[Labels]:
        """The combinations of labels under which a counter can be expected to count."""
        if family.only_where and not family.only_where(facts):
            return ()
        return product(*(label.foreseen(facts) for label in family.labels))

    def _check_names(self) -> None:
        seen: dict[str, str] = {}
        for family in self.families:
            bare = family.name.removesuffix("_total")
            if bare in seen:
                raise ValueError(f"{family.name} and {seen[bare]} are one family in OpenMetrics")
            seen[bare] = family.name

    def _sole_replies(self) -> dict[str, list[int]]:
        """The families by the one reply that tells the whole truth about them; some have two, and keep the other's."""
        newer = {query.reply: query.instead_of_newer for query in self.queries}
        told: dict[str, list[int]] = {}
        for index, family in enumerate(self.families):
            names = {source.name for source in family.sources if source.replaces}
            if len({newer.get(name) or name for name in names}) == 1:
                for name in names:
                    told.setdefault(name, []).append(index)
        return told

    def _compile(self, state: tuple[StateUpdate, ...]) -> dict[str, tuple[Feed, ...]]:
        grouped: dict[str, dict[Any, tuple[list[Update[Any]], list[tuple[int, Apply, Read[Any]]]]]] = {}

        def group(name: str, payload: Any) -> tuple[list[Update[Any]], list[tuple[int, Apply, Read[Any]]]]:
            known = name in self._replies or name in LIFECYCLE or name in {ANY_EVENT, ANY_REPLY, HOST} or name.isupper()
            if not known:
                raise ValueError(f"{name}: neither an event, nor a query of the catalog, nor one of {LIFECYCLE}")
            return grouped.setdefault(name, {}).setdefault(payload, ([], []))

        for one in state:
            group(one.name, one.payload)[0].append(one.update)
        for index, family in enumerate(self.families):
            for source in family.sources:
                read = one_hot(family, source.read) if family.onehot else source.read
                apply = _apply(family, replaces=source.replaces)
                group(source.name, source.payload)[1].append((index, apply, read))
        return {
            name: tuple(
                Feed(payload and msgspec.json.Decoder(_bounded(payload)).decode, tuple(updates), tuple(rows))
                for payload, (updates, rows) in by_payload.items()
            )
            for name, by_payload in grouped.items()
        }


def _only_counts(feed: Feed) -> bool:
    return not feed.updates and all(apply is Samples.count for _, apply, _ in feed.rows)


def _bounded(payload: Any) -> Any:
    """A type; a list of more than MAX_LISTED elements is not of it."""
    return Annotated[payload, Meta(max_length=MAX_LISTED)] if get_origin(payload) is list else payload


def _apply(family: Family, *, replaces: bool) -> Apply:
    if replaces:
        return Samples.replace
    return Samples.count if family.kind == "counter" else Samples.put


def one_hot(family: Family, read: Read[Any]) -> Read[Any]:
    """A reader of the state that is -> a reader of all states, 1 for that one and 0 for the others."""
    states = family.labels[-1].values

    def expanded(payload: Any, facts: VmFacts) -> Iterable[Sample]:
        for labels, _ in read(payload, facts):
            current = labels[-1] if labels[-1] in states else "unknown"  # where a list lacks it, all are 0
            for state in states:
                yield (*labels[:-1], state), int(state == current)

    return expanded
