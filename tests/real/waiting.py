"""A question to something that announces nothing (a page, a log, a server that starts) -> its first good answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 20.0  # seconds; only a failure waits so long
PAUSE = 0.03  # seconds between asking and asking again


async def awaited(ask: Callable[[], Awaitable[T | None]], why: Callable[[], str], deadline: float = DEADLINE) -> T:
    """-> the first answer that is not None; if there is none in time, `why` says what was wrong with the last one"""
    try:
        async with asyncio.timeout(deadline):
            while True:
                answer = await ask()
                if answer is not None:
                    return answer
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise AssertionError(f"not within {deadline} s:\n{why()}") from None
