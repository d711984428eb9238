"""The fleet's page and the exporter's own metrics -> the bytes of one answer."""

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from itertools import accumulate
from typing import NamedTuple

from isal import isal_zlib

from qmp_exporter.catalog import GROUPS
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.runtime.cooperative import YieldBudget

LEVEL = 1  # isal's; its level 0 is no faster and leaves half as much again, level 3 takes six times as long
MAX_PACKED = 4  # pages that are kept for who asks for the same again: two formats, a fast and a slow job
OWN = "exporter"  # what the group of the exporter's own metrics is called here
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # RFC 1952: deflate, no name, no time, the fastest, of any system


class _Packed(NamedTuple):
    """The VMs' page as gzip, up to a byte after which the exporter's own metrics can follow."""

    version: int
    begun: bytes
    crc: int
    size: int  # of what is in it


class Selection(NamedTuple):
    """What somebody wants of the page: families of the VMs by their index (None: all), and the exporter's own."""

    families: frozenset[int] | None
    own: bool


ALL = Selection(None, own=True)


class _Wish(NamedTuple):
    wanted: Selection
    openmetrics: bool
    compressed: bool


class _Made(NamedTuple):
    number: int  # of the page, since the exporter began
    body: bytes


def selection(collect: Collection[str], exclude: Collection[str]) -> Selection:
    """The groups that are asked for, by the convention of node_exporter: these only, or all but these.

    :raise ValueError: a group that there is not, or both.
    """
    if collect and exclude:
        raise ValueError("collect[] and exclude[] exclude each other")
    if unknown := sorted({*collect, *exclude} - FAMILIES_OF.keys() - {OWN}):
        raise ValueError(f"unknown group {', '.join(unknown)}; wanted one of {', '.join((*FAMILIES_OF, OWN))}")
    if not collect and not exclude:
        return ALL
    names = frozenset(collect) or {*FAMILIES_OF, OWN}.difference(exclude)
    families = (index for name in names - {OWN} for index in FAMILIES_OF[name])
    return Selection(frozenset(families), own=OWN in names)


def _families_of() -> dict[str, range]:
    """By the name of a group, where its families stand in the catalog."""
    ends = accumulate(len(group.families) for group in GROUPS.values())
    return {name: range(end - len(GROUPS[name].families), end) for name, end in zip(GROUPS, ends, strict=True)}


FAMILIES_OF = _families_of()


class Exposition:
    """Makes one page at a time; those who ask meanwhile wait, and share the next one."""

    def __init__(self, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._stats = stats
        self._lock = asyncio.Lock()
        self._packed: dict[tuple[bool, Selection], _Packed] = {}
        self._waiting: Counter[_Wish] = Counter()
        self._made: dict[_Wish, _Made] = {}  # only while somebody waits for it
        self._begun = 0  # pages

    async def page(
        self,
        *,
        openmetrics: bool,
        compressed: bool,
        wanted: Selection = ALL,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> bytes:
        """`is_gone`: nobody is there any more who would read it; the answer is empty then."""
        wish = _Wish(wanted, openmetrics, compressed)
        asked_at = self._begun
        self._waiting[wish] += 1
        try:
            async with self._lock:
                made = self._made.get(wish)
                if made is not None and made.number > asked_at:  # else it may be older than the question
                    return made.body
                if is_gone():
                    return b""
                self._begun += 1
                made = self._made[wish] = _Made(self._begun, await self._make(wish))
                return made.body
        finally:
            self._waiting[wish] -= 1
            if not self._waiting[wish]:
                del self._waiting[wish]
                self._made.pop(wish, None)

    async def _make(self, wish: _Wish) -> bytes:
        wanted, openmetrics, compressed = wish
        await self._fleet.refresh()
        own = self._stats.text(openmetrics=openmetrics) if wanted.own else b"# EOF\n" if openmetrics else b""
        if not compressed:
            return b"".join([*[part async for part in self._parts(wanted, openmetrics=openmetrics)], own])
        packed = self._packed.pop((openmetrics, wanted), None)
        if packed is None or packed.version != self._fleet.page.version:
            packed = await self._pack(wanted, openmetrics=openmetrics)
        self._packed[openmetrics, wanted] = packed
        if len(self._packed) > MAX_PACKED:
            del self._packed[next(iter(self._packed))]
        return _completed(packed, own)

    async def _parts(self, wanted: Selection, *, openmetrics: bool) -> AsyncIterator[bytes]:
        turn = YieldBudget()
        for part in self._fleet.page.parts(openmetrics=openmetrics, families=wanted.families):
            yield part
            await turn.checkpoint()

    async def _pack(self, wanted: Selection, *, openmetrics: bool) -> _Packed:
        """Part by part, so that there is never a second copy of the page.

        Not in a thread: it is done in less time than a thread waits for the interpreter under a flood.
        """
        version = self._fleet.page.version
        deflate = _deflate()
        begun, crc, size = [GZIP_HEADER], 0, 0
        async for part in self._parts(wanted, openmetrics=openmetrics):
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
