"""Queries through libvirt -> the messages of a monitor of our own."""

import json

import pytest
from msgspec import Raw

from libvirtd import text
from qmp_exporter.catalog.vm import QUERY_STATUS
from qmp_exporter.core.libvirt import relay
from qmp_exporter.core.libvirt.wire import Domain, Failure, MonitorEvent, Reply, packed
from qmp_exporter.core.protocol import Answer, written
from qmp_exporter.core.wire import BadMessage, Event, Greeting, decode

WEB = Domain("web01", "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab", 1)


def told(document):
    return Reply(1, text(document if isinstance(document, bytes) else json.dumps(document)))


def test_a_command_goes_without_an_id():
    assert relay.monitor_command(WEB, QUERY_STATUS, b"") == packed(WEB) + text('{"execute": "query-status"}') + bytes(4)
    with_arguments = relay.monitor_command(WEB, QUERY_STATUS, b'{"a": 1}')
    assert text('{"execute": "query-status", "arguments": {"a": 1}}') in with_arguments


def test_an_answer_of_qemu_is_one_whatever_its_id():
    answer = relay.answer(QUERY_STATUS, told({"return": {"a": 1}, "id": "libvirt-443"}), 0.5)
    assert (answer.query, bytes(answer.value), answer.error, answer.seconds) == (QUERY_STATUS, b'{"a": 1}', "", 0.5)


def test_an_error_of_qemu_keeps_its_class_and_one_of_libvirt_is_generic():
    failed = told({"id": "libvirt-1", "error": {"class": "DeviceNotActive", "desc": "no"}})
    assert relay.answer(QUERY_STATUS, failed, 0.5) == Answer(QUERY_STATUS, None, "DeviceNotActive", 0.5)
    assert relay.answer(QUERY_STATUS, Failure(1, 68, "locked"), 30) == Answer(QUERY_STATUS, None, "GenericError", 30)


@pytest.mark.parametrize(
    ("payload", "reason"), [(b"\0", "shape"), (text(b"{"), "json"), (text(b'{"error": 1}'), "shape")]
)
def test_what_is_none_is_told(payload, reason):
    bad = relay.answer(QUERY_STATUS, Reply(1, payload), 0.5)
    assert isinstance(bad, BadMessage)
    assert bad.reason == reason


def test_the_version_is_the_greeting():
    version = Answer(relay.QUERY_VERSION, Raw(b'{"qemu": {"major": 7, "minor": 2, "micro": 22}}'), "", 0.1)
    assert relay.greeting(version) == Greeting("7.2.22")
    with pytest.raises(BadMessage):
        relay.greeting(Answer(relay.QUERY_VERSION, None, "GenericError", 0.1))


def test_an_event_has_the_data_that_it_had():
    assert relay.event(MonitorEvent(WEB, "STOP", 1.5, b"")) == Event("STOP", Raw(b"{}"), 1.5)
    assert relay.event(MonitorEvent(WEB, "RESET", 1.5, b'{"guest": true}')) == Event(
        "RESET", Raw(b'{"guest": true}'), 1.5
    )


def test_what_libvirt_knows_is_told_in_the_words_of_qemu():
    assert json.loads(relay.name(WEB)) == {"name": "web01"}
    assert json.loads(relay.uuid(WEB)) == {"UUID": WEB.uuid}
    assert json.loads(relay.commands(QUERY_STATUS)) == [{"name": "query-status"}]


def test_what_was_said_is_told_in_the_lines_of_a_monitor():
    event = MonitorEvent(WEB, "RESET", 1.5, b'{"guest": true}')
    assert decode(relay.event_line(event)) == relay.event(event)
    assert decode(relay.event_line(MonitorEvent(WEB, "STOP", 2.25, b""))) == Event("STOP", Raw(b"{}"), 2.25)
    question = json.loads(written(QUERY_STATUS, b'{"a": 1}', 7))
    assert question == {"execute": "query-status", "id": 7, "arguments": {"a": 1}}
    answered = relay.answer(QUERY_STATUS, told({"return": {"a": 1}, "id": "libvirt-443"}), 0.5)
    assert json.loads(relay.answer_line(answered, 7)) == {"return": {"a": 1}, "id": 7}
    refused = relay.answer(QUERY_STATUS, Failure(1, 68, "locked"), 30)
    assert json.loads(relay.answer_line(refused, 7)) == {"error": {"class": "GenericError", "desc": ""}, "id": 7}
    assert relay.answer_line(relay.answer(QUERY_STATUS, Reply(1, b"\0"), 0.5), 7) == b""
