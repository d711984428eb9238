"""The catalog -> the metric reference in Markdown, which is METRICS.md."""

from collections.abc import Iterator

from qmp_exporter.catalog import ALWAYS, CATALOG, GROUPS, OPTIONAL, without
from qmp_exporter.catalog.cost import costs
from qmp_exporter.catalog.own_metrics import OWN, WEB_PROCESS
from qmp_exporter.core.family import ANY_EVENT, ANY_REPLY, HOST, LIFECYCLE, Family, Label, Query

_INTRODUCTION = """# Metrics

Generated from the catalog by `qmp-exporter metrics`.

Every sample of a VM carries `vm`, the name of its target, and the labels that the target was given. Counters stay when
the monitor is lost; gauges are what QEMU said last and disappear with it, but for `qemu_up` and `qemu_monitor_state`.
Counters that can be foreseen exist with value 0 as soon as the monitor is connected. A label value outside of its list
becomes `other`, and so does a new value of an open label when the VM has as many as it may have, in all metrics
together.
"""

_EXAMPLE = """```yaml
metrics:
  disable: [block_stats, display]
vms:
  - name: web01
    socket: /run/qmp/web01.sock
    metrics:
      disable: []
```
"""


_KVM = """The group `kvm` is empty until the configuration names what is wanted: `metrics: {kvm_stats: [exits]}`.
The names are those that `query-stats-schemas` tells, and that `/sys/kernel/debug/kvm` has; histograms are left out.
"""


EVERYTHING = without(frozenset(), kvm_stats=("exits",))
MANY = 5  # metrics of one label, beyond which a table is easier to read without their names


def reference() -> str:
    """The whole page."""
    return "\n".join((_INTRODUCTION, *_costs(), *_groups(), *_labels(), *_queries(), *_own()))


def _costs() -> Iterator[str]:
    yield "## What it costs\n"
    yield "Series of one VM, by group of metrics, and the queries that are sent for that group alone.\n"
    yield "| Group | Each VM | Each disk | In addition | Queries |"
    yield "|---|---|---|---|---|"
    all_costs = costs()
    for name, cost in all_costs.items():
        yield f"| {name} | {cost.vm} | {cost.disk or ''} | {GROUPS[name].more} | {_spared(name)} |"
    total = (sum(numbers) for numbers in zip(*all_costs.values(), strict=True))
    yield f"| all | {next(total)} | {next(total)} | | |"
    yield ""
    yield f"Every group but `{ALWAYS}` can be switched off, for all VMs or, instead of what holds for all, for one:\n"
    yield _EXAMPLE
    yield "A group that is switched off has no series, and queries that nothing else needs are not sent.\n"
    yield _KVM


def _spared(group: str) -> str:
    kept = without(frozenset({group}), kvm_stats=("exits",)).commands if group in OPTIONAL else EVERYTHING.commands
    return " ".join(dict.fromkeys(f"`{query.command}`" for query in EVERYTHING.queries if query.command not in kept))


def _groups() -> Iterator[str]:
    for group, families in ((group.name, group.families) for group in GROUPS.values()):
        yield f"## {group}\n"
        yield "| Metric | Type | Labels | Meaning | Fed by |"
        yield "|---|---|---|---|---|"
        for family in families:
            labels = " ".join(f"`{label.name}`" for label in family.labels)
            yield f"| `{family.name}` | {family.kind} | {labels} | {family.help} | {_fed_by(family)} |"
        yield ""


def _own() -> Iterator[str]:
    yield "## The exporter about itself\n"
    yield "Beside these there are the `process_` and `python_` metrics of every Prometheus client in Python, of the"
    yield f"process that watches. Those of the process that serves HTTP are called `{WEB_PROCESS}_process_...`.\n"
    yield "| Metric | Type | Labels | Meaning |"
    yield "|---|---|---|---|"
    for row in OWN:
        labels = " ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.help} |"
    yield ""


def _fed_by(family: Family) -> str:
    words = {ANY_EVENT: "every event", ANY_REPLY: "every reply", HOST: "/proc of the process"}
    words |= dict.fromkeys(LIFECYCLE, "the connection") | dict.fromkeys(("disks", "process", "exited"), "the process")
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
        values = " ".join(f"`{value}`" for value in label.values) or _open(label)
        zero = _zero(label) if any(family.counts_events for family in families) else ""
        yield f"| `{label.name}` | {_owners(families)} | {label.help} | {values} | {zero} |"
    yield ""


def _open(label: Label) -> str:
    return "open" if label.limit is None else f"open, at most {label.limit}"


def _owners(families: list[Family]) -> str:
    """One by one, or the groups they are in where they are many."""
    if len(families) <= MANY:
        return "<br>".join(f"`{family.name}`" for family in families)
    groups = [group.name for group in GROUPS.values() if set(families) & set(group.families)]
    return f"{len(families)} metrics of {', '.join(groups)}"


def _zero(label: Label) -> str:
    if callable(label.zero):
        return "all that the VM has"
    if label.zero is None:
        return "all" if label.values else "none"
    return " ".join(f"`{value}`" for value in label.zero)


def _arguments(query: Query) -> str:
    """As they are sent; where they depend on the VM, the expression that they match."""
    if query.arguments_of is not None:
        return f"matching `{query.arguments_of.shape.pattern.decode()}`"
    return f"`{query.arguments.decode()}`" if query.arguments else ""


def _queries() -> Iterator[str]:
    yield "## What is asked\n"
    yield "`query-commands` once per connection, and of these what QEMU has; nothing else is ever sent.\n"
    yield "| Command | Arguments | When | And after |"
    yield "|---|---|---|---|"
    when = {
        "event": "when needed",
        "connect": "at connect",
        "poll": "at connect, every poll",
        "slow": "at connect, every minute at most",
        "rare": "at connect, every 5 minutes at most",
    }
    poll_now = ", every poll while there is reason to"
    for query in EVERYTHING.queries:
        after = " ".join(f"`{event}`" for event in query.after)
        of = f" of {query.of}" if query.of else ""
        asked = when[query.every] + (poll_now if query.poll_while else "")
        since = f", from QEMU {'.'.join(map(str, query.since))}" if query.since else ""
        since += f", before QEMU {'.'.join(map(str, query.before))}" if query.before else ""
        yield f"| `{query.command}`{of} | {_arguments(query)} | {asked}{since} | {after} |"
    yield ""
