"""A recorded session -> the VM as its monitor told it, or the line that is wrong."""

import json

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.vm import RUN_STATE
from qmp_exporter.core.page import Page
from qmp_exporter.core.replay import RecordingError, replay

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}, "capabilities": []}}
STOP = {"event": "STOP", "timestamp": {"seconds": 1700000000, "microseconds": 0}}
ASKED = {"execute": "query-status", "id": 7}
PAUSED = {"return": {"status": "paused", "running": False}, "id": 7}


def line(message: object, sender: str = "qemu", t: object = 0.5) -> bytes:
    return json.dumps({"t": t, "from": sender, "msg": message}).encode()


def page(*lines: bytes, ended: bool = False) -> str:
    text = Page(CATALOG.families)
    text.add("web01", {})
    text.refresh("web01", replay(CATALOG, lines, ended=ended).vm.samples)
    return text.text()


def test_an_empty_recording_is_a_vm_that_nobody_has_met():
    assert 'qemu_monitor_state{state="connecting",vm="web01"} 1.0' in page()


def test_events_and_replies_are_told_as_they_came():
    told = page(line(GREETING), line(STOP), line(ASKED, "client"), line(PAUSED))
    assert 'qemu_vm_stops_total{vm="web01"} 1.0' in told
    assert 'qemu_vm_state{state="paused",vm="web01"} 1.0' in told


def test_what_somebody_else_asked_is_passed_over():
    told = page(line(GREETING), line({"execute": "query-target", "id": 7}, "client"), line(PAUSED))
    assert "qemu_vm_state" not in told


def test_a_query_that_was_refused_has_no_answer():
    refusal = {"error": {"class": "CommandNotFound", "desc": ""}, "id": 7}
    assert "qemu_vm_state" not in page(line(GREETING), line(ASKED, "client"), line(refusal))


def test_when_all_that_was_asked_is_answered_the_vm_is_up():
    asked_too = line({"execute": "query-uuid", "id": 8}, "client")
    assert 'qemu_up{vm="web01"} 1.0' in page(line(GREETING), line(ASKED, "client"), line(PAUSED))
    assert 'qemu_up{vm="web01"} 0.0' in page(line(GREETING), line(ASKED, "client"), line(PAUSED), asked_too)


def test_after_the_end_gauges_are_gone_and_counters_stay():
    told = page(line(GREETING), line(STOP), line(ASKED, "client"), line(PAUSED), ended=True)
    assert "qemu_vm_state" not in told
    assert 'qemu_vm_stops_total{vm="web01"} 1.0' in told
    assert 'qemu_monitor_disconnects_total{after="none",vm="web01"} 1.0' in told


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"not JSON",
        b"[]",
        b'{"t": 0.5, "from": "qemu"}',
        line(STOP, sender="libvirt"),
        line(STOP, t="now"),
        line({"arguments": {}}, sender="client"),
    ],
    ids=ascii,
)
def test_a_line_that_is_no_record_is_named(wrong):
    with pytest.raises(RecordingError, match=r"^line 2: "):
        page(line(GREETING), wrong)


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (line({"neither": "event", "nor": "reply"}), "line 2: shape: neither event"),
        (line({"event": "WATCHDOG", "data": {"action": 7}}), "line 2: shape: Expected `str`"),
    ],
    ids=ascii,
)
def test_a_bad_message_is_complained_of_and_the_rest_is_told(odd, why):
    complaints = []
    vm = replay(CATALOG, (line(GREETING), odd, line(STOP)), complain=complaints.append).vm
    assert [text[: len(why)] for text in complaints] == [why]
    assert vm.facts[RUN_STATE].hint == STOP["timestamp"]["seconds"]


def test_replies_are_dated_by_the_clock_of_the_events():
    told = page(line(GREETING, t=0.0), line(ASKED, "client", t=1.0), line(PAUSED, t=1.5), line(STOP, t=2.0))
    assert 'qemu_monitor_last_reply_timestamp_seconds{vm="web01"} 1.6999999995e+09' in told
