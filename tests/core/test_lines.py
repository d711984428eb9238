"""Chunks -> lines: however the stream is cut, the lines are the same and memory is bounded."""

import itertools
import sys

from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.lines import Lines

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
    assert sum(sys.getsizeof(part) for part in lines._parts) == 0
    assert lines.too_long == 1
    assert lines.unfinished


def test_a_stream_that_ends_inside_a_line_is_unfinished():
    lines = Lines(LIMIT)
    lines.feed(b'{"event"')
    assert lines.unfinished
    lines.feed(b"}\n")
    assert not lines.unfinished
