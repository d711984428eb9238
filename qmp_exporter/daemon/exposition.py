"""The fleet's page and the exporter's own metrics -> the bytes of one answer."""

import asyncio
import zlib
from typing import NamedTuple

from qmp_exporter.daemon.fleet import Fleet
from qmp_exporter.daemon.selfstats import Selfstats

LARGE = 256 * 1024  # bytes; beyond that, compressing is not for the event loop
GZIP_LEVEL = 1  # a page of metrics shrinks to a twentieth even so; level 9 costs five times the time
GZIP = zlib.MAX_WBITS | 16  # with gzip's header and trailer


class _Packed(NamedTuple):
    """The VMs' page compressed so far, and the state in which the exporter's own metrics can follow."""

    version: int
    begun: bytes
    state: "zlib._Compress"


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
        state = packed.state.copy()
        return packed.begun + state.compress(own) + state.flush()

    async def _parts(self, *, openmetrics: bool) -> list[bytes]:
        parts = []
        for part in self._fleet.page.parts(openmetrics=openmetrics):
            parts.append(part.encode())
            await asyncio.sleep(0)  # a family of 2,000 VMs is some hundred kilobytes
        return parts

    async def _pack(self, *, openmetrics: bool) -> _Packed:
        version = self._fleet.page.version
        parts = await self._parts(openmetrics=openmetrics)
        if sum(map(len, parts)) < LARGE:
            return _compress(version, parts)
        return await asyncio.to_thread(_compress, version, parts)


def _compress(version: int, parts: list[bytes]) -> _Packed:
    state = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP)
    return _Packed(version, b"".join([state.compress(part) for part in parts]), state)
