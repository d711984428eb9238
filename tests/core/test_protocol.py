"""Bytes of a monitor, cut anywhere -> its messages; the handshake, the ids of queries and what may be sent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.catalog.vm import QUERY_NAME, QUERY_STATUS, QUERY_UUID
from qmp_exporter.core.allow_list import AllowList
from qmp_exporter.core.budget import Budget
from qmp_exporter.core.family import ArgumentsOf, Query
from qmp_exporter.core.protocol import (
    FIRST_WORDS,
    GREETING_DEADLINE,
    MAX_ASKED,
    NEGOTIATION_DEADLINE,
    Answer,
    LateAnswer,
    NotAllowed,
    Protocol,
    Refusal,
)
from qmp_exporter.core.wire import BadMessage, Event, Greeting

GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}\r\n'
)
NEGOTIATED = b'{"return": {}, "id": 0}\r\n'
FLAT = Query("query-name", dict, arguments=b'{"flat": true}')
OF_A_DISK = Query(
    "qom-get",
    dict,
    arguments_of=ArgumentsOf(re.compile(rb'\{"path":"/disks/[a-z0-9]+"\}'), lambda _facts: b'{"path":"/disks/a"}'),
)
ALLOWED = AllowList((QUERY_STATUS, QUERY_NAME, FLAT, OF_A_DISK))


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(ALLOWED, now=100.0)


@pytest.fixture
def opened(protocol: Protocol) -> Protocol:
    protocol.receive(GREETING + NEGOTIATED, 100.0)
    protocol.take_bytes_to_send()
    return protocol


def told(protocol: Protocol, *lines: bytes, now: float = 100.0) -> list[str]:
    """What each message is, in a word."""
    words = []
    for message in protocol.receive(b"".join(line + b"\r\n" for line in lines), now):
        match message:
            case Event(name=name):
                words.append(name)
            case Answer(query):
                words.append(query.command)
            case BadMessage(reason=reason):
                words.append(reason)
            case _:
                words.append(type(message).__name__)
    return words


def test_the_greeting_is_answered_and_told_when_the_negotiation_is_done(protocol):
    assert protocol.receive(GREETING, 100.0) == []
    assert protocol.take_bytes_to_send() == b'{"execute": "qmp_capabilities", "id": 0}'
    assert not protocol.is_open
    assert protocol.receive(NEGOTIATED, 100.0) == [Greeting("10.0.2")]
    assert protocol.is_open
    assert protocol.take_bytes_to_send() == b""


def test_events_are_told_before_the_greeting_during_the_negotiation_and_after_it(protocol):
    stream = b'{"event": "A"}\r\n' + GREETING + b'{"event": "B"}\r\n' + NEGOTIATED + b'{"event": "C"}\r\n'
    assert told(protocol, stream.rstrip()) == ["A", "B", "Greeting", "C"]


def test_each_step_of_the_handshake_has_its_deadline(protocol):
    assert protocol.deadline == 100.0 + GREETING_DEADLINE
    assert protocol.silence() == ("busy", "no greeting within 5 s: another client holds the monitor")
    protocol.receive(GREETING, 103.0)
    assert protocol.deadline == 103.0 + NEGOTIATION_DEADLINE
    assert protocol.silence() == ("error", "greeted, but did not negotiate within 10 s")
    protocol.receive(NEGOTIATED, 104.0)
    assert protocol.deadline is None


def test_a_peer_that_speaks_another_protocol_is_quoted(protocol):
    protocol.receive(b"SSH-2.0-OpenSSH_9.2\r\n" * 100, 100.0)
    assert protocol.silence()[0] == "error"
    assert "SSH-2.0-OpenSSH_9.2" in protocol.silence()[1]
    assert len(protocol.first_words) == FIRST_WORDS


def test_a_refused_negotiation_is_told_and_the_session_does_not_open(protocol):
    assert told(protocol, GREETING.rstrip(), b'{"error": {"class": "GenericError"}, "id": 0}') == ["Refusal"]
    assert not protocol.is_open


def test_a_session_that_the_client_before_us_has_negotiated_is_open(protocol):
    already_complete = b'{"error": {"class": "CommandNotFound", "desc": "already complete"}, "id": 0}'
    assert told(protocol, GREETING.rstrip(), already_complete) == ["Greeting"]
    assert protocol.is_open


def test_an_answer_to_the_negotiation_before_the_greeting_opens_nothing(protocol):
    assert told(protocol, NEGOTIATED.rstrip()) == ["unexpected"]
    assert not protocol.is_open


def test_a_second_greeting_is_no_message_that_a_monitor_sends(opened):
    assert told(opened, GREETING.rstrip()) == ["unexpected"]


def test_a_query_is_one_line_without_a_newline_and_with_its_arguments(opened):
    opened.ask(QUERY_STATUS, 100.0)
    assert opened.take_bytes_to_send() == b'{"execute": "query-status", "id": 1}'
    opened.ask(FLAT, 100.0)
    assert opened.take_bytes_to_send() == b'{"execute": "query-name", "id": 2, "arguments": {"flat": true}}'


@pytest.mark.parametrize("command", ["quit", "query-rx-filter", "query-uuid", "system_reset"])
def test_what_is_not_allowed_is_never_among_the_bytes_to_send(opened, command):
    with pytest.raises(NotAllowed, match=command):
        opened.ask(Query(command, dict), 100.0)
    assert opened.take_bytes_to_send() == b""


@pytest.mark.parametrize(
    "query",
    [
        Query("query-status", dict, arguments=b'{"x": 1}'),
        Query("query-name", dict, arguments=b'{"flat": false}'),
        Query("qom-get", dict, arguments=b'{"path":"/disks/a"}, "x": {'),
        Query("qom-get", dict, arguments=b'{"path":"/disks/a","property":"secret"}'),
        Query("qom-get", dict, arguments=b'{"path":"/disks/A"}\n'),
        Query("qom-get", dict),
    ],
    ids=lambda query: query.arguments.decode(),
)
def test_an_allowed_command_with_other_arguments_is_never_among_the_bytes_to_send(opened, query):
    with pytest.raises(NotAllowed, match=query.command):
        opened.ask(query, 100.0)
    assert opened.take_bytes_to_send() == b""


def test_arguments_that_depend_on_the_vm_are_sent_if_they_have_the_shape(opened):
    opened.ask(OF_A_DISK, 100.0, b'{"path":"/disks/b7"}')
    assert opened.take_bytes_to_send() == b'{"execute": "qom-get", "id": 1, "arguments": {"path":"/disks/b7"}}'
    with pytest.raises(NotAllowed, match="/secrets"):
        opened.ask(OF_A_DISK, 100.0, b'{"path":"/secrets/b7"}')


def test_what_is_allowed_later_can_be_sent_from_then_on(opened):
    opened.allow(AllowList((QUERY_UUID,)), Budget(0))
    opened.ask(QUERY_UUID, 100.0)
    assert b"query-uuid" in opened.take_bytes_to_send()


def test_answers_are_matched_by_id_in_whatever_order_they_come(opened):
    opened.ask(QUERY_STATUS, 100.0)
    opened.ask(QUERY_NAME, 101.0)
    name, status = opened.receive(
        b'{"return": {}, "id": 2}\r\n{"error": {"class": "GenericError"}, "id": 1}\r\n', 103.0
    )
    assert (name.query, bytes(name.value), name.seconds) == (QUERY_NAME, b"{}", 2.0)
    assert status == Answer(QUERY_STATUS, None, "GenericError", 3.0)


def test_an_error_without_a_class_is_an_error_all_the_same(opened):
    opened.ask(QUERY_STATUS, 100.0)
    assert opened.receive(b'{"error": {}, "id": 1}\r\n', 100.0) == [Answer(QUERY_STATUS, None, "unknown", 0.0)]


def test_of_two_answers_to_one_query_the_second_is_late(opened):
    opened.ask(QUERY_STATUS, 100.0)
    assert told(opened, b'{"return": {}, "id": 1}', b'{"return": {}, "id": 1}') == ["query-status", "LateAnswer"]


def test_a_query_that_was_given_up_can_still_be_answered_but_not_for_ever(opened):
    for _ in range(MAX_ASKED + 1):
        opened.ask(QUERY_STATUS, 100.0)
    assert opened.receive(b'{"return": {}, "id": 1}\r\n', 100.0) == [LateAnswer(1)]
    assert told(opened, b'{"return": {}, "id": 2}') == ["query-status"]


@pytest.mark.parametrize("identifier", [b"0", b"2", b"-1", b'"1"', b"null", b"99999999999999999999"])
def test_an_answer_to_nothing_that_was_asked_is_bad(opened, identifier):
    opened.ask(QUERY_STATUS, 100.0)
    assert told(opened, b'{"return": {}, "id": %s}' % identifier)[0] in {"unexpected", "shape"}


def test_bad_lines_are_told_and_what_comes_after_them_is_read(opened):
    assert told(opened, b"{", b'{"event": "\xff"}', b"[]", b'{"event": "STOP"}') == ["json", "utf8", "shape", "STOP"]


def test_a_line_that_is_too_long_is_told_once():
    protocol = Protocol(ALLOWED, 100.0, max_line=1000)
    assert told(protocol, b"{" + b" " * 5000 + b"}", b'{"event": "STOP"}') == ["STOP", "size"]


def test_a_stream_that_ends_inside_a_message_is_bad_and_one_that_ends_after_it_is_not(opened):
    assert opened.end() is None
    opened.receive(b'{"event": ', 100.0)
    assert opened.end().reason == "truncated"


def test_what_is_told_as_bad_keeps_no_frame_of_ours_alive(opened):
    (bad,) = opened.receive(b"{\r\n", 100.0)
    assert (bad.__traceback__, bad.__context__) == (None, None)


STREAM = b"".join(
    [b'{"event": "A"}\r\n', GREETING, NEGOTIATED, b'{"event": "B"}\r\n', b"rubbish\r\n", b'{"return": {}, "id": 9}\r\n']
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_it_means_the_same_however_it_is_cut(cuts):
    protocol, words = Protocol(ALLOWED, 0.0), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(STREAM)], strict=True):
        words += [type(message).__name__ for message in protocol.receive(STREAM[start:end], 0.0)]
    assert words == ["Event", "Greeting", "Event", "BadMessage", "BadMessage"]


@given(st.binary(max_size=2000))
def test_no_bytes_raise_or_open_a_session(stream):
    protocol = Protocol(ALLOWED, 0.0)
    for message in protocol.receive(stream + b"\n", 0.0):
        assert isinstance(message, Event | BadMessage | Refusal)
    assert not protocol.is_open
