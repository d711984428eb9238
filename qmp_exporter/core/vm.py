"""All that happens to one VM -> its samples, and the queries that it makes us want."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from .dispatch import Dispatch
from .effects import AnotherVm, Effect, EndAnnounced, LabelChanged
from .event_log import Entry, EventLog
from .family import ANY_REPLY, HOST, Labels, Query
from .process import ProcessInfo
from .query_scheduler import QUERY_COMMANDS, CommandInfo, QueryScheduler
from .same_events import SameEvents
from .samples import Samples, renamings
from .vm_facts import Lifetime, VmFacts
from .wire import BadMessage, Event, Greeting, typed

_decode_commands = msgspec.json.Decoder(list[CommandInfo]).decode


class Vm:
    """One VM as its monitor tells it.

    Every method takes `at`, the time it happened in seconds since the epoch, where a row may want it.  Methods that
    read what a peer sent raise BadMessage after doing everything that could still be done with it.
    """

    def __init__(
        self, dispatch: Dispatch, poll_interval: float, at: float, unasked: Collection[str] = frozenset()
    ) -> None:
        """`unasked`: queries that are never asked of this VM, whatever it has."""
        self._dispatch = dispatch
        self._every_event = dispatch.every_event  # looked up once: it is on the way of every event
        self._same = SameEvents(dispatch)
        self._came: tuple[Event, float] | None = None  # the newest event of a read, and when it happened
        self.samples = Samples(dispatch.families)
        self.facts = VmFacts()
        self._event_log = EventLog(dispatch.event_log)
        queries = tuple(query for query in dispatch.queries if query.command not in unasked)
        self.scheduler = QueryScheduler(queries, poll_interval, self._poll_now, self._supported, self._needed)
        self.monitor_state = ""
        self._resynced = False
        self._seeded = False
        self._counted: dict[int, dict[Labels, float]] = {}  # up to when the monitor was lost last
        self._life("watched", at)
        self.monitor("connecting", at)

    # --- the life of our link to it

    def monitor(self, state: str, at: float) -> bool:
        """The connection state of the monitor: one of the values of qemu_monitor_state.  True if that is new."""
        changed = state != self.monitor_state
        self.monitor_state = state
        if state not in {"connected", "hung"}:  # events may have come before an attempt failed
            self._forget()
        if changed:
            self._life("monitor", at, state)
        return changed

    def connected(self, greeting: Greeting, at: float, now: float, chance: float) -> None:
        """Negotiated; `now` is on the scheduler's clock, `chance` spreads its polls."""
        self.facts.version = greeting.version
        self._same.forget()
        self.scheduler.start(now, chance)
        if self.facts.ending:  # said while we shook hands, or before a VM that dialled in was watched
            self.scheduler.expect_end()
        self.monitor("connected", at)
        self._life("connected", at, greeting)
        self._event_log.record("connected", self.samples, at)
        self._seeded = False

    def disconnected(self, at: float) -> None:
        """What QEMU told us is hearsay from now on; what we counted stays."""
        self.heard()
        self.scheduler.stop()
        self._resynced = False
        self._counted = {index: dict(self.samples.values[index]) for index in self._dispatch.vm_counters}
        self._life("disconnected", at)
        self._event_log.record("disconnected", self.samples, at)
        self.monitor("connecting", at)

    # --- what it says

    def event(self, event: Event, at: float) -> None:
        """:raise BadMessage: its payload has a wrong shape; it was counted by name all the same."""
        self.facts.at = event.at if event.at > 0 else at
        self._came = event, self.facts.at
        if self._same.count_again(event, self.samples):
            self.scheduler.on_event(event.name)
            return
        for index, apply, read in self._every_event.counts:
            apply(self.samples, index, read(event, self.facts))
        if event.name.isupper():  # as all of QEMU's are; a broken peer must not speak in the name of a query
            try:
                self._feed(event.name, event.data)
            finally:
                self.scheduler.on_event(event.name)  # what it taught us may decide whether to ask
            self._same.learn(event, self.samples, self.facts)

    def reply(self, query: Query, value: Raw, at: float, now: float) -> bool:
        """The reply to a query of the scheduler.  False if it was overtaken by an event and is asked again.

        `now` is on the scheduler's clock.

        :raise BadMessage: it has a wrong shape; the query counts as answered.
        """
        self._alive(query, at)
        try:
            if query is QUERY_COMMANDS:
                self._set_available(query, value, now)
            elif self.scheduler.answered(query, now):
                self._feed(query.reply, value)
            else:
                return False
        finally:
            self._note_resync(at)
        return True

    def failure(self, query: Query, at: float, now: float) -> None:
        """An error instead of a reply: QEMU is alive, and has nothing to say to this (any more)."""
        self._alive(query, at)
        self.scheduler.failed(query, now)
        if query is QUERY_COMMANDS:
            self.scheduler.set_available(None)
        self._dispatch.unanswered(query.reply, self.samples, self.facts)
        self._note_resync(at)

    def hung(self, at: float) -> None:
        """Nothing was answered for long.  The next answer ends it."""
        self.monitor("hung", at)

    def process(self, info: ProcessInfo | None, at: float) -> None:
        """What the host says of QEMU's process; None if it says nothing."""
        self._life(HOST, at, info)

    def heard(self) -> None:
        """All that a read of the monitor brought was taken: what of it is worth to be remembered by its time is."""
        if self._came is not None:
            newest = self.facts.at
            event, self.facts.at = self._came
            for index, apply, read in self._every_event.moments:
                apply(self.samples, index, read(event, self.facts))
            self._came, self.facts.at = None, newest
        self._event_log.look(self.samples, self.facts.at)

    # --- what is known of it

    def values(self, family: str) -> Mapping[Labels, float]:
        """The samples of a family by its name; none where the catalog is without it."""
        index = self._dispatch.index.get(family)
        return {} if index is None else self.samples.values[index]

    def moved_at(self, family: str, labels: Labels) -> float | None:
        """When this counter of events moved last, in seconds since the epoch: by the newest message of that read."""
        return self._event_log.last(self._dispatch.index[family], labels)

    def entries(self) -> Iterator[tuple[Entry, Mapping[str, str]]]:
        """What happened lately with its labels, the oldest first."""
        for one in self._event_log.entries:
            names = self._dispatch.families[one.family].labels if one.family >= 0 else ()
            yield one, {label.name: value for label, value in zip(names, one.labels, strict=True)}

    # --- how it is taken

    def _poll_now(self, query: Query) -> bool:
        return query.poll_while is not None and query.poll_while(self.facts)

    def _supported(self, query: Query) -> bool:
        return self.facts.is_qemu(query.since)

    def _needed(self, query: Query) -> bool:
        return query.needed_when is None or query.needed_when(self.facts)

    def _alive(self, query: Query, at: float) -> None:
        if self.monitor_state == "hung":
            self.monitor("connected", at)
        self._life(ANY_REPLY, at, query.command)

    def _forget(self) -> None:
        for index in self._dispatch.cleared_on_disconnect:
            self.samples.clear(index)
        self.facts.forget(Lifetime.SESSION)
        self._came = None
        self.facts.ending = False

    def _set_available(self, query: Query, value: Raw, now: float) -> None:
        commands = None  # it will not say: an unknown command costs one error reply
        self.scheduler.answered(query, now)
        try:
            commands = [info.name for info in typed(_decode_commands, value)]
        finally:
            self.scheduler.set_available(commands)

    def _feed(self, name: str, payload: Raw) -> None:
        bad = None
        effects: list[Effect] = []
        for feed in self._dispatch.feeds(name):
            try:
                read = None if feed.decode is None else typed(feed.decode, payload)
            except BadMessage as error:
                bad = error
                continue
            effects += feed.read(self.samples, self.facts, read)
        if self.samples.spoilt:
            bad = BadMessage("range", f"a number of {name} is out of range: {self.samples.spoilt} is without it")
            self.samples.spoilt = ""
        for effect in effects:
            self._carry_out(effect)
        if bad is not None:
            raise bad

    def _life(self, name: str, at: float, payload: Any = None) -> None:
        self.facts.at = at
        for feed in self._dispatch.feeds(name):
            for effect in feed.read(self.samples, self.facts, payload):
                self._carry_out(effect)

    def _note_resync(self, at: float) -> None:
        if not self._seeded and self.scheduler.knows_available:
            self._seeded = True
            self._seed()
        if self.scheduler.resynced and not self._resynced:
            self._resynced = True
            self._life("resynced", at)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case EndAnnounced(is_expected):
                if is_expected and not self.facts.ending:
                    self.scheduler.expect_end()
                self.facts.ending = is_expected
            case AnotherVm():
                self._begin_again()
            case LabelChanged():
                self._label_changed(effect)

    def _begin_again(self) -> None:
        self.facts.forget(Lifetime.VM)
        self._same.forget()
        self._event_log.clear()
        for index, counted in self._counted.items():
            self.samples.discount(index, counted)
        self._counted = {}
        self._seed()

    def _label_changed(self, changed: LabelChanged) -> None:
        for index, position in self._dispatch.counted_by_label.get(changed.label, ()):
            self.samples.rename(index, position, changed.renamed)
            self._event_log.rename(index, position, changed.renamed)
            counted = self._counted.get(index, {})
            for old, new in renamings(counted, position, changed.renamed):
                counted[new] = counted.get(new, 0) + counted.pop(old)
            self.samples.retire(index, position, changed.gone)
        self._same.forget()
        self._seed()

    def _seed(self) -> None:
        """What can be expected to count stands at 0, so that its first increase is seen as one."""
        for index, family in self._dispatch.zeros:
            needed = self._dispatch.needs.get(index)
            if needed is None or self.scheduler.is_available(needed):
                self.samples.seed(index, self._dispatch.foreseen(family, self.facts))
