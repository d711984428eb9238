"""Bytes in XDR (RFC 4506) -> numbers, texts and optional values, in order; and back."""

import struct
from typing import Final

_INT: Final = struct.Struct(">i")
_LONG: Final = struct.Struct(">q")
UNIT: Final = 4  # bytes; everything is a multiple of it
MAX_TEXT: Final = 8 * 1024 * 1024  # bytes, as long as the longest reply of a monitor that is read


class XdrError(ValueError):
    """The bytes are not what was expected, in words."""


class Reader:
    """Takes one value after the other; every length is compared with what is there before anything is made of it."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        """int, unsigned int (which is negative here from 2**31 on) and enum."""
        return int(_INT.unpack_from(self._data, self._advance(_INT.size))[0])

    def long(self) -> int:
        """Hyper"""
        return int(_LONG.unpack_from(self._data, self._advance(_LONG.size))[0])

    def fixed(self, size: int) -> bytes:
        """Opaque of a known size"""
        at = self._advance(size + -size % UNIT)
        return self._data[at : at + size]

    def opaque(self, limit: int = MAX_TEXT) -> bytes:
        """String and opaque of any size up to a limit"""
        size = self.number()
        if not 0 <= size <= limit:
            raise XdrError(f"a text of {size % 2**32} bytes, wanted at most {limit}")
        return self.fixed(size)

    def text(self, limit: int = MAX_TEXT) -> str:
        """The same in UTF-8; what is not stands as a replacement character."""
        return self.opaque(limit).decode(errors="replace")

    def is_there(self) -> bool:
        """Before an optional value: whether it follows."""
        there = self.number()
        if there not in {0, 1}:
            raise XdrError(f"{there} before an optional value, wanted 0 or 1")
        return there == 1

    def count(self, limit: int, least: int) -> int:
        """Before an array, each element of which takes `least` bytes at least."""
        count = self.number()
        if not 0 <= count <= min(limit, (len(self._data) - self._at) // least):
            raise XdrError(f"an array of {count % 2**32} elements, wanted at most {limit}, all of them there")
        return count

    def _advance(self, size: int) -> int:
        at, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise XdrError(f"{len(self._data)} bytes, wanted {self._at} or more")
        return at


def number(value: int) -> bytes:
    return _INT.pack(value)


def opaque(value: bytes) -> bytes:
    return _INT.pack(len(value)) + value + bytes(-len(value) % UNIT)


def optional(value: bytes | None) -> bytes:
    """A value that is packed already, or nothing."""
    return _INT.pack(0) if value is None else _INT.pack(1) + value
