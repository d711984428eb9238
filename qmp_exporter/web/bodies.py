"""A wish for a page or for the JSON -> the bytes of its answer, asked of the watcher once for all who wait for it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from qmp_exporter.channel.messages import Overview, Page
from qmp_exporter.web.gzip import Packer
from qmp_exporter.web.watcher import Watcher

MAX_PACKED: Final = 4  # pages that are kept for who asks for the same again: two formats, a fast and a slow job


class Wish(NamedTuple):
    """`what` asks the watcher for it; a page never has a `known` version here."""

    what: Page | Overview
    compressed: bool


class Body(NamedTuple):
    status: int
    content: bytes


class _Packed(NamedTuple):
    """The VMs' part of a page, and which version it is."""

    version: int
    text: Packer


class _Made(NamedTuple):
    number: int  # of the answer, since the process began
    body: Body


class Bodies:
    """Makes one at a time; those who ask meanwhile wait, and share the next one."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._lock = asyncio.Lock()
        self._packed: dict[Page, _Packed] = {}
        self._waiting: Counter[Wish] = Counter()
        self._made: dict[Wish, _Made] = {}  # only while somebody waits for it
        self._begun = 0  # answers

    async def body(self, wish: Wish, is_gone: Callable[[], bool] = lambda: False) -> Body:
        """`is_gone`: nobody is there any more who would read it; the answer is empty then.

        :raise NoAnswer: the watcher has none.
        """
        asked_at = self._begun
        self._waiting[wish] += 1
        try:
            async with self._lock:
                made = self._made.get(wish)
                if made is not None and made.number > asked_at:  # else it may be older than the question
                    return made.body
                if is_gone():
                    return Body(200, b"")
                self._begun += 1
                made = self._made[wish] = _Made(self._begun, await self._make(wish))
                return made.body
        finally:
            self._waiting[wish] -= 1
            if not self._waiting[wish]:
                del self._waiting[wish]
                self._made.pop(wish, None)

    async def _make(self, wish: Wish) -> Body:
        if not wish.compressed:
            pieces: list[bytes] = []
            said = await self._watcher.ask(wish.what, pieces.append)
            return Body(said.head.status, b"".join((*pieces, said.rest)))
        if isinstance(wish.what, Page):
            return await self._packed_page(wish.what)
        packer = Packer()
        said = await self._watcher.ask(wish.what, packer.add)
        return Body(said.head.status, packer.completed(said.rest))

    async def _packed_page(self, page: Page) -> Body:
        """What the watcher has that we have not, packed; what we have is not sent again."""
        kept = self._packed.pop(page, None)
        packer = Packer()
        known = kept.version if kept else -1
        said = await self._watcher.ask(Page(page.openmetrics, page.collect, page.exclude, known), packer.add)
        if said.head.status != 200:
            return Body(said.head.status, packer.completed(said.rest))
        if kept is None or said.head.version != known:
            kept = _Packed(said.head.version, packer)
        self._packed[page] = kept
        if len(self._packed) > MAX_PACKED:
            del self._packed[next(iter(self._packed))]
        return Body(said.head.status, kept.text.completed(said.rest))
