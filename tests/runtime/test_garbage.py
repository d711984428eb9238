"""Cycles that nobody refers to -> freed within a pause, what was set aside as well once many VMs have gone."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from qmp_exporter.runtime import garbage
from watching import eventually


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


async def test_garbage_goes_soon_and_what_was_set_aside_when_many_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "CHECK_EVERY", 0.001)
    monkeypatch.setattr(garbage, "PAUSE", 0.001)
    settled = asyncio.Event()
    gone = 0
    kept = [Cycle(), Cycle()]
    async with asyncio.TaskGroup() as group:
        collecting = group.create_task(garbage.collect_garbage(settled.is_set, lambda: gone))
        await asyncio.sleep(0)
        settled.set()
        await eventually(lambda: gc.get_freeze_count() > 0)
        of_a_vm = weakref.ref(kept.pop())
        later = weakref.ref(Cycle())
        await eventually(lambda: later() is None)
        assert of_a_vm() is not None
        gone = garbage.CHURN
        await eventually(lambda: of_a_vm() is None)
        assert gc.get_freeze_count() >= 0
        collecting.cancel()
