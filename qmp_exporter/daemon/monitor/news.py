"""Watches of VMs to which something has happened -> all of them at once, for the one who looks for troubles."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class News(Generic[T]):
    """`event` is set while there are some."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._changed: dict[T, None] = {}

    def tell(self, one: T) -> None:
        self._changed[one] = None
        self.event.set()

    def take(self) -> tuple[T, ...]:
        changed = tuple(self._changed)
        self._changed.clear()
        self.event.clear()
        return changed
