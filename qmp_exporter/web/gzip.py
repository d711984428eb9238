"""Pieces of text -> gzip that is kept, and to which an end is added for each answer."""

import struct
from typing import Final

from isal import isal_zlib

LEVEL: Final = 1  # isal's; its level 0 is no faster and leaves half as much again, level 3 takes six times as long
HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # RFC 1952: deflate, no name, no time, the fastest, of any system


class Packer:
    """Takes pieces as they come, so that there is never a second copy of the text.

    Not in a thread: it is done in less time than a thread waits for the interpreter under a flood.
    """

    def __init__(self) -> None:
        self._deflate = _deflate()
        self._begun = [HEADER]
        self._crc = self._size = 0
        self._is_closed = False

    def add(self, piece: bytes) -> None:
        self._begun.append(self._deflate.compress(piece))
        self._crc, self._size = isal_zlib.crc32(piece, self._crc), self._size + len(piece)

    def completed(self, end: bytes) -> bytes:
        """All of it with `end` behind it; may be asked again, with another end."""
        if not self._is_closed:
            self._begun = [b"".join((*self._begun, self._deflate.flush(isal_zlib.Z_SYNC_FLUSH)))]
            self._is_closed = True
        deflate = _deflate()  # whose blocks lean on none before them, so that they can follow any
        blocks = deflate.compress(end) + deflate.flush()
        trailer = struct.pack("<LL", isal_zlib.crc32(end, self._crc), (self._size + len(end)) % 2**32)
        return self._begun[0] + blocks + trailer


def _deflate() -> "isal_zlib.Compress":
    return isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
