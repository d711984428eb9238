"""Many who would begin at once -> a few at a time, and nobody who takes long keeps the others out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 64  # handshakes; each takes some milliseconds of CPU with the queries that follow it
LONGEST = 0.25  # seconds; a monitor that is held by somebody else says nothing for much longer


class ConnectLimiter:
    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for room, and take it until the end or for LONGEST."""
        await self._room.acquire()
        inside = True

        def leave() -> None:
            nonlocal inside
            if inside:
                inside = False
                self._room.release()

        timer = asyncio.get_running_loop().call_later(LONGEST, leave)
        try:
            yield
        finally:
            timer.cancel()
            leave()
