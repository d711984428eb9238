"""2,000 VMs that are to be watched at once: a few at a time."""

import asyncio

import pytest

from qmp_exporter.daemon.monitor import connect_limiter as door_module
from qmp_exporter.daemon.monitor.connect_limiter import AT_ONCE, ConnectLimiter


async def test_no_more_than_some_are_inside_at_once_and_all_get_in() -> None:
    limiter, inside, most, seen = ConnectLimiter(), 0, 0, 0

    async def enter() -> None:
        nonlocal inside, most, seen
        async with limiter.slot():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            seen += 1

    await asyncio.gather(*(enter() for _ in range(5 * AT_ONCE)))
    assert (most, seen) == (AT_ONCE, 5 * AT_ONCE)


async def test_who_takes_long_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "LONGEST", 0.01)
    limiter, end, got_in = ConnectLimiter(), asyncio.Event(), asyncio.Event()

    async def dawdle() -> None:
        async with limiter.slot():
            await end.wait()

    async def enter() -> None:
        async with limiter.slot():
            got_in.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(dawdle())
        group.create_task(enter())
        async with asyncio.timeout(10):
            await got_in.wait()
        end.set()
    assert limiter._room._value == AT_ONCE, "each left once"


async def test_who_gives_up_leaves() -> None:
    limiter = ConnectLimiter()
    with pytest.raises(ZeroDivisionError):
        async with limiter.slot():
            raise ZeroDivisionError
    assert limiter._room._value == AT_ONCE
