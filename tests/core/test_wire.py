"""One line from a monitor -> a typed message or BadMessage, and never anything else."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.json import Decoder

from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.wire import BadMessage, Event, Failure, Greeting, Reply, decode, excerpt, typed

GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": []}}'
)
STOP = b'{"timestamp": {"seconds": 1700000000, "microseconds": 500000}, "event": "STOP"}'
DEEP = b"[" * 100_000 + b"]" * 100_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)
MEMBERS = ("event", "data", "timestamp", "seconds", "microseconds", "return", "error", "class", "id", "QMP", "version")
messages = st.dictionaries(
    st.sampled_from(MEMBERS), json_values | st.dictionaries(st.sampled_from(MEMBERS), json_values), min_size=1
)


def test_a_greeting_tells_the_version_without_the_package():
    assert decode(GREETING) == Greeting("7.2.22")


def test_an_event_has_the_time_of_the_host_that_sent_it():
    event = decode(STOP)
    assert (event.name, event.at) == ("STOP", 1700000000.5)


def test_an_event_of_a_host_without_a_clock_has_a_negative_time():
    line = b'{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}'
    assert decode(line).at < 0


def test_an_event_without_data_has_an_empty_object():
    assert bytes(decode(STOP).data) == b"{}"


def test_a_reply_is_told_by_its_id():
    message = decode(b'{"return": {"running": true}, "id": 7}')
    assert isinstance(message, Reply)
    assert (message.id, bytes(message.value)) == (7, b'{"running": true}')


def test_an_empty_reply_is_a_reply():
    assert isinstance(decode(b'{"return": {}, "id": 1}'), Reply)
    assert isinstance(decode(b'{"return": null, "id": 1}'), Reply)


def test_an_error_names_its_class():
    assert decode(b'{"id": 7, "error": {"class": "CommandNotFound", "desc": "no such"}}') == Failure(
        7, "CommandNotFound"
    )


def test_an_error_without_an_id_answers_nothing_of_ours():
    assert decode(b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}').id == -1


def test_members_that_nobody_knows_are_passed_over():
    assert decode(b'{"event": "STOP", "later": {"qemu": [1]}}').name == "STOP"


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("json", b""),
        ("json", b"{"),
        ("json", b"QEMU 7.2.22 monitor - type 'help' for more information"),
        ("json", b'{"event": "STOP"} {"event": "RESUME"}'),
        ("json", b'{"event": "\\ud800"}'),
        ("json", b'{"event": "STOP", "data": NaN}'),
        ("utf8", b'{"event": "\xff"}'),
        ("utf8", b'{"error": {"class": "\xff"}}'),
        ("depth", b'{"event": "STOP", "data": ' + DEEP + b"}"),
        ("shape", b"[]"),
        ("shape", b'"STOP"'),
        ("shape", b"null"),
        ("shape", b"{}"),
        ("shape", b'{"event": ""}'),
        ("shape", b'{"event": 7}'),
        ("shape", b'{"event": null}'),
        ("shape", b'{"event": "STOP", "timestamp": "now"}'),
        ("shape", b'{"event": "STOP", "timestamp": {"seconds": 1.5}}'),
        ("shape", b'{"event": "STOP", "timestamp": {"seconds": 1' + b"0" * 400 + b"}}"),
        ("shape", b'{"event": "STOP", "timestamp": {"microseconds": 1' + b"0" * 5000 + b"}}"),
        ("shape", b'{"return": {}, "id": "seven"}'),
        ("shape", b'{"error": "no", "id": 7}'),
        ("shape", b'{"QMP": {}}'),
        ("shape", b'{"QMP": {"version": {"qemu": {"major": "7", "minor": 2, "micro": 0}}}}'),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_what_is_no_message_says_what_is_wrong(reason, line):
    with pytest.raises(BadMessage) as bad:
        decode(line)
    assert bad.value.reason == reason


@given(st.binary())
def test_no_bytes_raise_anything_else(line):
    only_bad_message(decode, line)


@given(messages)
@example({"event": "STOP", "timestamp": {"seconds": 10**400}})
@example({"return": {}, "id": 10**5000})
@example({"QMP": {"version": {"qemu": {"major": 10**400, "minor": 0, "micro": 0}}}})
def test_no_json_raises_anything_else(message):
    only_bad_message(decode, dumped(message))


@pytest.mark.parametrize("query", CATALOG.queries, ids=lambda query: query.command)
def test_no_payload_of_a_query_raises_anything_else(query):
    decode_payload = Decoder(query.returns).decode

    @settings(max_examples=30)  # for each query
    @given(
        json_values | st.lists(st.dictionaries(st.sampled_from(("device", "stats", "inserted", "type")), json_values))
    )
    def check(payload):
        only_bad_message(lambda line: typed(decode_payload, line), dumped(payload))

    check()


def test_a_payload_is_checked_only_when_somebody_wants_it():
    message = decode(b'{"event": "NEWS", "data": {"text": "\xff"}}')
    assert isinstance(message, Event)

    class News(Struct):
        text: str

    with pytest.raises(BadMessage) as bad:
        typed(Decoder(News).decode, message.data)
    assert bad.value.reason == "utf8"


@given(st.binary(max_size=400))
def test_an_excerpt_is_one_printable_line(payload):
    text = excerpt(payload)
    assert text.isprintable()
    assert len(text) < 500


def only_bad_message(decode_line, line):
    reason = None
    try:
        decode_line(line)
    except BadMessage as bad:
        reason, text = bad.reason, str(bad)
    if reason is not None:
        assert reason in {"json", "utf8", "depth", "shape"}
        assert text.isprintable()


def dumped(value) -> bytes:
    """As json.dumps, which refuses integers of more than 4300 digits."""
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(key).encode() + b":" + dumped(one) for key, one in value.items()) + b"}"
    if isinstance(value, int) and abs(value) >= 10**4000:
        return b"1" + b"0" * 5000
    return json.dumps(value).encode()
