"""The form of a board of Grafana, and the queries that boards have in common.

In a query `%H` stands for the matchers of the chosen hosts, `%V` for those of the chosen VMs on them.
"""

from typing import Literal, NamedTuple

TIME = "5m"  # of rates: at least four scrapes a minute apart fit into it


class Panel(NamedTuple):
    """`queries`: what the legend calls it -> PromQL; `width` of 24."""

    kind: Literal["lines", "number", "table", "states"]
    title: str
    help: str
    unit: str
    queries: dict[str, str]
    width: int = 12
    stacked: bool = False


def lines(title: str, help: str, unit: str, queries: dict[str, str], *, stacked: bool = False) -> Panel:
    return Panel("lines", title, help, unit, queries, 12, stacked)


def number(title: str, help: str, query: str) -> Panel:
    return Panel("number", title, help, "short", {"": query}, 4)


def table(title: str, help: str, query: str, width: int = 12, unit: str = "short") -> Panel:
    return Panel("table", title, help, unit, {"": query}, width)


def states(title: str, help: str, query: str) -> Panel:
    return Panel("states", title, help, "short", {"{{state}}": query})


def risen(metric: str, by: str, matchers: str = "%V", window: str = "5m") -> str:
    """How far a counter rose, where it did."""
    return f"sum by ({by}) (increase({metric}{{{matchers}}}[{window}])) > 0"


class Board(NamedTuple):
    """`vm`: whether it is about chosen VMs; `one`: about a single one."""

    uid: str
    title: str
    help: str
    rows: dict[str, tuple[Panel, ...]]
    vm: bool = False
    one: bool = False


def of_storage(value: str) -> str:
    """A value of each disk, added up by the storage that the disks are on."""
    info = "max by (job, instance, vm, device, storage) (qemu_block_info{%H})"
    return f"sum by (storage) ({value} * on (job, instance, vm, device) group_left (storage) {info})"


def by_storage(metric: str) -> str:
    """The rate of a counter of disks, added up by the storage that they are on."""
    return of_storage(f"rate({metric}{{%H}}[{TIME}])")


def latency(operation: str, by: str) -> str:
    """Seconds of a request: time alone would be how busy a disk is."""
    times, counts = f"qemu_block_{operation}_time_seconds_total", f"qemu_block_{operation}s_completed_total"
    if by == "storage":
        return f"{by_storage(times)} / ({by_storage(counts)} > 0)"
    return f"{rate(times, by)} / ({rate(counts, by)} > 0)"


def rate(metric: str, by: str) -> str:
    """Of the chosen VMs."""
    return f"sum by ({by}) (rate({metric}{{%V}}[{TIME}]))"


def top(metric: str) -> str:
    """The VMs of the chosen hosts of which a counter grows fastest."""
    return f"topk(10, sum by (instance, vm) (rate({metric}{{%H}}[{TIME}])))"


FIRING = 'ALERTS{alertname=~"QEMU.*|QMPExporter.*",alertstate="firing"}'
