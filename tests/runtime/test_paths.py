"""Calls that look up paths, some of which hang -> those in other directories go on, and nothing is left open."""

import asyncio
import threading
import time

import pytest

from qmp_exporter.runtime import paths as paths_module
from qmp_exporter.runtime.paths import PathCalls, UnresponsiveError
from watching import eventually


async def test_one_directory_that_hangs_holds_one_thread_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "DEADLINE", 0.05)
    paths, answers = PathCalls(), threading.Event()
    with pytest.raises(UnresponsiveError, match="does not answer"):
        await paths.run("/nfs/web01.sock", answers.wait)
    threads = threading.active_count()
    for _ in range(100):
        with pytest.raises(UnresponsiveError):
            await paths.run("/nfs/web02.sock", answers.wait)
    assert threading.active_count() == threads
    assert await paths.run("/run/qmp/web01.sock", lambda: 42) == 42
    answers.set()
    await eventually(lambda: threading.active_count() < threads)
    assert await paths.run("/nfs/web01.sock", lambda: 42) == 42


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_what_comes_too_late_is_disposed_of(monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool) -> None:
    monkeypatch.setattr(paths_module, "DEADLINE", 3600.0 if is_cancelled else 0.05)
    paths, answers, disposed = PathCalls(), threading.Event(), []

    def late() -> str:
        answers.wait()
        return "a socket"

    asking = asyncio.get_running_loop().create_task(paths.run("/nfs/web01.sock", late, dispose=disposed.append))
    await asyncio.sleep(0)
    if is_cancelled:
        asking.cancel()
    with pytest.raises((UnresponsiveError, asyncio.CancelledError)):
        await asking
    answers.set()
    await eventually(lambda: disposed == ["a socket"])


async def test_an_error_of_the_call_is_the_error() -> None:
    def fail() -> None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        await PathCalls().run("/run/qmp/web01.sock", fail)
    began = time.monotonic()
    assert await PathCalls().run("/run/qmp/web01.sock", lambda: None) is None
    assert time.monotonic() - began < paths_module.DEADLINE
