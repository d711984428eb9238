"""A configuration and options -> the running daemon, until a signal ends it."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from qmp_exporter import __version__
from qmp_exporter.config import Config
from qmp_exporter.daemon import systemd
from qmp_exporter.daemon.reload import Reload
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.reconciler import Reconciler
from qmp_exporter.daemon.targets.trouble_watch import TroubleWatch
from qmp_exporter.daemon.web.answers import Answers
from qmp_exporter.daemon.web.api import JsonOfTargets
from qmp_exporter.daemon.web.exposition import Exposition
from qmp_exporter.daemon.web.textfile import write_pages
from qmp_exporter.daemon.web.web_process import WebConfigWrong, WebOptions, WebProcess
from qmp_exporter.runtime.garbage import collect_garbage
from qmp_exporter.runtime.supervisor import restart_on_crash
from qmp_exporter.webserver.addresses import bound, named

DEFAULT_ADDRESS = ":10065"
SPARE_FILES = 64  # descriptors for anything but monitors: files that are read, logs, the event loop
HEARTBEAT = 1.0  # seconds between two checks of how late the event loop is
NOTIFY_AGAIN = 0.1  # seconds
LAG_WINDOW = 15  # heartbeats that the exported lag is the longest of

log = structlog.get_logger()


@dataclass(frozen=True)
class Options:
    addresses: tuple[str, ...] = ()  # none: what the service manager passes, else DEFAULT_ADDRESS
    web: WebOptions = field(default_factory=WebOptions)
    lifecycle: bool = False  # whether a request may reload the configuration
    systemd_socket: bool = False  # the service manager has to pass sockets, and the addresses are not for us
    log_events: bool = False
    textfile: Path | None = None  # where the page is written, too


async def run(
    config: Config, options: Options, read: Callable[[], Config], ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM or SIGINT.

    `read` reads the configuration again, on SIGHUP; `ready` is called once HTTP answers.

    :raise OSError: an address cannot be bound.
    :raise AddressError: an address is none.
    :raise ActivationError: the service manager passed no socket that listens.
    :raise WebConfigWrong: the web configuration has mistakes, which were told.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    allowed = _raise_file_limit()
    stats = Selfstats()
    stats.reload_successful.set(1)
    stats.reload_at.set(time.time())
    fleet = Fleet(stats, log_events=options.log_events)
    configured = Reconciler(config, fleet, stats)
    reload = Reload(read, configured.apply, stats)
    loop.add_signal_handler(signal.SIGHUP, reload.ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one may have come while we started
    on_request = reload.now if options.lifecycle else None
    exposition = Exposition(fleet, stats)
    troubles = TroubleWatch(fleet, stats)
    answers = Answers(fleet, exposition, JsonOfTargets(fleet, troubles), on_request)
    textfile = (partial(write_pages, options.textfile, exposition, lambda: fleet.ready),) if options.textfile else ()
    with contextlib.ExitStack() as opened:
        listeners, addresses = await _listeners(options)
        for listener in listeners:
            opened.enter_context(listener)
        web = WebProcess(options.web, listeners, answers, stats)
        is_ready = asyncio.Event()

        async def say_ready() -> None:
            await web.serves.wait()
            log.info("listening", version=__version__, addresses=addresses, targets=len(config.vms))
            while not systemd.notify("READY=1", _status(fleet)):  # noqa: ASYNC110  nothing tells when it has room
                await asyncio.sleep(NOTIFY_AGAIN)
            is_ready.set()
            ready()

        try:
            await _until(
                stop,
                web.run,
                say_ready,
                fleet.run,
                configured.run,
                partial(restart_on_crash, reload.run),
                partial(restart_on_crash, troubles.run),
                partial(_heartbeat, fleet, stats, allowed, is_ready),
                partial(collect_garbage, lambda: fleet.ready, lambda: fleet.gone),
                *textfile,
            )
        finally:
            systemd.notify("STOPPING=1")
    gc.freeze()  # the interpreter looks through all that is left before it ends: 2 s for 2,000 VMs
    log.info("stopped")


async def _listeners(options: Options) -> tuple[list[socket.socket], str]:
    """And what they are called."""
    if options.systemd_socket or (not options.addresses and systemd.passes_sockets()):
        listeners = systemd.inherited()
        return listeners, " ".join(map(named, listeners))
    addresses = options.addresses or (DEFAULT_ADDRESS,)
    return await bound(addresses), " ".join(addresses)


async def _until(stop: asyncio.Event, *tasks_of: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run them all until then; the first one that fails ends the others.

    :raise WebConfigWrong: one of them did.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run()) for run in tasks_of]
            await stop.wait()
            for task in tasks:
                task.cancel()
    except ExceptionGroup as group:  # not except*: what is raised there Python 3.11.2 puts into a group again
        if group.split(WebConfigWrong)[1] is None:
            raise WebConfigWrong from None
        raise


async def _heartbeat(fleet: Fleet, stats: Selfstats, allowed: int, is_ready: asyncio.Event) -> None:
    """Measure how late the event loop is, and tell the service manager that it turns at all, and what for.

    `is_ready`: the service manager knows that we are.
    """
    lags: deque[float] = deque(maxlen=LAG_WINDOW)
    interval = systemd.watchdog_interval()
    fed_at, said = 0.0, ""
    enough = True
    while True:
        enough = enough and _is_enough(allowed, len(fleet.watches))  # said once: they may all be found later
        due = time.monotonic() + HEARTBEAT
        await asyncio.sleep(HEARTBEAT)
        now = time.monotonic()
        lags.append(max(0.0, now - due))
        stats.loop_lag.set(max(lags))
        if not is_ready.is_set():
            continue
        if interval is not None and now - fed_at >= interval / 3:
            systemd.notify("WATCHDOG=1")
            fed_at = now
        if (status := _status(fleet)) != said and systemd.notify(status):
            said = status


def _status(fleet: Fleet) -> str:
    states = Counter(fleet.states())
    failures = "".join(f"; {source.name}: {why}" for source, why in sorted(fleet.failures.items())[:1])
    return f"STATUS={states['connected']} of {states.total()} monitors connected{failures}"


def _raise_file_limit() -> int:
    """As far as it goes: the soft limit of 1,024 is for programs that use select().  How many files may be open now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _is_enough(allowed: int, targets: int) -> bool:
    """A descriptor for each monitor and for the process behind it, and for all else; says so if it is not."""
    wanted = 2 * targets + SPARE_FILES
    if allowed == resource.RLIM_INFINITY or allowed >= wanted:
        return True
    log.warning(
        "too few open files are allowed for all monitors: raise LimitNOFILE= or ulimit -Hn",
        allowed=allowed,
        wanted=wanted,
        targets=targets,
    )
    return False
