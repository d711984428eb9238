"""XDR -> values, and an error in words for whatever is none."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.libvirt import xdr
from qmp_exporter.core.libvirt.xdr import Reader, XdrError

NUMBERS = st.integers(-(2**31), 2**31 - 1)


@given(NUMBERS, st.binary(max_size=50), st.none() | NUMBERS)
def test_what_is_packed_is_read_again(number, raw, maybe):
    packed = xdr.number(number) + xdr.opaque(raw) + xdr.optional(None if maybe is None else xdr.number(maybe))
    assert len(packed) % xdr.UNIT == 0
    reader = Reader(packed)
    assert reader.number() == number
    assert reader.opaque() == raw
    assert (reader.number() if reader.is_there() else None) == maybe


def test_a_text_that_is_no_utf8_is_still_a_text():
    assert Reader(xdr.opaque(b"a\xff")).text() == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("raw", "read", "words"),
    [
        (b"\0\0\0", Reader.number, "3 bytes, wanted 4"),
        (struct.pack(">I", 5) + b"abcd", Reader.opaque, "8 bytes, wanted 12"),
        (struct.pack(">I", 2**32 - 1), Reader.opaque, "a text of 4294967295 bytes"),
        (struct.pack(">I", xdr.MAX_TEXT + 1), Reader.opaque, "wanted at most 8388608"),
        (struct.pack(">I", 2), Reader.is_there, "2 before an optional value"),
        (struct.pack(">I", 3) + bytes(8), lambda reader: reader.count(10, 4), "an array of 3 elements"),
        (struct.pack(">I", 2**31), lambda reader: reader.count(10, 4), "an array of 2147483648 elements"),
    ],
)
def test_what_cannot_be_true_is_told(raw, read, words):
    with pytest.raises(XdrError, match=words):
        read(Reader(raw))


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_told_to_be_wrong(raw):
    reader = Reader(raw)
    with contextlib.suppress(XdrError):
        for _ in range(10):
            reader.is_there()
            reader.text(16)
            reader.long()
