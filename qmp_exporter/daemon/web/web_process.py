"""Listening sockets -> a process of its own that serves them, asks us for what it serves, and is started again.

It faces the network and holds no monitor. Whatever happens to it, crash, flood or hang, the VMs are watched on; the
sockets stay open with us, so that who connects meanwhile waits and is not refused.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from qmp_exporter.channel.connection import connected
from qmp_exporter.channel.messages import MAX_REQUEST, ChannelError, Numbers
from qmp_exporter.core.backoff import delay
from qmp_exporter.daemon.monitor.link import reason
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.web.answers import Answers
from qmp_exporter.daemon.web.conversation import Conversation
from qmp_exporter.runtime import out_of_memory

CHECK_EVERY: Final = 1.0  # seconds between two checks whether it is alive
SILENT: Final = 30.0  # seconds after which it is not: it says something every two seconds
LEAVES: Final = 3.0  # seconds in which it ends its answers when we end
STEADY: Final = 60.0  # seconds; who lived as long has not failed at once
WRONG: Final = 2  # its exit status when the web configuration is wrong, which it has told
# What is said to us by the service manager, and would be believed of it.
OURS_ALONE: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

log = structlog.get_logger()


class WebConfigWrong(Exception):
    """The web configuration is wrong, and the web process has told every error."""


@dataclass(frozen=True)
class WebOptions:
    telemetry_path: str = "/metrics"
    web_config: Path | None = None
    log_level: str = "info"
    log_format: str = "logfmt"

    def arguments(self) -> Iterator[str]:
        yield f"--telemetry-path={self.telemetry_path}"
        yield f"--log-level={self.log_level}"
        yield f"--log-format={self.log_format}"
        if self.web_config is not None:
            yield f"--web-config={self.web_config}"


class WebProcess:
    def __init__(
        self, options: WebOptions, listeners: Sequence[socket.socket], answers: Answers, stats: Selfstats
    ) -> None:
        self._options = options
        self._listeners = listeners
        self._answers = answers
        self._stats = stats
        self.serves = asyncio.Event()  # for the first time

    async def run(self) -> None:
        """Never returns; ends by being cancelled, and the process with it.

        :raise WebConfigWrong: before it has ever served.
        """
        failures = 0
        while True:
            began = time.monotonic()
            try:
                ended = _named(await self._live())
            except OSError as error:  # no memory, no descriptor, no room for a process
                ended = reason(error)
            failures = 1 if time.monotonic() - began >= STEADY else failures + 1
            pause = delay(failures, 0.5)
            log.error("the web process ended; starting it again", status=ended, seconds=round(pause, 1))
            self._stats.web_process_restarts.inc()
            await asyncio.sleep(pause)

    async def _live(self) -> int:
        """One process, from its start to its end -> its exit status; of a signal it is negative.

        :raise OSError: it cannot be started.
        :raise WebConfigWrong: as above.
        """
        async with _started(self._options, self._listeners) as (process, end):
            self._stats.watch_web_process(process.pid)
            conversation = Conversation(await connected(end, MAX_REQUEST), self._answers, self._told)
            beside = (self._talk(conversation, process), _kill_when_silent(conversation, process))
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one) for one in beside]
                    status = await process.wait()
                    for task in tasks:
                        task.cancel()
            finally:
                self._stats.watch_web_process(None)
        if status == WRONG and not self.serves.is_set():
            raise WebConfigWrong
        return status

    async def _talk(self, conversation: Conversation, process: asyncio.subprocess.Process) -> None:
        try:
            await conversation.run()
            await asyncio.sleep(LEAVES)  # it ends by itself, and its exit status tells why
        except ChannelError as error:
            log.error("the web process sends what it never would: it is ended", why=str(error))  # noqa: TRY400  no bug
        except Exception:
            log.exception("internal error while hearing the web process")
        _kill(process)

    def _told(self, numbers: Numbers) -> None:
        self._stats.told_by_web(numbers)
        self.serves.set()


async def _kill_when_silent(conversation: Conversation, process: asyncio.subprocess.Process) -> None:
    while True:
        await asyncio.sleep(CHECK_EVERY)
        if time.monotonic() - conversation.heard_at > SILENT:
            log.error("the web process says nothing: it is ended", seconds=SILENT)
            _kill(process)
            return


@contextlib.asynccontextmanager
async def _started(
    options: WebOptions, listeners: Sequence[socket.socket]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, socket.socket]]:
    """The process, and our end of what it asks us by, which the connection closes.

    In the end it has a moment to finish its answers: it sees that our end is closed.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await _start(options, theirs, listeners)
        try:
            yield process, ours
        finally:
            ours.close()
            try:
                await asyncio.wait_for(process.wait(), LEAVES)
            except TimeoutError:
                _kill(process)
                await process.wait()


async def _start(
    options: WebOptions, channel: socket.socket, listeners: Sequence[socket.socket]
) -> asyncio.subprocess.Process:
    passed = [channel.fileno(), *(listener.fileno() for listener in listeners)]
    command = [
        sys.executable,
        *(["-I"] if sys.flags.isolated else []),
        *("-m", "qmp_exporter.web", f"--channel={passed[0]}"),
        *(f"--listener={descriptor}" for descriptor in passed[1:]),
        *options.arguments(),
    ]
    with _signals_held():
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=passed,
            env={name: value for name, value in os.environ.items() if name not in OURS_ALONE},
        )


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """A process that is started now gets none of these before it has said that it does not want them.

    The terminal sends them to both, and it ends when we do.
    """
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _named(status: int) -> str:
    if status == out_of_memory.EXIT_STATUS:
        return "no memory left"
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name
