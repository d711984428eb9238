"""A VM that was told anything -> whether its page is still one, and how much is kept of what it was told."""

import gc
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.family import MAX_LABEL, OTHER
from qmp_exporter.core.page import Page
from qmp_exporter.core.session import Session
from qmp_exporter.core.vm import Vm


class Told:
    """The samples of one VM in the words of prometheus_client."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm

    def collect(self) -> Iterator[Any]:
        for index, family in enumerate(CATALOG.families):
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            names = [label.name for label in family.labels]
            for labels, value in self._vm.samples.values[index].items():
                metric.add_sample(family.sample_name, {**dict(zip(names, labels, strict=True)), "vm": "web01"}, value)
            if metric.samples:
                yield metric


def page_of(vm: Vm) -> tuple[str, str]:
    """-> its page in both formats, rendered from nothing"""
    page = Page(CATALOG.families)
    page.add("web01", {})
    vm.samples.dirty.update(range(len(CATALOG.families)))
    page.refresh("web01", vm.samples)
    return page.text(), page.text(openmetrics=True)


def check_page(vm: Vm) -> None:
    """The strict parser takes it, and it is to the letter what the library writes."""
    text, openmetrics = page_of(vm)
    text.encode()
    parsed = sum(len(family.samples) for family in parse_openmetrics(openmetrics + "# EOF\n"))
    assert parsed == sum(len(values) for values in vm.samples.values)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Told(vm))
    assert text == generate_latest(registry).decode()
    assert openmetrics == generate_openmetrics(registry).decode().removesuffix("# EOF\n")


def check_series(vm: Vm) -> None:
    """Of each open label no more values than its limit, in all families together, and one for all others."""
    values: dict[str, set[str]] = defaultdict(set)
    limits: dict[str, int] = {}
    for family, samples in zip(CATALOG.families, vm.samples.values, strict=True):
        for position, label in enumerate(family.labels):
            if not label.values and label.limit is not None:
                values[label.name].update(labels[position] for labels in samples)
                limits[label.name] = max(label.limit, limits.get(label.name, 0))
    for name, used in values.items():
        assert len(used - {OTHER}) <= limits[name], name
        assert max(map(len, used), default=0) <= MAX_LABEL


def kept(vm: Vm, session: Session) -> dict[str, int]:
    """What a VM and its session keep beside the samples -> bytes, or characters, by where it is."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    for name, owner in (("facts", vm), ("scheduler", session), ("_counted", vm)):
        _weigh(name, getattr(owner, name), found, seen)
    return {name: weight for name, weight in found.items() if weight}


def _weigh(name: str, value: Any, found: dict[str, int], seen: set[int]) -> None:
    """Depth first, each object once; what is shared by all VMs (the catalog) is no part of this one."""
    if id(value) in seen or type(value).__name__ in {"Query", "Family", "Dispatch"}:
        return
    seen.add(id(value))
    if isinstance(value, str | bytes):
        found[name] = found.get(name, 0) + len(value)
    elif isinstance(value, dict):
        found[name] = found.get(name, 0) + 100 * len(value)
        for key, one in value.items():
            _weigh(name, key, found, seen)
            _weigh(name, one, found, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        found[name] = found.get(name, 0) + 8 * len(value)
        for one in value:
            _weigh(name, one, found, seen)
    elif type(value).__module__.startswith("qmp_exporter"):
        names = [*getattr(value, "__slots__", ()), *getattr(value, "__dict__", ())]
        for one in names:
            _weigh(f"{name}.{one}", getattr(value, one), found, seen)


def resident() -> int:
    """Bytes of memory that this process occupies."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
