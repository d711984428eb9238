"""A configuration and options -> the running daemon, until a signal ends it."""

import asyncio
import gc
import resource
import signal
import time
from collections import deque
from dataclasses import dataclass

import structlog

from qmp_exporter import __version__
from qmp_exporter.config import Config
from qmp_exporter.daemon import systemd
from qmp_exporter.daemon.connections import Plain
from qmp_exporter.daemon.dial_in import DialIn
from qmp_exporter.daemon.exposition import Exposition
from qmp_exporter.daemon.fleet import Fleet
from qmp_exporter.daemon.http import application
from qmp_exporter.daemon.listen import listening
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.sources import STATIC

DEFAULT_ADDRESS = ":10065"
HEARTBEAT = 1.0  # seconds between two looks at how late the event loop is
GC_THRESHOLD = (
    50_000,
    20,
    100,
)  # what a VM keeps is no garbage: looking through it at the default rate is a fifth of CPU
LAG_WINDOW = 15  # heartbeats that the exported lag is the longest of

log = structlog.get_logger()


@dataclass(frozen=True)
class Options:
    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    telemetry_path: str = "/metrics"


async def run(config: Config, options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    :raise OSError: an address cannot be bound.
    :raise AddressError: an address is none.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _raise_file_limit()
    gc.set_threshold(*GC_THRESHOLD)
    stats = Selfstats()
    stats.reload_successful.set(1)
    stats.reload_at.set(time.time())
    fleet = Fleet(stats)
    fleet.want(STATIC, config.vms)
    app = application(fleet, Exposition(fleet, stats), options.telemetry_path)
    async with listening(app, options.addresses, Plain(), stats):
        log.info("listening", version=__version__, addresses=" ".join(options.addresses), targets=len(config.vms))
        systemd.notify("READY=1", f"STATUS=Watching {len(config.vms)} monitors")
        try:
            await _until(stop, fleet, stats, [DialIn(listener, fleet, stats) for listener in config.listen])
        finally:
            systemd.notify("STOPPING=1")
    log.info("stopped")


async def _until(stop: asyncio.Event, fleet: Fleet, stats: Selfstats, listeners: list[DialIn]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(fleet.run()), group.create_task(_heartbeat(stats))]
        tasks += [group.create_task(listener.run()) for listener in listeners]
        await stop.wait()
        for task in tasks:
            task.cancel()


async def _heartbeat(stats: Selfstats) -> None:
    """Measure how late the event loop is, and tell the service manager that it turns at all."""
    lags: deque[float] = deque(maxlen=LAG_WINDOW)
    interval = systemd.watchdog_interval()
    fed_at = 0.0
    while True:
        due = time.monotonic() + HEARTBEAT
        await asyncio.sleep(HEARTBEAT)
        now = time.monotonic()
        lags.append(max(0.0, now - due))
        stats.loop_lag.set(max(lags))
        if interval is not None and now - fed_at >= interval / 3:
            systemd.notify("WATCHDOG=1")
            fed_at = now


def _raise_file_limit() -> None:
    """A descriptor for each monitor: the soft limit of 1,024 is for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
