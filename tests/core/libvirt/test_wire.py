"""Frames of libvirt's RPC -> typed messages, in whatever portions they come."""

import contextlib
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libvirtd import KEEPALIVE, QEMU, REMOTE, Domain, frame, text
from qmp_exporter.core.libvirt import wire
from qmp_exporter.core.libvirt.wire import MAX_FRAME, Failure, Frames, Lifecycle, MonitorEvent, Ping, Procedure, Reply
from qmp_exporter.core.libvirt.xdr import XdrError

WEB = Domain("web01", "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab", 7)
READ = wire.Domain(WEB.name, WEB.uuid, WEB.id)
EVENT = frame(
    QEMU,
    6,
    2,
    0,
    struct.pack(">i", 1) + WEB.packed() + text("STOP") + struct.pack(">qII", 1_700_000_000, 250_000, 0),
)
LIFECYCLE = frame(REMOTE, 318, 2, 0, struct.pack(">i", 0) + WEB.packed() + struct.pack(">ii", 3, 2))
FAILURE = frame(REMOTE, 212, 1, 9, struct.pack(">iiI", 42, 10, 1) + text("Domain not found") + bytes(8), status=1)
ALL = EVENT + LIFECYCLE + frame(REMOTE, 212, 1, 8, b"\0\0\0\1") + FAILURE + frame(KEEPALIVE, 1, 2, 0, b"")
TOLD = [
    MonitorEvent(READ, "STOP", 1_700_000_000.25, b""),
    Lifecycle(READ, 3, 2),
    Reply(8, b"\0\0\0\1"),
    Failure(9, 42, "Domain not found"),
    Ping(),
]


@given(st.lists(st.integers(0, len(ALL)), max_size=8))
def test_messages_come_in_order_in_whatever_portions(cuts):
    frames = Frames()
    ends = [0, *sorted(cuts), len(ALL)]
    assert [one for a, b in pairwise(ends) for one in frames.feed(ALL[a:b])] == TOLD
    assert frames.unfinished == 0


def test_what_a_later_libvirt_may_send_is_passed_over():
    frames = Frames()
    assert frames.feed(frame(REMOTE, 999, 2, 0, b"whatever") + frame(0x12345678, 1, 2, 0, b"") + EVENT) == TOLD[:1]


def test_the_words_of_an_error_are_one_line_and_bounded():
    raw = frame(REMOTE, 212, 1, 9, struct.pack(">iiI", 42, 10, 1) + text("no\nSTOPPING=1" + " x" * 1000), status=1)
    (failure,) = Frames().feed(raw)
    assert failure.text.startswith("no STOPPING=1 x")
    assert len(failure.text) <= wire.MAX_WORDS


def test_a_list_of_domains_is_read():
    packed = struct.pack(">I", 1) + WEB.packed() + struct.pack(">I", 1)
    assert wire.domains(packed) == [READ]


def test_a_domain_is_packed_as_it_was_read():
    assert wire.packed(READ) == WEB.packed()


def test_a_call_has_the_header_of_the_protocol():
    assert wire.call(Procedure.GET_STATE, 5, b"abcd") == frame(REMOTE, 212, 0, 5, b"abcd")
    assert wire.pong() == frame(KEEPALIVE, 2, 2, 0, b"")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a frame of 1213486160 bytes"),
        (struct.pack(">I", 27) + bytes(24), "a frame of 27 bytes"),
        (struct.pack(">I", MAX_FRAME + 1) + bytes(24), "wanted 28 to"),
        (struct.pack(">IIIIIII", 28, REMOTE, 2, 1, 1, 1, 0), "version 2 of program 0x20008086"),
        (frame(QEMU, 6, 2, 0, b"\0\0\0\1"), "4 bytes, wanted 8"),
    ],
)
def test_what_is_no_libvirt_is_told(raw, words):
    with pytest.raises(XdrError, match=words):
        Frames().feed(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told_to_be_wrong(raw):
    frames = Frames()
    with contextlib.suppress(XdrError):
        frames.feed(raw)
    assert frames.unfinished <= len(raw)
