"""python -m qmp_exporter.web, as the watcher starts it -> the process that serves HTTP, until the watcher ends."""

import argparse
import asyncio
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from qmp_exporter.channel.connection import connected
from qmp_exporter.channel.messages import MAX_PIECE, ChannelError
from qmp_exporter.documents.document import ConfigError
from qmp_exporter.log import configure
from qmp_exporter.runtime import out_of_memory
from qmp_exporter.runtime.garbage import collect_garbage
from qmp_exporter.web import sandbox
from qmp_exporter.web.counted import Counted
from qmp_exporter.web.http import application
from qmp_exporter.web.watcher import NoAnswer, Watcher
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.listen import listening
from qmp_exporter.webserver.policy import ALLOW_ALL, Policy, rules

TELL_EVERY: Final = 2.0  # seconds
WRONG: Final = 2  # exit status: the web configuration is wrong
SACRIFICE: Final = 500  # of oom_score_adj, proc(5): when memory is short, this one goes and the watcher stays
MAX_MEMORY: Final = 768 << 20  # bytes; a crowd of clients is owed 128 MiB at most, in pages of 33 MiB for 2,000 VMs

log = structlog.get_logger()


def main() -> None:
    wanted = _command_line().parse_args()
    _ignore_signals()
    configure(wanted.log_level, wanted.log_format)
    listeners = [_listener(descriptor) for descriptor in wanted.listeners]
    channel = socket.socket(fileno=wanted.channel)
    _become_least()
    with asyncio.Runner() as runner:
        # It makes a pair of sockets, which cannot be made later.
        out_of_memory.end_when_met_by(runner.get_loop())
        _enter_sandbox()
        try:
            policy = rules(wanted.web_config) if wanted.web_config else ALLOW_ALL
        except ConfigError as error:
            sys.stderr.writelines(f"{line}\n" for line in error.errors)
            sys.exit(WRONG)
        with out_of_memory.ends_the_process():
            runner.run(serve(channel, listeners, policy, wanted.telemetry_path))


async def serve(
    channel: socket.socket, listeners: Sequence[socket.socket], policy: Policy, telemetry_path: str
) -> None:
    """Until the watcher has closed its end of the channel."""
    counted = Counted()
    watcher = Watcher(await connected(channel, MAX_PIECE), counted.numbers)
    access = AccessControl(policy, counted)
    app = application(watcher, telemetry_path)
    async with listening(app, listeners, access, counted), asyncio.TaskGroup() as group:
        beside = [
            group.create_task(_tell(watcher)),
            group.create_task(collect_garbage(lambda: True, lambda: 0)),
        ]
        try:
            await watcher.run()
        except ChannelError as error:
            log.error("the watcher sends what it never would", why=str(error))  # noqa: TRY400  no bug of this process
        for task in beside:
            task.cancel()


async def _tell(watcher: Watcher) -> None:
    """At once, which says that this serves, and then every two seconds, which says that it is alive."""
    with contextlib.suppress(NoAnswer):
        while True:
            await watcher.tell_numbers()
            await asyncio.sleep(TELL_EVERY)


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="qmp-exporter-web", description="started by qmp-exporter alone")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--listener", dest="listeners", type=int, action="append", default=[])
    parser.add_argument("--telemetry-path", required=True)
    parser.add_argument("--web-config", type=Path)
    parser.add_argument("--log-level", required=True)
    parser.add_argument("--log-format", required=True)
    return parser


def _ignore_signals() -> None:
    """They are the watcher's, which ends this process by closing the channel; a terminal sends them to both."""
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ours:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)  # they were held while this was started


def _listener(descriptor: int) -> socket.socket:
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)  # noqa: FBT003  the standard library's way
    return listener


def _become_least() -> None:
    with contextlib.suppress(OSError):  # where /proc is not to be written to
        Path("/proc/self/oom_score_adj").write_text(str(SACRIFICE))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))


def _enter_sandbox() -> None:
    try:
        sandbox.enter()
    except sandbox.NoFilter as error:
        log.warning("the web process runs without its filter of system calls", why=str(error))


if __name__ == "__main__":
    main()
