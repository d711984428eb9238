"""Rows that contradict a rule or each other are refused when the program starts, not when a scrape fails."""

import pytest
from msgspec import Struct

from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.family import OTHER, Label, Query, bare_event, counter, event, gauge, histogram, lifecycle, query
from qmp_exporter.core.read import by, once
from qmp_exporter.core.vm_facts import VmFacts

STATE = Label("state", "Which state.", values=("on", "off"))
DEVICE = Label("device", "Which disk.", limit=2, pattern="[a-z]+[0-9]")


class Payload(Struct):
    state: str


@pytest.mark.parametrize(
    ("name", "help_text"),
    [
        ("stops_total", "Stops."),
        ("qemu_Stops_total", "Stops."),
        ("qemu_stops", "Stops."),
        ("qemu_stops_total", "Stops"),
        ("qemu_stops_total", "stops."),
        ("qemu_stops_total", 'So called "stops".'),
        ("qemu_stops_total", "Stops.\nAnd more."),
        ("qemu_stops_total", ""),
    ],
)
def test_a_counter_with_a_bad_name_or_help_is_refused(name, help_text):
    with pytest.raises(ValueError, match=r"qemu|stops"):
        counter(name, help_text)


def test_a_gauge_by_the_name_of_a_counter_is_refused():
    with pytest.raises(ValueError, match="_total"):
        gauge("qemu_level_total", "Level.")


def test_a_one_hot_gauge_without_a_closed_list_is_refused():
    with pytest.raises(ValueError, match="closed list"):
        gauge("qemu_state", "State.", labels=(DEVICE,), onehot=True)


def test_two_families_that_are_one_in_openmetrics_are_refused():
    families = (counter("qemu_stops_total", "Stops."), gauge("qemu_stops", "Stops."))
    with pytest.raises(ValueError, match="one family"):
        Dispatch(families, ())


def test_a_row_fed_by_a_query_that_nobody_asks_is_refused():
    asked = Query("query-status", Payload)
    row = gauge("qemu_state", "State.", query(asked, once))
    assert Dispatch((row,), (asked,)).commands == {"query-commands", "query-status"}
    with pytest.raises(ValueError, match="query-status"):
        Dispatch((row,), ())


def test_a_row_fed_by_an_unknown_word_of_life_is_refused():
    with pytest.raises(ValueError, match="born"):
        Dispatch((gauge("qemu_up", "Up.", lifecycle("born", once)),), ())


def test_a_counter_copied_from_a_query_does_not_start_at_zero():
    asked = Query("query-status", Payload)
    copied = counter("qemu_reads_total", "Reads.", query(asked, once))
    counted = counter("qemu_stops_total", "Stops.", bare_event("STOP", once))
    assert [family.name for _, family in Dispatch((copied, counted), (asked,)).zeros] == ["qemu_stops_total"]


def test_a_counter_of_what_few_vms_have_starts_at_zero_only_there():
    counted = counter("qemu_stops_total", "Stops.", bare_event("STOP", once), only_where=lambda facts: facts.ending)
    dispatch, facts = Dispatch((counted,), ()), VmFacts()
    assert list(dispatch.foreseen(counted, facts)) == []
    facts.ending = True
    assert list(dispatch.foreseen(counted, facts)) == [()]


def test_the_samples_of_a_histogram_are_its_buckets():
    asked = Query("query-blockstats", Payload)
    row = histogram("qemu_latency_seconds", "Latency.", query(asked, once), labels=(DEVICE,))
    assert row.sample_name == "qemu_latency_seconds_bucket"
    assert [label.name for label in row.labels] == ["device", "le"]


def test_one_payload_is_decoded_once_for_all_its_rows():
    rows = (
        counter("qemu_a_total", "A.", event("MOVED", Payload, by("state")), labels=(STATE,)),
        counter("qemu_b_total", "B.", event("MOVED", Payload, by("state")), labels=(STATE,)),
        counter("qemu_c_total", "C.", bare_event("MOVED", once)),
    )
    assert [len(feed.rows) for feed in Dispatch(rows, ()).feeds("MOVED")] == [2, 1]


def test_a_closed_label_takes_its_values_and_other():
    assert [STATE.clean(value) for value in ("on", "off", "between", "")] == ["on", "off", OTHER, OTHER]


def test_an_open_label_with_a_pattern_takes_what_matches():
    assert [DEVICE.clean(value) for value in ("disk0", "Disk0", "disk0\n", "")] == ["disk0", OTHER, OTHER, OTHER]
