"""The catalog -> the metric reference in Markdown, which is METRICS.md."""

from collections.abc import Iterator

from qmp_exporter.catalog import CATALOG, GROUPS
from qmp_exporter.core.family import ANY_EVENT, ANY_REPLY, LIFE, Family, Label

_INTRODUCTION = """# Metrics

Generated from the catalog by `qmp-exporter metrics`.

Every sample of a VM carries `vm`, the name of its target, and the labels that the target was given. Counters stay when
the monitor is lost; gauges are what QEMU said last and disappear with it, but for `qemu_up` and `qemu_monitor_state`.
Counters that can be foreseen exist with value 0 as soon as the monitor is connected. A label value outside of its list
becomes `other`. The exporter's own metrics begin with `qmp_exporter_`, `process_` and `python_`.
"""


def reference() -> str:
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
    words = {ANY_EVENT: "every event", ANY_REPLY: "every reply", **dict.fromkeys(LIFE, "the connection")}
    names = dict.fromkeys(words.get(source.name, f"`{source.name}`") for source in family.sources)
    return ", ".join(names)


def _labels() -> Iterator[str]:
    yield "## Labels\n"
    yield "| Label | Of | Meaning | Values | At 0 from the start |"
    yield "|---|---|---|---|---|"
    owners: dict[Label, list[str]] = {}
    for family in CATALOG.families:
        for label in family.labels:
            owners.setdefault(label, []).append(family.name)
    for label, names in owners.items():
        values = " ".join(f"`{value}`" for value in label.values) or f"at most {label.limit} per VM"
        of = "<br>".join(f"`{name}`" for name in names)
        yield f"| `{label.name}` | {of} | {label.help} | {values} | {_zero(label)} |"
    yield ""


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
