"""A long piece of work -> portions between which everything else has its turn."""

import asyncio
import time

LONGEST = 0.005  # seconds that the event loop is held; each turn that is given away is a flood's as well


class YieldBudget:
    def __init__(self) -> None:
        self._began = time.monotonic()

    async def checkpoint(self) -> None:
        """Let the event loop turn, if this has taken long enough."""
        if time.monotonic() - self._began >= LONGEST:
            await asyncio.sleep(0)
            self._began = time.monotonic()
