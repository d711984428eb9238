"""The catalog -> the names, types and labels of all metrics, a line for each: what other people's rules depend on."""

from collections.abc import Iterator
from typing import NamedTuple

from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.own_metrics import OWN
from qmp_exporter.core.family import Label


class Promise(NamedTuple):
    """A line of a contract; `labels` have their values if those are a closed list."""

    name: str
    kind: str
    labels: dict[str, frozenset[str]]


def contract() -> str:
    """The lines of this version, sorted."""
    return "".join(f"{line}\n" for line in sorted(_lines()))


def promises(text: str) -> dict[str, Promise]:
    """The lines of a contract, by the name of the metric."""
    return {line.partition(" ")[0]: _promise(*line.split()) for line in text.splitlines()}


def broken(released: Promise, now: Promise | None) -> str:
    """How a promise is not kept, in words; empty if it is.  More values of a label break none."""
    if now is None:
        return f"{released.name} is gone"
    if now.kind != released.kind:
        return f"{released.name} was a {released.kind}, and is a {now.kind}"
    if now.labels.keys() != released.labels.keys():
        return f"{released.name} had the labels {', '.join(released.labels)}, and has {', '.join(now.labels)}"
    for label, values in released.labels.items():
        if missing := values - now.labels[label]:
            return f"{released.name} had {label}={', '.join(sorted(missing))}"
    return ""


def _lines() -> Iterator[str]:
    for family in CATALOG.families:
        yield " ".join((family.name, family.kind, *map(_label, family.labels)))
    for row in OWN:
        yield " ".join((row.name, row.kind, *row.labels))


def _label(label: Label) -> str:
    return f"{label.name}={','.join(label.values)}" if label.values else label.name


def _promise(name: str, kind: str, *labels: str) -> Promise:
    parts = (label.partition("=") for label in labels)
    return Promise(name, kind, {label: frozenset(values.split(",")) - {""} for label, _, values in parts})
