"""The fleet's page and the exporter's own metrics -> the bytes of one answer."""

import asyncio
import struct
from collections.abc import Sequence
from typing import NamedTuple

from isal import isal_zlib

from qmp_exporter.daemon.fleet import Fleet
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.turn import Turn

LARGE = 8 * 1024 * 1024  # bytes, of some 500 VMs; beyond that, compressing is not for the event loop
LEVEL = 0  # isal's fastest: a page of metrics shrinks to a twentieth even so, and to no less at its level 1
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
                return b"".join((*await self._parts(openmetrics=openmetrics), own))
            packed = self._packed.get(openmetrics)
            if packed is None or packed.version != self._fleet.page.version:
                packed = self._packed[openmetrics] = await self._pack(openmetrics=openmetrics)
        return _completed(packed, own)

    async def _parts(self, *, openmetrics: bool) -> list[bytes]:
        parts = []
        turn = Turn()
        for part in self._fleet.page.parts(openmetrics=openmetrics):
            parts.append(part)
            await turn.give_way()
        return parts

    async def _pack(self, *, openmetrics: bool) -> _Packed:
        version = self._fleet.page.version
        parts = await self._parts(openmetrics=openmetrics)
        if sum(map(len, parts)) < LARGE:
            return _begun(version, parts)
        return await asyncio.to_thread(_begun, version, parts)


def _begun(version: int, parts: Sequence[bytes]) -> _Packed:
    """In one call, for a thread waits some milliseconds for the interpreter after each."""
    page = b"".join(parts)
    begun = GZIP_HEADER + _deflated(page, isal_zlib.Z_SYNC_FLUSH)
    return _Packed(version, begun, isal_zlib.crc32(page), len(page))


def _completed(packed: _Packed, own: bytes) -> bytes:
    crc, size = isal_zlib.crc32(own, packed.crc), packed.size + len(own)
    return packed.begun + _deflated(own, isal_zlib.Z_FINISH) + struct.pack("<LL", crc, size % 2**32)


def _deflated(text: bytes, flush: int) -> bytes:
    """Blocks of deflate that lean on none before them, so that they can be put one after the other."""
    state = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
    return state.compress(text) + state.flush(flush)
