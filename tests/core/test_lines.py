"""Chunks -> lines: however the stream is cut, the lines are the same and memory is bounded."""

import itertools
import sys

from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.budget import Budget
from qmp_exporter.core.lines import OWN, Lines

LIMIT = 16
streams = st.binary(max_size=400) | st.lists(
    st.sampled_from([b"a", b"\n", b"\r\n", b"\r", b"0123456789abcdef", b"0123456789abcdef\n", b"x" * 17])
).map(b"".join)


def fed(stream: bytes, cuts: list[int]) -> tuple[list[bytes], int, bool]:
    lines = Lines(LIMIT)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    out = [line for start, end in itertools.pairwise(edges) for line in lines.feed(stream[start:end])]
    return out, lines.too_long, lines.unfinished


def plainly(stream: bytes) -> tuple[list[bytes], int, bool]:
    *whole, last = stream.split(b"\n")
    short = [line for line in whole if len(line) <= LIMIT]
    too_long = len(whole) - len(short) + (len(last) > LIMIT)
    return [line.rstrip(b"\r") for line in short if line.rstrip(b"\r")], too_long, bool(last)


@given(streams, st.lists(st.integers(0, 500)))
def test_any_chunking_gives_the_same_lines(stream, cuts):
    assert fed(stream, cuts) == plainly(stream)


@given(streams)
def test_byte_by_byte_gives_the_same_lines(stream):
    assert fed(stream, list(range(len(stream)))) == plainly(stream)


def test_a_line_that_is_too_long_is_skipped_and_the_next_one_is_not():
    lines = Lines(LIMIT)
    assert lines.feed(b"x" * 17 + b"\nSTOP\r\n") == [b"STOP"]
    assert lines.feed(b"x" * 10) == lines.feed(b"y" * 10) == []
    assert lines.feed(b"z\nRESUME\n") == [b"RESUME"]
    assert lines.too_long == 2


def test_a_line_as_long_as_the_limit_is_a_line():
    assert Lines(LIMIT).feed(b"x" * 16 + b"\n") == [b"x" * 16]


def test_an_endless_line_costs_no_memory():
    lines = Lines(LIMIT)
    for _ in range(1000):
        lines.feed(b"x" * LIMIT)
    assert sys.getsizeof(lines._unfinished) < 100
    assert lines.too_long == 1
    assert lines.unfinished


def test_a_stream_that_ends_inside_a_line_is_unfinished():
    lines = Lines(LIMIT)
    lines.feed(b'{"event"')
    assert lines.unfinished
    lines.feed(b"}\n")
    assert not lines.unfinished


def test_a_long_line_in_many_small_pieces_takes_no_more_memory_than_its_bytes():
    lines = Lines(1 << 20)
    for _ in range(100_000):
        lines.feed(b"xx")
    assert sys.getsizeof(lines._unfinished) < 1.3 * 200_000


def test_long_lines_of_all_together_have_one_budget_and_each_has_some_of_its_own():
    budget = Budget(1 << 20)
    greedy, other, modest = (Lines(8 << 20, budget) for _ in range(3))
    greedy.feed(b"x" * (OWN + (1 << 20)))
    assert (greedy.too_long, budget.left) == (0, 0)
    other.feed(b"x" * (OWN + 1))
    assert other.too_long == 1
    assert modest.feed(b"x" * OWN + b"\n") == [b"x" * OWN]
    assert greedy.feed(b"\n") == [b"x" * (OWN + (1 << 20))]
    assert budget.left == 1 << 20
    other.feed(b"\n" + b"x" * (OWN + 1))
    assert (other.too_long, other.unfinished) == (1, True)
    other.clear()
    assert (budget.left, other.unfinished) == (1 << 20, False)


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=40) | st.just(b"\n")), max_size=60))
def test_whatever_comes_the_budget_is_what_it_was_when_all_have_ended(pieces):
    budget = Budget(20)
    peers = [Lines(64, budget, own=8) for _ in range(3)]
    for number, piece in pieces:
        peers[number].feed(piece)
        assert budget.left >= 0
    for peer in peers:
        peer.clear()
    assert budget.left == 20
