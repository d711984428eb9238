"""An event and a time -> whether it happens within that."""

import asyncio


async def happens(event: asyncio.Event, within: float | None) -> bool:
    """`within` seconds; None: however long it takes."""
    try:
        async with asyncio.timeout(within):
            return await event.wait()
    except TimeoutError:
        return event.is_set()
