"""Frames and what is in them, as the two processes exchange them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.channel.messages import (
    FRAME,
    MAX_REQUEST,
    Answer,
    ChannelError,
    Frame,
    Healthy,
    Kind,
    Numbers,
    Overview,
    Page,
    Ready,
    Reload,
    answer,
    encode,
    header,
    request,
)

NAMES = st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False), max_size=3)
LISTS = st.lists(st.text(max_size=9), max_size=3).map(tuple)
REQUESTS = st.one_of(
    st.builds(Page, st.booleans(), st.booleans(), LISTS, LISTS),
    st.sampled_from([Overview(), Ready(), Reload(), Healthy()]),
    st.builds(Numbers, st.floats(allow_nan=False), NAMES, NAMES, NAMES),
)


@given(REQUESTS)
def test_a_request_arrives_as_it_was_sent(sent) -> None:
    assert request(Frame(1, Kind.REQUEST, encode(sent))) == sent


@given(st.builds(Answer, st.integers(100, 599), st.booleans()))
def test_an_answer_arrives_as_it_was_sent(sent) -> None:
    assert answer(encode(sent)) == sent


@given(st.integers(0, MAX_REQUEST), st.integers(0, 2**32 - 1), st.sampled_from(Kind))
def test_a_header_tells_the_content_behind_it(length: int, number: int, kind: Kind) -> None:
    assert header(FRAME.pack(length, number, kind), MAX_REQUEST) == (length, number, kind)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_a_channel_error_and_nothing_else(content: bytes) -> None:
    for read in (lambda: request(Frame(1, Kind.REQUEST, content)), lambda: answer(content)):
        with contextlib.suppress(ChannelError):
            read()


@pytest.mark.parametrize(
    "content",
    [
        encode(Answer()),
        b"\x81\xa4type\xa4quit",
        b"\x82\xa4type\xa4page\xabopenmetrics\x01",
        b"\x91" * 10_000,
        b"",
    ],
    ids=["an answer", "another question", "a number for a truth", "deep", "empty"],
)
def test_what_is_no_request_is_refused(content: bytes) -> None:
    with pytest.raises(ChannelError, match="found no request"):
        request(Frame(1, Kind.REQUEST, content))


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (FRAME.pack(MAX_REQUEST + 1, 1, Kind.REQUEST), f"{MAX_REQUEST + 1} bytes, wanted {MAX_REQUEST}"),
        (FRAME.pack(0, 1, 9), "kind 9, wanted one of 0 to 4"),
    ],
)
def test_a_frame_that_is_too_long_or_of_no_kind_is_refused(head: bytes, found: str) -> None:
    with pytest.raises(ChannelError, match=found):
        header(head, MAX_REQUEST)


def test_only_a_request_may_be_asked() -> None:
    with pytest.raises(ChannelError, match="kind PIECE, wanted a request"):
        request(Frame(1, Kind.PIECE, encode(Ready())))
