"""The catalog -> the metric reference in Markdown, which is METRICS.md."""

from collections.abc import Iterator

from qmp_exporter.catalog import CATALOG, GROUPS
from qmp_exporter.core.family import ANY_EVENT, ANY_REPLY, HOST, LIFE, Family, Label

_INTRODUCTION = """# Metrics

Generated from the catalog by `qmp-exporter metrics`.

Every sample of a VM carries `vm`, the name of its target, and the labels that the target was given. Counters stay when
the monitor is lost; gauges are what QEMU said last and disappear with it, but for `qemu_up` and `qemu_monitor_state`.
Counters that can be foreseen exist with value 0 as soon as the monitor is connected. A label value outside of its list
becomes `other`, and so does a new value of an open label when a VM has too many series of the metric already. The
exporter's own metrics begin with `qmp_exporter_`, `process_` and `python_`.
"""
MANY = 5  # metrics of one label, beyond which a table is easier to read without their names


def reference() -> str:
    """The whole page."""
    return "\n".join((_INTRODUCTION, *_groups(), *_labels(), *_queries()))


def _groups() -> Iterator[str]:
    for group, families in GROUPS.items():
        yield f"## {group}\n"
        yield "| Metric | Type | Labels | Meaning | Fed by |"
        yield "|---|---|---|---|---|"
        for family in families:
            labels = " ".join(f"`{label.name}`" for label in family.labels)
            yield f"| `{family.name}` | {family.kind} | {labels} | {family.help} | {_fed_by(family)} |"
        yield ""


def _fed_by(family: Family) -> str:
    words = {ANY_EVENT: "every event", ANY_REPLY: "every reply", HOST: "/proc of the process"}
    words |= dict.fromkeys(LIFE, "the connection")
    names = dict.fromkeys(words.get(source.name, f"`{source.name}`") for source in family.sources)
    return ", ".join(names)


def _labels() -> Iterator[str]:
    yield "## Labels\n"
    yield "Counters of events stand at 0 for the values in the last column before anything happened.\n"
    yield "| Label | Of | Meaning | Values | At 0 from the start |"
    yield "|---|---|---|---|---|"
    owners: dict[Label, list[Family]] = {}
    for family in CATALOG.families:
        for label in family.labels:
            owners.setdefault(label, []).append(family)
    for label, families in owners.items():
        values = " ".join(f"`{value}`" for value in label.values) or "open"
        zero = _zero(label) if any(family.counts_events for family in families) else ""
        yield f"| `{label.name}` | {_owners(families)} | {label.help} | {values} | {zero} |"
    yield ""


def _owners(families: list[Family]) -> str:
    """One by one, or the groups they are in where they are many."""
    if len(families) <= MANY:
        return "<br>".join(f"`{family.name}`" for family in families)
    groups = [group for group, members in GROUPS.items() if set(families) & set(members)]
    return f"{len(families)} metrics of {', '.join(groups)}"


def _zero(label: Label) -> str:
    if callable(label.zero):
        return "all that the VM has"
    if label.zero is None:
        return "all" if label.values else "none"
    return " ".join(f"`{value}`" for value in label.zero)


def _queries() -> Iterator[str]:
    yield "## What is asked\n"
    yield "`query-commands` once per connection, and of these what QEMU has; nothing else is ever sent.\n"
    yield "| Command | When | And after |"
    yield "|---|---|---|"
    when = {"connect": "at connect", "poll": "at connect, every poll", "slow": "at connect, every minute at most"}
    for query in CATALOG.queries:
        after = " ".join(f"`{event}`" for event in query.after)
        yield f"| `{query.command}` | {when[query.every]} | {after} |"
    yield ""
