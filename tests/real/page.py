"""The text of a page -> what it says of one VM; an expectation is written in the words of the page itself.

    page = Page(text, {"vm": "web01"})
    page.denials('qemu_vm_running 0')  -> [], or what the page says instead

The labels that every sample of the VM has are left out of expectations. What is true of any page is checked of each.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

ONE_HOT = {
    "qemu_vm_state": "state",
    "qemu_monitor_state": "state",
    "qemu_block_io_status": "status",
    "qemu_block_job_status": "status",
    "qemu_migration_status": "status",
}
LASTING = {"qemu_up", "qemu_monitor_state"}  # all other gauges go when the monitor is lost


class Key(NamedTuple):
    name: str
    labels: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, name: str, labels: dict[str, str]) -> "Key":
        return cls(name, frozenset(labels.items()))

    def __str__(self) -> str:
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels))
        return f"{self.name}{{{labels}}}" if labels else self.name


class Page:
    """Samples of one VM without the labels that all of them have, and those of the exporter about itself."""

    def __init__(self, text: str, common: dict[str, str], *, openmetrics: bool = False) -> None:
        self.text = text
        parse: Callable[[str], Iterable[Metric]] = parse_openmetrics if openmetrics else parse_text
        self.kinds: dict[str, str] = {}
        self._values: dict[Key, float] = {}
        for family in parse(text):
            for sample in family.samples:
                if sample.labels.get("vm", common["vm"]) == common["vm"]:
                    assert "vm" not in sample.labels or common.items() <= sample.labels.items()
                    labels = {name: value for name, value in sample.labels.items() if name not in common}
                    self.kinds[sample.name] = family.type
                    self._values[Key.of(sample.name, labels)] = sample.value
        self._check_one_hot()

    def __getitem__(self, series: str) -> float:
        """`qemu_vm_state{state="paused"}` -> its value"""
        ((key, _),) = _samples(f"{series} 0")
        return self._values[key]

    def family(self, name: str) -> dict[str, float]:
        """A name -> its series as text, and their values"""
        return {str(key): value for key, value in self._values.items() if key.name == name}

    def gauges(self) -> set[str]:
        """-> the gauges that tell of the VM and not of our link to it"""
        names = {name for name, kind in self.kinds.items() if kind == "gauge" and name.startswith("qemu_")}
        return names - LASTING

    def values(self, label: str) -> dict[str, set[str]]:
        """A label -> its values in every metric that has it"""
        found = defaultdict(set)
        for key in self._values:
            for name, value in key.labels:
                if name == label:
                    found[key.name].add(value)
        return dict(found)

    def denials(self, expected: str, absent: Iterable[str] = ()) -> list[str]:
        """Samples as a page writes them, and names it must not have -> what of that is not so"""
        wrong = []
        for key, value in _samples(expected):
            if (actual := self._values.get(key)) != value:
                wrong.append(f"{key} is {'not there' if actual is None else actual}, wanted {value}")
        return wrong + [f"{series} is there" for name in absent for series in self.family(name)]

    def _check_one_hot(self) -> None:
        """One state is 1 and all others are 0."""
        for name, label in ONE_HOT.items():
            sums: dict[frozenset[tuple[str, str]], float] = defaultdict(float)
            for key, value in self._values.items():
                if key.name == name:
                    assert value in {0, 1}
                    sums[frozenset(pair for pair in key.labels if pair[0] != label)] += value
            assert set(sums.values()) <= {1}, f"{name} is not one state but {self.family(name)}"


def _samples(text: str) -> list[tuple[Key, float]]:
    lines = "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())
    return [
        (Key.of(sample.name, sample.labels), sample.value) for family in parse_text(lines) for sample in family.samples
    ]
