"""The fleet's page and the exporter's own metrics -> the bytes of one answer."""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

from isal import isal_zlib

from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.runtime.cooperative import YieldBudget

LEVEL = 1  # isal's; its level 0 is no faster and leaves half as much again, level 3 takes six times as long
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # RFC 1952: deflate, no name, no time, the fastest, of any system


class _Packed(NamedTuple):
    """The VMs' page as gzip, up to a byte after which the exporter's own metrics can follow."""

    version: int
    begun: bytes
    crc: int
    size: int  # of what is in it


class Exposition:
    """Makes one page at a time; those who ask meanwhile wait, and share what has not changed by then."""

    def __init__(self, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._stats = stats
        self._lock = asyncio.Lock()
        self._packed: dict[bool, _Packed] = {}

    async def page(self, *, openmetrics: bool, compressed: bool) -> bytes:
        async with self._lock:
            await self._fleet.refresh()
            own = self._stats.text(openmetrics=openmetrics)
            if not compressed:
                return b"".join([*[part async for part in self._parts(openmetrics=openmetrics)], own])
            packed = self._packed.get(openmetrics)
            if packed is None or packed.version != self._fleet.page.version:
                packed = self._packed[openmetrics] = await self._pack(openmetrics=openmetrics)
        return _completed(packed, own)

    async def _parts(self, *, openmetrics: bool) -> AsyncIterator[bytes]:
        turn = YieldBudget()
        for part in self._fleet.page.parts(openmetrics=openmetrics):
            yield part
            await turn.checkpoint()

    async def _pack(self, *, openmetrics: bool) -> _Packed:
        """Part by part, so that there is never a second copy of the page.

        Not in a thread: it is done in less time than a thread waits for the interpreter under a flood.
        """
        version = self._fleet.page.version
        deflate = _deflate()
        begun, crc, size = [GZIP_HEADER], 0, 0
        async for part in self._parts(openmetrics=openmetrics):
            begun.append(deflate.compress(part))
            crc, size = isal_zlib.crc32(part, crc), size + len(part)
        begun.append(deflate.flush(isal_zlib.Z_SYNC_FLUSH))
        return _Packed(version, b"".join(begun), crc, size)


def _completed(packed: _Packed, own: bytes) -> bytes:
    """With blocks that lean on none before them, so that they can follow any."""
    deflate = _deflate()
    blocks = deflate.compress(own) + deflate.flush()
    trailer = struct.pack("<LL", isal_zlib.crc32(own, packed.crc), (packed.size + len(own)) % 2**32)
    return packed.begun + blocks + trailer


def _deflate() -> "isal_zlib.Compress":
    return isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
