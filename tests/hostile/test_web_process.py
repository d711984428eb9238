"""The process that faces the network dies, hangs, runs out of memory or is flooded -> the VMs are watched on."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest
from structlog.testing import capture_logs

from exporter import Exporter, Vm, client_of, exporting
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.web import web_process
from qmp_exporter.daemon.web.web_process import WebOptions, WebProcess
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.webserver.addresses import bound
from serving import answers_of
from waiting import awaited
from watching import connections, eventually

EVENTS = 20_000
REPLACED_WITHIN = 40.0  # seconds: one that has no memory takes its time to end
FLOOD = 64  # clients at once


def child_of(pid: int) -> psutil.Process:
    """The process that serves HTTP now."""
    (child,) = (one for one in psutil.Process(pid).children() if "qmp_exporter.web" in one.cmdline())
    return child


def web_of(exporter: Exporter) -> psutil.Process:
    return child_of(exporter.process.pid)


def sockets(pid: int) -> set[str]:
    """Those that a process has open, by their inode."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return {one for one in found if one.startswith("socket:")}


@contextlib.asynccontextmanager
async def watched(directory: Path, *arguments: str) -> AsyncIterator[tuple[Exporter, Monitor]]:
    async with Monitor(SimulatedVm("web01"), directory / "web01.sock") as monitor:
        vm = Vm("web01", directory / "web01.sock")
        async with exporting(directory, vm, arguments=arguments, complaints=True) as exporter:
            await exporter.says("qemu_up 1")
            yield exporter, monitor


async def storm(monitor: Monitor) -> None:
    """Ends when the exporter has read every event: nothing is left in the buffers of the VM."""
    await monitor.storm(EVENTS)
    await monitor.drain()


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def test_it_has_no_monitor_open_and_a_filter_that_lets_it_open_none(directory: Path) -> None:
    async with watched(directory) as (exporter, _):
        web = web_of(exporter)
        shared = sockets(web.pid) & sockets(exporter.process.pid)
        assert len(shared) == 1  # the one that listens
        status = proc(web, "status")
        assert "Seccomp:\t2\n" in status
        assert "NoNewPrivs:\t1\n" in status
        assert int(proc(web, "oom_score_adj")) == 500


def proc(process: psutil.Process, name: str) -> str:
    return Path(f"/proc/{process.pid}/{name}").read_text()


async def has_counted(exporter: Exporter, events: int) -> None:
    """Every one of them, and none twice; the last are on their way when the VM has sent them."""

    async def count() -> bool | None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # no web process may be there yet
            async with asyncio.timeout(1):
                page = await exporter.page()
                return sum(page.family("qemu_block_io_errors_total").values()) >= events or None
        return None

    await awaited(count, exporter.logged)
    assert sum((await exporter.page()).family("qemu_block_io_errors_total").values()) == events


async def test_it_is_killed_again_and_again_and_no_event_is_lost(directory: Path) -> None:
    async with watched(directory) as (exporter, monitor):
        for kills in range(1, 4):
            web_of(exporter).kill()
            await storm(monitor)
            await exporter.says(f"qmp_exporter_web_process_restarts_total {kills}")
            await has_counted(exporter, kills * EVENTS)
        assert connections(monitor) == 1
        assert "the web process ended; starting it again" in exporter.logged()


async def test_while_it_is_stopped_every_event_is_read(directory: Path) -> None:
    async with watched(directory) as (exporter, monitor):
        with stopped(web_of(exporter)):
            await storm(monitor)
        await has_counted(exporter, EVENTS)
        assert connections(monitor) == 1


async def test_a_flood_of_scrapes_while_events_come_loses_none(directory: Path) -> None:
    async with watched(directory) as (exporter, monitor):
        is_over = asyncio.Event()

        async def scrape() -> None:
            async with client_of(f"unix:{directory}/http.sock") as client:
                while not is_over.is_set():
                    async with client.get("/metrics") as answer:
                        assert answer.status == 200
                        await answer.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(FLOOD):
                group.create_task(scrape())
            await storm(monitor)
            is_over.set()
        await has_counted(exporter, EVENTS)
        assert connections(monitor) == 1


async def test_it_ends_with_the_watcher_even_if_that_is_killed(directory: Path) -> None:
    webs = []

    async def kill() -> None:
        async with watched(directory) as (exporter, _):
            webs.append(web_of(exporter))
            exporter.process.kill()
            await exporter.process.wait()

    with pytest.raises(ProcessLookupError):  # it cannot be told to end
        await kill()
    _, alive = psutil.wait_procs(webs, timeout=10)
    assert not alive


async def test_a_signal_that_is_meant_for_the_watcher_does_nothing_to_it(directory: Path) -> None:
    async with watched(directory) as (exporter, _):
        web = web_of(exporter)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            web.send_signal(number)
        assert (await exporter.page())["qmp_exporter_web_process_restarts_total"] == 0
        assert web_of(exporter).pid == web.pid


async def test_a_web_configuration_that_has_become_wrong_ends_no_watching_and_is_read_until_it_is_good(
    directory: Path,
) -> None:
    web_config = directory / "web.yml"
    web_config.write_text("{}")
    async with watched(directory, f"--web.config.file={web_config}") as (exporter, monitor):
        web_config.write_text("users: 3")
        web_of(exporter).kill()
        await exporter.logs('status="exit 2"')
        await storm(monitor)
        web_config.write_text("{}")
        await has_counted(exporter, EVENTS)


async def test_one_that_says_nothing_is_ended_and_started_again(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setattr(web_process, "SILENT", 3.0)
    monkeypatch.setattr(web_process, "CHECK_EVERY", 0.1)
    async with serving(directory) as (web, stats):
        await web.serves.wait()
        child = child_of(os.getpid())
        child.suspend()
        await is_started_again(stats)
        assert not child.is_running()


async def test_one_that_has_no_memory_left_is_started_again(directory: Path) -> None:
    """It ends when a client first asks for more than is there, and does not go on refusing one after the other."""
    with capture_logs() as logged:
        async with serving(directory) as (web, stats):
            await web.serves.wait()
            child = child_of(os.getpid())
            child.rlimit(resource.RLIMIT_DATA, (1, 1))  # what it has already it may use
            async with crowd(f"{directory}/http.sock"):
                await is_started_again(stats)
            assert not child.is_running()
    assert [line["status"] for line in logged] == ["no memory left"]


async def is_started_again(stats: Selfstats) -> None:
    async with asyncio.timeout(REPLACED_WITHIN):
        while not stats.values("qmp_exporter_web_process_restarts_total")[()]:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def crowd(path: str) -> AsyncIterator[None]:
    """More and more clients, each of whom never ends its request, and so keeps some 24 KiB."""
    unfinished = b"GET / HTTP/1.1\r\n" + 3 * (b"Padding: " + 8000 * b"x" + b"\r\n")
    writers: list[asyncio.StreamWriter] = []

    async def come() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(path)
                writers.append(writer)
                writer.write(unfinished)
                await writer.drain()

    async with asyncio.TaskGroup() as group:
        coming = group.create_task(come())
        yield
        coming.cancel()
    for writer in writers:
        writer.close()


@contextlib.asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[WebProcess, Selfstats]]:
    """A web process of this process."""
    stats = Selfstats()
    fleet = Fleet(stats)
    (listener,) = await bound([f"unix:{directory}/http.sock"])
    web = WebProcess(WebOptions(log_level="error"), [listener], answers_of(fleet, stats), stats)
    with listener:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(web.run())
            yield web, stats
            running.cancel()


async def test_one_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", str(directory / "no-python"))
        async with serving(directory) as (web, stats):
            await eventually(lambda: stats.values("qmp_exporter_web_process_restarts_total")[()] == 1)
            patched.undo()
            async with asyncio.timeout(REPLACED_WITHIN):
                await web.serves.wait()
