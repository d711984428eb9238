"""All that happens to one VM -> its samples, and what was remarkable lately."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Raw

from .budget import Budget
from .command_line import Disk
from .dispatch import Dispatch
from .effects import AnotherVm, Effect, EndAnnounced, LabelChanged
from .event_log import Entry, EventLog
from .family import ANY_REPLY, HOST, Labels, Query
from .process import ProcessInfo
from .same_events import SameEvents
from .samples import Samples, renamings
from .vm_facts import Lifetime, VmFacts
from .wire import BadMessage, Event, Greeting, typed

NOBODY: Labels = ("", "", "")


class Vm:
    """One VM as its monitor tells it, from one session to the next.

    Every method takes `at`, the time it happened in seconds since the epoch, where a row may want it.  Methods that
    read what a peer sent return what is left to do for the session, and each BadMessage after doing everything that
    could still be done.
    """

    def __init__(
        self, dispatch: Dispatch, at: float, series: Budget | None = None, *, hears_events: bool = True
    ) -> None:
        """`series`: what all VMs may have together, beyond what each has for itself.

        `hears_events`: else no counter of events stands at 0, for nobody would count.
        """
        self.hears_events = hears_events
        self._dispatch = dispatch
        self.queries, self.allowed = dispatch.queries, dispatch.allowed
        self.host_parts = dispatch.host_parts
        self._every_event = dispatch.every_event  # looked up once: it is on the way of every event
        self._same = SameEvents(dispatch)
        self._came: tuple[Event, float] | None = None  # the newest event of a read, and when it happened
        self.samples = Samples(dispatch.families, series)
        self.facts = VmFacts()
        self._event_log = EventLog(dispatch.event_log)
        self._available: Collection[Query] = ()  # what the QEMU that is connected may be asked
        self.label_names = dispatch.label_names
        self.monitor_state = ""
        self._identity = NOBODY
        self._counted: dict[int, dict[Labels, float]] = {}  # up to when the monitor was lost last
        self._life("watched", at)
        self.monitor("connecting", at)

    # --- the life of our link to it

    def monitor(self, state: str, at: float) -> bool:
        """The connection state of the monitor: one of the values of qemu_monitor_state.  True if that is new."""
        changed = state != self.monitor_state
        self.monitor_state = state
        if state not in {"connected", "hung", "visited"}:  # events may have come before an attempt failed
            self._forget()
        if changed:
            self._life("monitor", at, state)
        return changed

    def connected(self, greeting: Greeting, at: float) -> None:
        """The session was negotiated."""
        self.facts.version = greeting.version
        self._same.forget()
        self.monitor("connected" if self.hears_events else "visited", at)
        self._life("connected", at, greeting)
        self._event_log.record("connected", self.samples, at)

    def resynced(self, at: float) -> None:
        """Every query of the connect was answered."""
        self._life("resynced", at)

    def disconnected(self, at: float, *, is_detached: bool = False) -> None:
        """What QEMU told us is out of date from now on; what we counted stays.

        `is_detached`: only a manager between us is gone, which is no end of a session of QEMU's.
        """
        self.heard()
        self._available = ()
        self._counted = {index: dict(self.samples.values[index]) for index in self._dispatch.vm_counters}
        self._life("detached" if is_detached else "disconnected", at)
        self._event_log.record("disconnected", self.samples, at)
        self.monitor("connecting", at)

    def started_with(self, disks: Collection[Disk], at: float) -> None:
        """The disks on QEMU's command line, where no query tells of them."""
        self._life("disks", at, disks)

    def process_found(self, at: float) -> None:
        """It is known which process of this host QEMU is."""
        self._life("process", at)

    def exited(self, how: str, at: float) -> None:
        """That process has ended: one of the values of qemu_process_exits_total."""
        self._life("exited", at, how)
        self._event_log.record("exited", self.samples, at)

    # --- what it says

    def event(self, event: Event, at: float) -> Sequence[Effect]:
        """Count it by name, whatever its payload is, and feed the rows that want it."""
        self.facts.at = event.at if event.at > 0 else at
        self._came = event, self.facts.at
        if self._same.count_again(event, self.samples):
            return ()
        for index, apply, read in self._every_event.counts:
            apply(self.samples, index, read(event, self.facts))
        if not event.name.isupper():  # as all of QEMU's are; a broken peer must not speak in the name of a query
            return ()
        effects = self._feed(event.name, event.data)
        if not effects:
            self._same.learn(event, self.samples, self.facts)
        return effects

    def alive(self, query: Query, at: float) -> None:
        """Any answer came, be it an error, or one that is not read because it was overtaken: QEMU does not hang."""
        if self.monitor_state == "hung":
            self.monitor("connected", at)
        self._life(ANY_REPLY, at, query.command)

    def reply(self, query: Query, value: Raw, at: float) -> Sequence[Effect]:
        """The reply to a query."""
        self.facts.at = at
        return self._feed(query.reply, value)

    def failure(self, query: Query) -> None:
        """An error instead of a reply: QEMU has nothing to say to this (any more)."""
        self._dispatch.unanswered(query.reply, self.samples, self.facts)

    def seed(self, available: Collection[Query]) -> None:
        """These queries can be asked.  What can be expected to count stands at 0: its first increase is seen as one."""
        self._available = available
        self._seed()

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
        self._event_log.note(self.samples, self.facts.at)

    # --- what is known of it

    def values(self, family: str) -> Mapping[Labels, float]:
        """The samples of a family by its name; none where the catalog is without it."""
        index = self._dispatch.index.get(family)
        return {} if index is None else self.samples.values[index]

    @property
    def identity(self) -> Labels:
        """Name, UUID and version of QEMU as it said last, also when it is gone: who it was is no state that changes."""
        return next(iter(self.values("qemu_vm_info")), self._identity)

    def moved_at(self, family: str, labels: Labels) -> float | None:
        """When this counter of events moved last, in seconds since the epoch: by the newest message of that read."""
        return self._event_log.last(self._dispatch.index[family], labels)

    def entries(self) -> Iterator[tuple[Entry, Mapping[str, str]]]:
        """What happened lately with its labels, the oldest first."""
        for one in self._event_log.entries:
            names = self._dispatch.families[one.family].labels if one.family >= 0 else ()
            yield one, {label.name: value for label, value in zip(names, one.labels, strict=True)}

    # --- how it is taken

    def _forget(self) -> None:
        self._identity = self.identity
        for index in self._dispatch.cleared_on_disconnect:
            self.samples.clear(index)
        self.facts.forget(Lifetime.SESSION)
        self._came = None
        self.facts.ending = False

    def _feed(self, name: str, payload: Raw) -> Sequence[Effect]:
        """Every row that can read it does; what is left to do for others."""
        left: list[Effect] = []
        effects: list[Effect] = []
        for feed in self._dispatch.feeds(name):
            try:
                read = None if feed.decode is None else typed(feed.decode, payload)
            except BadMessage as bad:
                left = [bad.without_frames()]  # the others of the same message say no more
                continue
            effects += feed.read(self.samples, self.facts, read)
        if self.samples.out_of_range:
            left = [
                BadMessage("range", f"a number of {name} is out of range: {self.samples.out_of_range} is without it")
            ]
            self.samples.out_of_range = ""
        return [*left, *(effect for effect in effects if self._carry_out(effect))]

    def _life(self, name: str, at: float, payload: Any = None) -> None:
        self.facts.at = at
        for feed in self._dispatch.feeds(name):
            for effect in feed.read(self.samples, self.facts, payload):
                self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> bool:
        """Whether the session has something to do as well."""
        match effect:
            case EndAnnounced(is_expected):
                is_news = is_expected and not self.facts.ending
                self.facts.ending = is_expected
                return is_news
            case AnotherVm():
                self._begin_again()
            case LabelChanged():
                self._label_changed(effect)
        return False

    def _begin_again(self) -> None:
        self._identity = NOBODY
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
        if not self.hears_events:
            return
        for index, family in self._dispatch.zeros:
            needed = self._dispatch.needs.get(index)
            if needed is None or needed in self._available:
                self.samples.seed(index, self._dispatch.foreseen(family, self.facts))
