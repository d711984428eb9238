"""What begins a session of a VM -> its watch, which waits for that."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """There is room for one: a newer one takes its place."""

    def __init__(self) -> None:
        self._one: T | None = None
        self._came = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return self._came.is_set()

    def put(self, one: T) -> None:
        self._one = one
        self._came.set()

    async def take(self) -> T:
        """The next one.  When it comes is up to others, so this is a wait without a deadline."""
        while self._one is None:
            await self._came.wait()
        one, self._one = self._one, None
        self._came.clear()
        return one
