"""Simulated VMs, an exporter that watches them, a browser that looks."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

import chromium
from exporter import Vm, exporting, free_port
from parts import need
from qmp_exporter.simulator import Monitor, SimulatedVm

Open = Callable[..., Awaitable[chromium.View]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for the path of a socket."""
    with tempfile.TemporaryDirectory(prefix="qe-") as name:
        yield Path(name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests, since it takes seconds to start; each opens its page with a profile of its own."""
    async with chromium.started(need(chromium.BINARY)) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def opened(directory: Path, browser: Browser) -> AsyncIterator[Open]:
    """Opens the page of an exporter that watches simulated VMs, and targets without one."""
    async with contextlib.AsyncExitStack() as stack:

        async def view(
            *vms: SimulatedVm, targets: tuple[Vm, ...] = (), poll: str = "1s", **context: object
        ) -> chromium.View:
            for number, vm in enumerate(vms):
                await stack.enter_async_context(Monitor(vm, directory / f"{number}.sock"))
            watched = [Vm(vm.name, directory / f"{number}.sock") for number, vm in enumerate(vms)]
            address = f"127.0.0.1:{free_port()}"
            await stack.enter_async_context(exporting(directory, *watched, *targets, poll=poll, address=address))
            return await stack.enter_async_context(chromium.viewing(browser, address, **context))

        yield view
