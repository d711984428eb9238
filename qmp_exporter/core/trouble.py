"""The form of a row of the list of troubles: what it is called, when it holds, and what a person should do about it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .evidence import Evidence, wanted_by

Severity = Literal["critical", "warning"]
Found = Mapping[str, str]  # what it is about beside its VM: the labels that the alert has, too


class Lookup(NamedTuple):
    """What the text of an alert asks Prometheus for: `line` for each sample of `expr`, in which %q is a label each."""

    expr: str
    labels: tuple[str, ...]
    line: str


class Condition(NamedTuple):
    """When a trouble holds, on our own state: whatever it yields is one trouble each.

    `counters`, `rates` and `gauges`: the families that it asks about as they were before.
    """

    ask: Callable[[Evidence], Iterable[Found]]
    counters: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    gauges: tuple[str, ...] = ()


class OverVms(NamedTuple):
    """A condition over all VMs of the host; it gets their names with what may be asked about each."""

    ask: Callable[[Mapping[str, Evidence]], Iterable[tuple[Found, str]]]
    counters: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    gauges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """One row: a trouble of a VM, or of the exporter itself.

    `short`: what follows the name of the VM in a list, `first`: what to do first, in a few words.  `meaning` and `todo`
    are templates of Prometheus for alerts, of which only `{{ $labels.… }}` may stand in `todo`; `more` has what no
    label of the alert tells.  `expr` says the same as `when` in PromQL, `reason` why it is written so.  `when` is None
    where Prometheus alone knows.

    `threshold` stands as `$threshold` in `expr` and `meaning`; a site may have another in its alerts.

    Times in seconds.  `lasts`: what holds for less is none.  `wait`: the alert comes later than the page tells, for it
    may be over by then.  `keeps`: it is told for so long after it was over.

    `inhibits`: troubles of the same VM that follow from it, and of which nobody is told beside it.

    `has_own_lines`: the log tells of it by messages that know more.
    """

    name: str
    severity: Severity
    short: str
    first: str
    summary: str
    meaning: str
    todo: str
    expr: str
    when: Condition | OverVms | None
    more: Lookup | None = None
    reason: str = ""
    lasts: int = 0
    wait: int = 0
    keeps: int = 0
    inhibits: tuple[str, ...] = ()
    has_own_lines: bool = False
    detail: Callable[[Evidence], str] | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not self.name.startswith(("QEMU", "QMPExporter")):
            raise ValueError(f"{self.name}: want QEMU… for what is wrong with VMs, QMPExporter… for the exporter")
        if not (self.summary.endswith(".") and "{{" not in self.summary):
            raise ValueError(f"{self.name}: the summary is a sentence without labels, for many alerts may share it")


def condition(
    *, counters: tuple[str, ...] = (), rates: tuple[str, ...] = (), gauges: tuple[str, ...] = ()
) -> Callable[[Callable[[Evidence], Iterable[Found]]], Condition]:
    """Make a condition of a function."""
    return lambda ask: Condition(ask, counters, rates, gauges)


def holds(family: str, **wanted: str) -> Condition:
    """Samples that are not 0 of a gauge, with these labels; the alternatives of a label are divided by |."""
    return Condition(lambda evidence: evidence.those(family, wanted))


def zeros(family: str) -> Condition:
    """Samples of a gauge that are 0."""
    return Condition(lambda evidence: evidence.zeros(family))


def held(family: str, seconds: float, without: tuple[str, ...] = (), **wanted: str) -> Condition:
    """As `holds`, also for so long after the gauge has gone with the monitor."""

    def ask(evidence: Evidence) -> Iterable[Found]:
        for found in evidence.those(family, wanted, lately=seconds):
            yield {name: value for name, value in found.items() if name not in without}

    return Condition(ask, gauges=(family,))


def rose(family: str, seconds: float, by: float = 0, without: tuple[str, ...] = (), **wanted: str) -> Condition:
    """Counters that rose by more than `by` within so many seconds; added up over the labels in `without`."""

    def ask(evidence: Evidence) -> Iterable[Found]:
        return evidence.rises(family, seconds, wanted, by=by, without=without)

    return Condition(ask, counters=(family,))


def any_of(*conditions: Condition) -> Condition:
    """What one of them yields, once."""

    def ask(evidence: Evidence) -> Iterable[Found]:
        seen: list[Found] = []
        for one in conditions:
            seen += [found for found in one.ask(evidence) if found not in seen]
        return seen

    return Condition(ask, *wanted_by(conditions))
