"""Attacks on the web process while a VM floods -> how late the watcher is, and whether an event is lost."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import NamedTuple

import psutil

from tests.bench.contest import Exporter, Scrape, feeding, ours
from tests.bench.scale import Scale
from tests.bench.table import Number, numbers

VMS = 50
RATE = 10_000  # events a second
LOUD = 1  # the number of the VM that floods
CROWD = 50  # attackers at once
PAUSE = 0.2  # seconds in which each of them does it once: 250 a second, far beyond any scraper
LETTERS = 8_000  # of a header
HEADER = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n%b\r\n"

Attack = Callable[[int, int], Awaitable[None]]  # what one attacker does once, at a port, against a process


class Siege(NamedTuple):
    attack: str
    rate: float  # events a second that came
    lag: float  # seconds; the longest of the last 15
    restarts: float


async def run(scale: Scale) -> str:
    sieges = [await _besieged(name, attack, scale) for name, attack in islice(ATTACKS.items(), scale.attacks)]
    rows = []
    for one in sieges:
        rows.append(Number(f"{one.attack}: event-loop lag of the watcher", [one.lag * 1e3], "ms", most=50))
        rows.append(Number(f"{one.attack}: events that came", [one.rate], "/s"))
        rows.append(Number(f"{one.attack}: web processes that were started again", [one.restarts], ""))
    head = f"{VMS} VMs, {RATE:,} events a second from one of them, {CROWD} attackers; no event was lost:"
    return f"{head}\n\n{numbers(rows)}"


async def _besieged(name: str, attack: Attack | None, scale: Scale) -> Siege:
    async with feeding(VMS) as feeder, ours(feeder) as exporter:
        await feeder.tell("negotiated")
        await exporter.all_up(VMS)
        await asyncio.sleep(scale.settle)  # the start holds the event loop
        async with attacked(exporter, attack):
            sent = await feeder.tell("flood", scale.flood, RATE, LOUD)
        page = await exporter.counted(int(sent))  # fails where one was lost
        lag, restarts = told(page)
        return Siege(name, sent / scale.flood, lag, restarts)


def told(page: Scrape) -> tuple[float, float]:
    """The lag of the watcher in seconds, and how many web processes were started again."""
    return page.total("qmp_exporter_event_loop_lag_seconds"), page.total("qmp_exporter_web_process_restarts_total")


@asynccontextmanager
async def attacked(exporter: Exporter, attack: Attack | None) -> AsyncIterator[None]:
    async def again_and_again() -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, psutil.NoSuchProcess, ValueError):
                async with asyncio.timeout(2):
                    await attack(exporter.port, exporter.process.process.pid)
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(again_and_again()) for _ in range(CROWD)] if attack else []
        yield
        for task in tasks:
            task.cancel()
        if attack is not None:
            await _wake(exporter.process.process.pid)


async def _asked(port: int, header: bytes, most: int = 1 << 30) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(HEADER % header)
        got = 0
        while got < most and (piece := await reader.read(1 << 16)):
            got += len(piece)
    finally:
        writer.transport.abort()


async def _long_header(port: int, _pid: int) -> None:
    await _asked(port, b"Accept: x;" + LETTERS * b"a" + b"\r\n")


async def _leaves(port: int, _pid: int) -> None:
    await _asked(port, b"", most=1)


async def _plain(port: int, _pid: int) -> None:
    await _asked(port, b"")


async def _silent(port: int, _pid: int) -> None:
    with socket.socket() as idle:
        idle.setblocking(False)  # noqa: FBT003  the standard library's way
        await asyncio.get_running_loop().sock_connect(idle, ("127.0.0.1", port))
        await asyncio.sleep(1)


async def _stopped(_port: int, pid: int) -> None:
    os.kill(_web(pid), signal.SIGSTOP)


async def _killed(_port: int, pid: int) -> None:
    if time.monotonic() % 2 < PAUSE:
        os.kill(_web(pid), signal.SIGKILL)


async def _wake(pid: int) -> None:
    with contextlib.suppress(ValueError):
        os.kill(_web(pid), signal.SIGCONT)


def _web(pid: int) -> int:
    (child,) = psutil.Process(pid).children()
    return child.pid


ATTACKS: dict[str, Attack | None] = {
    "none": None,
    "headers of 8,000 letters": _long_header,
    "clients that leave in the middle of an answer": _leaves,
    "plain scrapes": _plain,
    "connections that say nothing": _silent,
    "the web process is stopped": _stopped,
    "the web process is killed": _killed,
}
