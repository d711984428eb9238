"""Samples -> text: the same as prometheus_client writes for them, in both formats, whatever is in them."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

from qmp_exporter.core import page as page_module
from qmp_exporter.core.family import MAX_LABEL, Label, counter, gauge, histogram, printable
from qmp_exporter.core.page import Page, number
from qmp_exporter.core.samples import Samples

DEVICE = Label("device", "Which disk.")
OPERATION = Label("operation", "Which operation.", values=("read", "write"))
FAMILIES = (
    counter("qemu_errors_total", "I/O errors, by BLOCK_IO_ERROR.", labels=(OPERATION, DEVICE)),
    gauge("qemu_level", "How full.", labels=(DEVICE,)),
    counter("qemu_stops_total", "Stops."),
    gauge("qemu_zone", "Sorts after vm.", labels=(Label("zone", "Which."),)),
)
LATENCY = histogram("qemu_latency_seconds", "How long.", labels=(DEVICE, OPERATION))
NASTY = [
    '"',
    "\\",
    "\n",
    "\\n",
    '\\"',
    "\ud800",
    "\x00",
    "\x1b[2J",
    "\r\n",
    "\u2028",
    "é",
    "\U0001f427",
    " x ",
    "{}",
    "x" * 10_000,
]

texts = st.sampled_from(NASTY) | st.text() | st.text(st.characters(categories=("Cc", "Cs", "Zl", "Zp")))
floats = st.floats().map(lambda value: value or 0.0)  # minus zero is written as zero, which it equals; no sample is one
numbers = st.integers(-(2**63), 2**63 - 1) | floats | st.integers(0, 3)
names = texts | st.sampled_from(["disk0", "disk1", "disk2"])
VMS = ("web01", 'a"b', "back\\slash", "new\nline")
histories = st.lists(
    st.tuples(
        st.sampled_from(VMS),
        st.sampled_from(["count", "put", "replace", "seed", "clear", "refresh", "forget"]),
        st.integers(0, len(FAMILIES) - 1),
        st.lists(st.tuples(names, st.sampled_from(["read", "write", "erase"]), numbers), max_size=4),
    ),
    max_size=30,
)


class Fleet:
    """Some VMs with their samples and a page of them."""

    def __init__(self) -> None:
        self.page = Page(FAMILIES)
        self.samples: dict[str, Samples] = {}

    def act(self, vm: str, method: str, index: int, changes: list) -> None:
        if vm not in self.samples:
            self.page.add(vm, {"tenant": f"of {vm}"})
            self.samples[vm] = Samples(FAMILIES)
        samples = self.samples[vm]
        cleaned = [
            (labels_of(index, device, operation), countable(value) if FAMILIES[index].kind == "counter" else value)
            for device, operation, value in changes
        ]
        match method:
            case "count" | "put" | "replace":
                getattr(samples, method)(index, cleaned)
            case "seed":
                samples.seed(index, [labels for labels, _ in cleaned])
            case "clear":
                samples.clear(index)
            case "refresh":
                self.page.refresh(vm, samples)
            case "forget":
                self.page.forget(vm)
                del self.samples[vm]

    def text(self, *, openmetrics: bool) -> str:
        for vm, samples in self.samples.items():
            self.page.refresh(vm, samples)
        return self.page.text(openmetrics=openmetrics)

    def collect(self):
        """The same samples in the library's own words, VM by VM in the order of the page."""
        for index, family in enumerate(FAMILIES):
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            label_names = [label.name for label in family.labels]
            metric = kind(family.name, family.help, labels=[*label_names, "vm", "tenant"])
            for vm in self.page._chunks[index]:
                for labels, value in self.samples[vm].values[index].items():
                    metric.add_metric([*labels, vm, f"of {vm}"], value)
            if metric.samples:
                yield metric

    def told_by_the_library(self, *, openmetrics: bool) -> str:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        if openmetrics:
            return generate_openmetrics(registry).decode().removesuffix("# EOF\n")
        return generate_latest(registry).decode()


def labels_of(index: int, device: str, operation: str) -> tuple[str, ...]:
    return {"qemu_errors_total": (operation, device), "qemu_stops_total": ()}.get(FAMILIES[index].name, (device,))


def countable(value: float) -> float:
    """What OpenMetrics lets a counter be."""
    return 0 if math.isnan(value) else abs(value)


def samples_of(families) -> list:
    """Names, labels and values as a parser has them: floats, and NaN equal to itself."""
    return [
        (sample.name, sample.labels, "nan" if math.isnan(sample.value) else float(sample.value))
        for family in families
        for sample in family.samples
    ]


@given(histories)
def test_after_any_history_the_page_is_what_the_library_would_write(history):
    fleet = Fleet()
    for step in history:
        fleet.act(*step)
    for openmetrics in (False, True):
        assert fleet.text(openmetrics=openmetrics) == fleet.told_by_the_library(openmetrics=openmetrics)


@given(histories)
def test_after_any_history_the_page_parses_to_its_samples(history):
    fleet = Fleet()
    for step in history:
        fleet.act(*step)
    text, openmetrics = fleet.text(openmetrics=False), fleet.text(openmetrics=True)
    told = samples_of(fleet.collect())
    assert samples_of(parse_text(text)) == told
    assert samples_of(parse_openmetrics(openmetrics + "# EOF\n")) == told


@given(histories)
def test_a_page_refreshed_now_and_then_is_the_page_made_at_once(history):
    fleet, at_once = Fleet(), Page(FAMILIES)
    for step in history:
        fleet.act(*step)
    seen = fleet.text(openmetrics=False)
    for vm, samples in fleet.samples.items():
        at_once.add(vm, {"tenant": f"of {vm}"})
        samples.dirty.update(range(len(FAMILIES)))
        at_once.refresh(vm, samples)
    assert sorted(at_once.text().splitlines()) == sorted(seen.splitlines())


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text)[:20])
def test_no_label_value_breaks_the_page(text):
    fleet = Fleet()
    fleet.act("web01", "put", 1, [(text, "read", 1)])
    page = fleet.text(openmetrics=False)
    assert page.encode().count(b"\n") == 3
    ((_, labels, value),) = samples_of(parse_text(page))
    assert labels["device"] == printable(text)
    assert len(labels["device"]) <= MAX_LABEL
    assert value == 1


@given(names)
def test_no_name_of_a_vm_and_no_label_of_its_target_breaks_the_page(name):
    page = Page(FAMILIES)
    page.add(name, {"tenant": name})
    samples = Samples(FAMILIES)
    samples.put(1, [(("disk0",), 1)])
    page.refresh(name, samples)
    ((_, labels, _),) = samples_of(parse_text(page.text()))
    assert labels == {"device": "disk0", "tenant": printable(name), "vm": printable(name)}


@given(numbers)
@example(999_999.0)
@example(1_000_000.0)
@example(1e15)
@example(1e16)
@example(123456789012345678)
@example(1795348144.01580)
def test_a_number_is_spelled_as_the_library_spells_it(value):
    assert number(value) == floatToGoString(value)


def test_a_family_without_samples_has_no_header():
    fleet = Fleet()
    fleet.act("web01", "put", 1, [("disk0", "read", 1)])
    fleet.act("web01", "refresh", 1, [])
    fleet.act("web01", "clear", 1, [])
    assert fleet.text(openmetrics=False) == ""


def test_all_samples_of_a_family_stand_together():
    fleet = Fleet()
    for vm in ("web01", "web02"):
        fleet.act(vm, "count", 2, [("", "", 1)])
        fleet.act(vm, "put", 1, [("disk0", "read", 1)])
    text = fleet.text(openmetrics=False)
    assert [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")] == [
        "qemu_level",
        "qemu_level",
        "qemu_stops_total",
        "qemu_stops_total",
    ]


def test_a_forgotten_vm_leaves_the_page():
    fleet = Fleet()
    for vm in ("web01", "web02"):
        fleet.act(vm, "count", 2, [("", "", 1)])
        fleet.act(vm, "refresh", 0, [])
    fleet.act("web01", "forget", 0, [])
    assert "web01" not in fleet.text(openmetrics=False)
    assert "web02" in fleet.text(openmetrics=False)


def test_the_version_goes_up_only_when_the_text_changed():
    fleet = Fleet()
    fleet.act("web01", "put", 1, [("disk0", "read", 1)])
    fleet.act("web01", "refresh", 1, [])
    before = fleet.page.version
    fleet.act("web01", "put", 1, [("disk0", "read", 1)])
    fleet.act("web01", "refresh", 1, [])
    assert fleet.page.version == before
    fleet.act("web01", "put", 1, [("disk0", "read", 2)])
    fleet.act("web01", "refresh", 1, [])
    assert fleet.page.version > before


def test_the_starts_of_lines_that_went_away_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(page_module, "MAX_STARTS", 20)
    fleet = Fleet()
    for job in range(500):
        fleet.act("web01", "replace", 1, [(f"job{job}", "read", 1)])
        fleet.act("web01", "refresh", 1, [])
    assert len(fleet.page._vms["web01"].starts[1]._known) <= 20
    assert 'device="job499"' in fleet.page.text()


bucket_counts = st.lists(st.integers(0, 2**60), min_size=1, max_size=6)


@given(st.dictionaries(st.tuples(names, st.sampled_from(["read", "write"])), bucket_counts, max_size=3))
def test_a_histogram_is_what_the_library_would_write(told):
    page, samples = Page((LATENCY,)), Samples((LATENCY,))
    page.add("web01", {})
    metric = HistogramMetricFamily(LATENCY.name, LATENCY.help, labels=["device", "operation", "vm"])
    buckets = []
    for (device, operation), counts in {(printable(name), one): counts for (name, one), counts in told.items()}.items():
        bounds = [*(number(2.0**power / 1e3) for power in range(len(counts) - 1)), "+Inf"]
        cumulative = [sum(counts[: position + 1]) for position in range(len(counts))]
        metric.add_metric([device, operation, "web01"], list(zip(bounds, cumulative, strict=True)), sum_value=None)
        buckets += [((device, operation, bound), total) for bound, total in zip(bounds, cumulative, strict=True)]
    samples.replace(0, buckets)
    page.refresh("web01", samples)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(type("Told", (), {"collect": lambda _: [metric] if told else []})())
    assert page.text() == generate_latest(registry).decode()
    assert page.text(openmetrics=True) + "# EOF\n" == generate_openmetrics(registry).decode()
    assert samples_of(parse_text(page.text())) == samples_of(parse_openmetrics(page.text(openmetrics=True) + "# EOF\n"))


def test_what_is_made_for_labels_that_no_vm_has_any_more_is_not_kept():
    page = Page(FAMILIES)
    for name in ("tenant", "tier", "rack"):
        page.add("web01", {name: "x"})
        page.forget("web01")
    assert not page._starts
