"""The words in which a metric is declared: label, query, source, family."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from .effects import Effect
from .process import Part, ProcessInfo
from .vm_facts import VmFacts

P = TypeVar("P")
Labels = tuple[str, ...]
Sample = tuple[Labels, float]
Read = Callable[[P, VmFacts], Iterable[Sample]]
Update = Callable[[P, VmFacts], Iterable[Effect] | None]
OTHER = "other"  # what a value becomes that a closed list does not have, or that is one too many
MAX_LABEL = 128  # characters; names of disks and jobs are shorter, and a page must not be anybody's to fill
MAX_VALUE = 2**63 - 1  # of what QEMU counts or measures; a guest can make its balloon tell more
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """Any string as a label value: bounded, without what breaks parsers and encoders (controls, lone surrogates)."""
    return _UNPRINTABLE.sub("\ufffd", text[:MAX_LABEL])


@dataclass(frozen=True, slots=True)
class Label:
    """A label, with a sentence about it and where its values come from.

    `values` is the closed list of a QAPI enum; a label without one is open and bounded by `limit` values per VM, in all
    metrics together that have a label of this name (None: the one who makes them sees to it).
    `zero` says for which values a counter exists at 0 before anything happened: all of a closed list unless said
    otherwise, and for an open label those that the VM is known to have.  `pattern` is what an open label's values
    match; one that does not becomes `other`.
    """

    name: str
    help: str
    values: tuple[str, ...] = ()
    zero: tuple[str, ...] | Callable[[VmFacts], tuple[str, ...]] | None = None
    limit: int | None = 128
    pattern: str = ""

    def clean(self, value: str) -> str:
        """A value as it may stand on the page."""
        if self.values:
            return value if value in self.values else OTHER
        if self.pattern and not re.fullmatch(self.pattern, value):
            return OTHER
        return printable(value)

    def foreseen(self, facts: VmFacts) -> tuple[str, ...]:
        if self.zero is None:
            return self.values
        return self.zero(facts) if callable(self.zero) else self.zero


LE = Label("le", "Upper bound of a bucket, in the unit of the metric.", limit=None)  # of histograms

Cadence = Literal["event", "connect", "poll", "slow", "rare"]


class ArgumentsOf(NamedTuple):
    """Arguments that name something of the VM.

    `make` makes them of what is known of the VM.  That comes from its monitor: the allow-list has `shape`, which they
    match as a whole, whatever the monitor said.
    """

    shape: re.Pattern[bytes]
    make: Callable[[VmFacts], bytes]


@dataclass(frozen=True, slots=True, eq=False)  # one of a kind: hashed as itself, which is cheap
class Query:
    """A command that may be sent to a monitor.  The catalog's queries are the allow-list: nothing else leaves.

    `every`: `connect`, at each; then `poll`, with each poll as well; `slow`, each minute, where it touches image files
    or hardly changes; `rare`, every five minutes, where an event announces each change or an operator makes it.
    `event`: only after an event.  `poll_while`: asked with each poll as long as this holds.
    `after`: events that this query settles; a reply that one of them overtook is dropped and asked again.
    `needed_when`: asked only where this holds, at the event or the poll and when it is sent.
    `spacing`: seconds from the answer to the next query at least, so that a storm of events costs QEMU's main loop
    little; where an answer took long it is more (see QueryScheduler).
    `reads_images`: it looks at image files in QEMU's main loop, which takes the longer the more of them a disk has.
    `instead_of_newer`: not sent where QEMU has that newer command.  `since`: not sent to a QEMU before this one.
    `before`: nor to this one and later ones, which have another query of the same reply.
    `example`: a reply with every member that is read; `at_rest`: that of a VM in which nothing goes on, if it differs.
    `arguments`: a JSON object.  `arguments_of`: the same where it depends on the VM.
    `of`: what tells it from others that ask the same command for something else.
    """

    command: str
    returns: Any
    example: Any = None
    at_rest: Any = None
    every: Cadence = "connect"
    after: tuple[str, ...] = ()
    spacing: float = 0.05
    instead_of_newer: str = ""
    poll_while: Callable[[VmFacts], bool] | None = None
    needed_when: Callable[[VmFacts], bool] | None = None
    reads_images: bool = False
    since: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    arguments: bytes = b""
    arguments_of: ArgumentsOf | None = None
    of: str = ""

    @property
    def reply(self) -> str:
        """What its reply is called where rows are fed: the command, and of what where there are several."""
        return f"{self.command} of {self.of}" if self.of else self.command

    def arguments_for(self, facts: VmFacts) -> bytes:
        """As they are sent to this VM; empty where there are none."""
        return self.arguments_of.make(facts) if self.arguments_of else self.arguments


class Source(NamedTuple):
    """What feeds a row: `name` is an event, a reply, or a word of the link's own life (`connected` ...)."""

    name: str
    payload: Any  # the type to decode into; None: the payload is not looked at
    read: Read[Any]
    replaces: bool  # its rows tell the whole truth about the family, as those of a reply do; else one change to it
    part: Part | None = None  # what is read of the host for it


class StateUpdate(NamedTuple):
    """A row that feeds no metric, but what other rows read.  It runs before them, and tells what else it means.

    `unsaid`: what to do where a query that told it before is answered by an error now.
    """

    name: str
    payload: Any
    update: Update[Any]
    unsaid: Callable[[VmFacts], None] | None = None


ANY_EVENT = "any event"
ANY_REPLY = "any reply"
HOST = "the host"
LIFECYCLE = (
    "watched",
    "monitor",
    "connected",
    "resynced",
    "disconnected",
    "detached",
    "disks",
    "process",
    "exited",
)


def event(name: str, payload: type[P], read: Read[P]) -> Source:
    return Source(name, payload, read, replaces=False)


def bare_event(name: str, read: Read[None]) -> Source:
    """An event whose name says it all: its payload, if it has any, is not looked at."""
    return Source(name, None, read, replaces=False)


def query(asked: Query, read: Read[Any], shape: Any = None) -> Source:
    """`shape`: what to decode the reply into, where these rows read other members of it than all others do."""
    return Source(asked.reply, shape or asked.returns, read, replaces=True)


def host(part: Part, read: Read[ProcessInfo | None]) -> Source:
    """What the host's kernel says of QEMU's process; None where it says nothing.  `part`: what must be read for it."""
    return Source(HOST, None, read, replaces=True, part=part)


def lifecycle(name: str, read: Read[Any]) -> Source:
    """Something that happened to our link rather than to the VM: one of LIFECYCLE."""
    return Source(name, None, read, replaces=False)


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the catalog: a metric and what feeds it.

    `onehot`: the last label holds a state; `read` yields the state that is, and every other one becomes 0.
    `lasting`: a gauge about our link, which stays when the monitor is lost.
    `signed`: a gauge that may be below 0; of any other a value below 0 is left out.
    `only_where`: a counter that starts at 0 only where this holds: few VMs have what it is about.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[Label, ...]
    sources: tuple[Source, ...]
    onehot: bool = False
    survives_disconnect: bool = False
    signed: bool = False
    only_where: Callable[[VmFacts], bool] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"qemu_[a-z0-9_]+", self.name):
            raise ValueError(f"{self.name}: want qemu_ and lower case")
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only they, end in _total")
        if not re.fullmatch(r'[A-Z0-9][^"\\\n]*\.', self.help):
            raise ValueError(f"{self.name}: help is one sentence with its full stop, without quotes or backslashes")
        if self.onehot and not (self.labels and self.labels[-1].values):
            raise ValueError(f"{self.name}: the last label of a one-hot gauge is a closed list")

    @property
    def counts_events(self) -> bool:
        """Counted by us: still true when the VM is out of reach, and foreseeable combinations start at 0."""
        return self.kind == "counter" and not any(source.replaces for source in self.sources)

    @property
    def least(self) -> int:
        """The lowest value that can be true; MAX_VALUE is the highest."""
        return -MAX_VALUE if self.signed else 0

    @property
    def sample_name(self) -> str:
        """A histogram is its buckets: OpenMetrics has no count without a sum, and QEMU tells none."""
        return f"{self.name}_bucket" if self.kind == "histogram" else self.name


@dataclass(frozen=True)
class Group:
    """One subject of the catalog: what can be switched off, and costs what it costs, as a whole.

    `queries` are asked for it, be it alone or among others.  `updates` learn what its rows read, and nobody else needs.
    `events`: an example of the data of each event whose data it reads.  `of_a_machine`: a qemu-storage-daemon has none
    of it.  `more`: what it costs in addition to so much for each VM and disk.
    """

    name: str
    families: tuple[Family, ...]
    queries: tuple[Query, ...] = ()
    updates: tuple[StateUpdate, ...] = ()
    events: Mapping[str, Any] = field(default_factory=dict)
    of_a_machine: bool = False
    more: str = ""


def counter(
    name: str,
    help: str,  # noqa: A002  the exposition format's own word
    *sources: Source,
    labels: tuple[Label, ...] = (),
    only_where: Callable[[VmFacts], bool] | None = None,
) -> Family:
    return Family("counter", name, help, labels, sources, only_where=only_where)


def histogram(name: str, help: str, *sources: Source, labels: tuple[Label, ...] = ()) -> Family:  # noqa: A002  the exposition format's own word
    """Its rows yield buckets: the last label is `le`, the values are cumulative and end with that of +Inf."""
    return Family("histogram", name, help, (*labels, LE), sources)


def gauge(
    name: str,
    help: str,  # noqa: A002  the exposition format's own word
    *sources: Source,
    labels: tuple[Label, ...] = (),
    onehot: bool = False,
    survives_disconnect: bool = False,
    signed: bool = False,
) -> Family:
    return Family("gauge", name, help, labels, sources, onehot, survives_disconnect, signed)
