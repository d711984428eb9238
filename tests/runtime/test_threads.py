"""Calls in threads -> their results, also where there is no thread for them."""

import threading

import pytest

from qmp_exporter.runtime.threads import run_in_daemon_thread


async def test_where_no_thread_can_be_started_the_result_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="no more threads are allowed"):
        await run_in_daemon_thread(lambda: 42)
