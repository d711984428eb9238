"""The fleet's page and the exporter's own metrics -> the bytes of one answer."""

import struct
from collections.abc import AsyncIterator, Collection
from itertools import accumulate
from typing import NamedTuple

from isal import isal_zlib

from qmp_exporter.catalog import GROUPS
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.runtime.cooperative import YieldBudget

LEVEL = 1  # isal's; its level 0 is no faster and leaves half as much again, level 3 takes six times as long
MAX_PACKED = 4  # pages that are kept for who asks for the same again: two formats, a fast and a slow job
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # RFC 1952: deflate, no name, no time, the fastest, of any system
OWN = "exporter"  # what the group of the exporter's own metrics is called here


class Selection(NamedTuple):
    """What somebody wants of the page: families of the VMs by their index (None: all), and the exporter's own."""

    families: frozenset[int] | None
    own: bool


ALL = Selection(None, own=True)


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


class _Packed(NamedTuple):
    """The VMs' page as gzip, up to a byte after which the exporter's own metrics can follow."""

    version: int
    begun: bytes
    crc: int
    size: int  # of what is in it


class Exposition:
    """A page is the VMs' part, brought up to date, and the exporter's own metrics behind it."""

    def __init__(self, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._stats = stats
        self._packed: dict[tuple[bool, Selection], _Packed] = {}

    async def page(self, wanted: Selection = ALL, *, openmetrics: bool = False) -> AsyncIterator[bytes]:
        """Some 100 KiB at a time."""
        await self._fleet.refresh()
        async for part in self._parts(wanted, openmetrics=openmetrics):
            yield part
        yield self._own(wanted, openmetrics=openmetrics)

    async def packed(self, wanted: Selection = ALL, *, openmetrics: bool = False) -> bytes:
        """As gzip; the VMs' part is kept for who asks for the same again."""
        await self._fleet.refresh()
        packed = self._packed.pop((openmetrics, wanted), None)
        if packed is None or packed.version != self._fleet.page.version:
            packed = await self._pack(wanted, openmetrics=openmetrics)
        self._packed[openmetrics, wanted] = packed
        if len(self._packed) > MAX_PACKED:
            del self._packed[next(iter(self._packed))]
        return _completed(packed, self._own(wanted, openmetrics=openmetrics))

    async def _parts(self, wanted: Selection, *, openmetrics: bool) -> AsyncIterator[bytes]:
        turn = YieldBudget()
        for part in self._fleet.page.parts(openmetrics=openmetrics, families=wanted.families):
            yield part
            await turn.checkpoint()

    def _own(self, wanted: Selection, *, openmetrics: bool) -> bytes:
        if wanted.own:
            return self._stats.text(openmetrics=openmetrics)
        return b"# EOF\n" if openmetrics else b""

    async def _pack(self, wanted: Selection, *, openmetrics: bool) -> _Packed:
        """Part by part, so that there is never a second copy of the page.

        Here and not in the web process, though that may have a processor of its own: to hand the text over takes as
        long as to compress it, and what is compressed is a twentieth of it.
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
