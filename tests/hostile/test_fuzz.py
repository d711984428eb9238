"""What hypothesis thinks up: bytes, JSON, and almost QMP -> taken or counted as bad, and a page that is one."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bounds import check_page, check_series, kept
from peer import GREETING, NEGOTIATED, Peer
from qmp_exporter.catalog import CATALOG
from qmp_exporter.daemon.selfstats import Selfstats

STATS = Selfstats()
EVENTS = sorted({event for query in CATALOG.queries for event in query.after} | {"RTC_CHANGE", "BLOCK_IO_ERROR"})
NAMES = ("device", "qdev", "node-name", "status", "running", "type", "clients", "channels", "stats", "offset", "len")

texts = st.text(st.characters(), max_size=20) | st.sampled_from(["running", "\ud800", "x" * 500, "on-fire"])
numbers = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 10**400])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
events = st.fixed_dictionaries(
    {"event": st.sampled_from(EVENTS) | values},
    optional={
        "data": values,
        "timestamp": values | st.fixed_dictionaries({"seconds": numbers, "microseconds": numbers}),
    },
)
replies = st.fixed_dictionaries({"id": st.integers(-2, 40) | values, "return": values})
errors = st.fixed_dictionaries({"id": st.integers(-2, 40) | values, "error": values})
messages = st.one_of(values, events, events, replies, replies, errors).map(lambda value: json.dumps(value).encode())
lines = messages | st.binary(max_size=60) | st.sampled_from([GREETING.strip(), NEGOTIATED.strip()])


def told(peer: Peer, stream: bytes, cuts: list[int]) -> None:
    start = 0
    for end in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        peer.says(stream[start:end])
        peer.turn(1.0)
        start = end


def check(peer: Peer) -> None:
    check_page(peer.vm)
    check_series(peer.vm)
    assert sum(kept(peer.vm, peer.watch.session).values()) < 100_000


@given(st.lists(lines, max_size=25), st.lists(st.integers(0, 10_000), max_size=5))
def test_any_lines_after_the_handshake(said, cuts):
    peer = Peer(STATS)
    peer.greets()
    told(peer, b"\r\n".join([*said, b""]), cuts)
    whole = sum(1 for line in b"\r\n".join(said).split(b"\n") if line.rstrip(b"\r"))
    assert peer.taken + peer.bad == whole
    check(peer)


@given(st.lists(lines, max_size=10), st.lists(st.integers(0, 10_000), max_size=5))
def test_any_lines_in_its_place(said, cuts):
    peer = Peer(STATS)
    told(peer, b"\r\n".join([*said, b""]), cuts)
    peer.leaves()
    peer.greets()
    assert peer.open
    check(peer)


@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=5))
def test_any_bytes(said, cuts):
    peer = Peer(STATS)
    peer.greets()
    told(peer, said, cuts)
    check(peer)
