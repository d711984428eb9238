"""A simulated VM with its monitor, and a watch of it: what the tests of the daemon begin with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from qmp_exporter.catalog import without
from qmp_exporter.config import Target
from qmp_exporter.daemon.monitor.visit_watch import VisitWatch
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import STATIC
from qmp_exporter.daemon.web.answers import Reload
from qmp_exporter.web.counted import Counted
from qmp_exporter.web.http import application
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.addresses import bound
from qmp_exporter.webserver.listen import listening
from qmp_exporter.webserver.policy import ALLOW_ALL
from serving import Serve, Server, answers_of, talking
from watching import NEVER, Running, Start, Watched


@pytest.fixture
async def watch(directory: Path) -> AsyncIterator[Start]:
    """Start to watch a target; it ends with the test."""
    async with asyncio.TaskGroup() as group:
        tasks = []

        def start(socket: str | Path = directory / "web01.sock", poll: float = NEVER, **target: object) -> Watched:
            stats = Selfstats()
            wanted = Target("web01", str(socket), poll_interval=poll, **target)
            kind = VisitWatch if wanted.visit else Watch
            watch = kind(wanted, without(wanted.disabled), stats, lambda: 0.5)
            tasks.append(group.create_task(watch.run()))
            return Watched(watch, stats)

        yield start
        for task in tasks:
            task.cancel()


@pytest.fixture
async def fleet() -> AsyncIterator[Running]:
    async with asyncio.TaskGroup() as group:
        fleet = Running()
        running = group.create_task(fleet.run())
        yield fleet
        running.cancel()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve targets at an address, and watch them if asked to."""
    async with (
        asyncio.TaskGroup() as group,
        contextlib.AsyncExitStack() as served,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        watching = []

        async def start(
            *targets: Target, path: str = "/metrics", watch: bool = False, reload: Reload | None = None
        ) -> Server:
            stats = Selfstats()
            fleet = Fleet(stats)
            fleet.want(STATIC, (replace(target, poll_interval=NEVER) for target in targets))
            answers = answers_of(fleet, stats, reload)
            counted = Counted()
            watcher = await served.enter_async_context(talking(answers, stats, counted.numbers))
            app = application(watcher, path)
            (listener,) = await bound(["127.0.0.1:0"])
            await served.enter_async_context(listening(app, [listener], AccessControl(ALLOW_ALL, counted), counted))
            if watch:
                watching.append(group.create_task(fleet.run()))
            return Server(fleet, session, f"http://127.0.0.1:{listener.getsockname()[1]}")

        yield start
        for task in watching:
            task.cancel()
