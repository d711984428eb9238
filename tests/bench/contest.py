"""Sockets -> simulated VMs on one side; this exporter, the naive one and stock qemu.qmp on the other.

A scrape asks as Prometheus does: OpenMetrics with gzip.
"""

import asyncio
import gzip
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from qmp_exporter.catalog import CATALOG
from tests.bench.process import Process, running

# structlog imports rich where it is there, 3 MiB; tools of the development environment bring it, and no user has it.
START = "import sys; sys.modules['rich'] = None; from qmp_exporter.__main__ import start; start()"
PROGRAM = (sys.executable, "-c", START)
HERE = Path(__file__).parent
POLL = 15  # seconds
PATIENCE = 120.0  # seconds; only a failure takes so long
PAUSE = 0.005  # seconds between two looks at a page
AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}


class Scrape(NamedTuple):
    at: float  # monotonic, when all of it was there
    seconds: float  # that it took
    packed: bytes

    @property
    def lines(self) -> list[str]:
        return gzip.decompress(self.packed).decode().splitlines()

    @property
    def samples(self) -> int:
        return sum(not line.startswith("#") for line in self.lines)

    def total(self, name: str, *labels: str) -> float:
        """The sum of a family's samples that have these labels."""
        of_it = (line for line in self.lines if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(line.rpartition(" ")[2]) for line in of_it if all(label in line for label in labels))


class Names(NamedTuple):
    """What an exporter calls the metrics that all have."""

    up: str
    events: str
    io_errors: str


OUR_NAMES = Names("qemu_up", "qemu_events_total", "qemu_block_io_errors_total")
NAIVE_NAMES = Names("naive_up", "naive_events_total", "naive_block_io_errors_total")


class Exporter:
    def __init__(self, process: Process, port: int, client: aiohttp.ClientSession, names: Names) -> None:
        self.process = process
        self.names = names
        self.port = port
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._client = client

    async def scrape(self) -> Scrape:
        started = time.monotonic()
        async with self._client.get(self._url, headers=AS_PROMETHEUS) as answer:
            packed = await answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.content_type == "application/openmetrics-text"
        ended = time.monotonic()
        return Scrape(ended, ended - started, packed)

    async def until(self, true: Callable[[Scrape], bool]) -> Scrape:
        """The first page of which this is true."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    scrape = await self.scrape()
                except aiohttp.ClientConnectionError:  # it does not listen yet
                    await asyncio.sleep(PAUSE)
                    continue
                if true(scrape):
                    return scrape
                await asyncio.sleep(PAUSE)

    async def all_up(self, vms: int) -> Scrape:
        return await self.until(lambda scrape: scrape.total(self.names.up) == vms)

    async def counted(self, events: int) -> Scrape:
        """When all of these events are on the page; more would be wrong as well.

        :raise TimeoutError: some were lost.
        """
        scrape = await self.until(lambda scrape: scrape.total(self.names.io_errors) >= events)
        assert scrape.total(self.names.io_errors) == scrape.total(self.names.events) == events
        return scrape


Contestant = Callable[["Feeder"], AbstractAsyncContextManager[Exporter]]


@asynccontextmanager
async def ours(feeder: "Feeder", poll: int = POLL) -> AsyncIterator[Exporter]:
    async with exporting(dict(zip(feeder.names, feeder.sockets, strict=True)), poll) as exporter:
        yield exporter


@asynccontextmanager
async def exporting(sockets: dict[str, Path], poll: int = POLL) -> AsyncIterator[Exporter]:
    """The program as its users start it, with these VMs by name."""
    targets = [{"name": name, "socket": str(path)} for name, path in sockets.items()]
    async with configured({"poll_interval": f"{poll}s", "vms": targets}) as exporter:
        yield exporter


@asynccontextmanager
async def configured(configuration: dict[str, object]) -> AsyncIterator[Exporter]:
    """The same with any configuration."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        json.dump(configuration, config)  # JSON is YAML
        config.flush()
        port = free_port()
        options = (f"--config.file={config.name}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error")
        async with running(*PROGRAM, *options) as process, aiohttp.ClientSession(auto_decompress=False) as client:
            yield Exporter(process, port, client, OUR_NAMES)


@asynccontextmanager
async def naive(feeder: "Feeder") -> AsyncIterator[Exporter]:
    port = free_port()
    command = (sys.executable, HERE / "naive.py", str(port), str(POLL), *feeder.sockets)
    queries = ("--connect", *_commands("connect", "poll", "slow", "rare"), "--poll", *_commands("poll"))
    async with running(*command, *queries) as process, aiohttp.ClientSession(auto_decompress=False) as client:
        yield Exporter(process, port, client, NAIVE_NAMES)


@asynccontextmanager
async def counting(program: str, feeder: "Feeder", events: int) -> AsyncIterator[Process]:
    """A program of this folder that does nothing but count; inside, it is connected."""
    async with running(sys.executable, HERE / program, str(events), *feeder.sockets) as process:
        assert await process.line() == "ready"
        yield process


def _commands(*cadences: str) -> Iterable[str]:
    return (q.command for q in CATALOG.queries if q.every in cadences and not q.instead_of_newer)


class Feeder:
    """Simulated VMs in a process of their own; see feeder.py for what they can be told."""

    def __init__(self, process: Process, directory: Path, vms: int) -> None:
        self.process = process
        self.names = [f"vm{number:04}" for number in range(1, vms + 1)]
        self.sockets = [directory / f"{name}.sock" for name in self.names]
        self._answers: dict[str, asyncio.Future[float]] = {}

    async def tell(self, order: str, *arguments: int) -> float:
        assert self.process.process.stdin is not None
        identifier = str(len(self._answers) + 1)
        self._answers[identifier] = asyncio.get_running_loop().create_future()
        self.process.process.stdin.write(" ".join((identifier, order, *map(str, arguments))).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await self._answers[identifier]

    async def listen(self) -> None:
        while True:
            identifier, answer = (await self.process.line()).split()
            self._answers[identifier].set_result(float(answer))


@asynccontextmanager
async def feeding(vms: int) -> AsyncIterator[Feeder]:
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-bench-") as directory:
        async with running(sys.executable, HERE / "feeder.py", directory, str(vms), orders=True) as process:
            assert await process.line() == "0 ready"
            feeder = Feeder(process, Path(directory), vms)
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(feeder.listen())
                yield feeder
                listening.cancel()


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
