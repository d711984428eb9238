"""The fleet's page and the exporter's own metrics -> the bytes of one answer."""

import asyncio
import gzip

from qmp_exporter.daemon.fleet import Fleet
from qmp_exporter.daemon.selfstats import Selfstats

LARGE = 256 * 1024  # characters; beyond that, encoding and compressing is not for the event loop
GZIP_LEVEL = 1  # a page of metrics shrinks to a twentieth even so; level 9 costs five times the time


class Exposition:
    """Makes one page at a time; those who ask meanwhile wait for the next one together."""

    def __init__(self, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._stats = stats
        self._lock = asyncio.Lock()

    async def page(self, *, openmetrics: bool, compressed: bool) -> bytes:
        async with self._lock:
            await self._fleet.refresh()
            text = self._fleet.page.text(openmetrics=openmetrics)
            own = self._stats.text(openmetrics=openmetrics)
        if len(text) < LARGE:
            return _encode(text, own, compressed=compressed)
        return await asyncio.to_thread(_encode, text, own, compressed=compressed)


def _encode(text: str, own: bytes, *, compressed: bool) -> bytes:
    page = text.encode() + own
    return gzip.compress(page, GZIP_LEVEL, mtime=0) if compressed else page
