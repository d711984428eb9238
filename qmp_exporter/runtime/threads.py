"""A call that may hang with a file system -> its result, from a thread that nobody has to wait for."""

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_in_daemon_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """Not asyncio.to_thread: its threads are few and shared, and the process ends only after all of them.

    The result is an OSError where no thread can be started.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001  the one who waits for the result gets it
            tell(result.set_exception, error)
        else:
            tell(result.set_result, value)

    def tell(how: Callable[..., None], what: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if result.done() else how(what))

    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:  # as many hang already as there may be
        result.set_exception(OSError(errno.EAGAIN, "no more threads are allowed (TasksMax=)"))
    return result
