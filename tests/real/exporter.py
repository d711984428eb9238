"""Monitors -> the exporter as its users run it: a process with a configuration file, asked over HTTP.

async with exporting(directory, Vm("web01", socket)) as exporter:
    await exporter.says("qemu_vm_running 0")  # at once, or after a while
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from page import Page
from qmp_exporter.demo.qemu import dying_with_us
from waiting import DEADLINE, awaited

PROGRAM = Path(sys.executable).with_name("qmp-exporter")
STOPPED_WITHIN = 5.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NEVER = "1h"  # the longest poll interval: what changes within a test was made to change by an event


class Vm(NamedTuple):
    """A target as it stands in the configuration."""

    name: str
    socket: str | Path
    labels: dict[str, str] = {}  # noqa: RUF012  nobody changes it
    allow_shared_monitor: bool = False
    metrics: dict[str, list[str]] = {}  # noqa: RUF012  likewise
    visit: bool = False


class Exporter:
    """A running exporter; what it says is what it says of its first VM."""

    def __init__(self, process: asyncio.subprocess.Process, vm: Vm, client: aiohttp.ClientSession, log: Path) -> None:
        self.process = process
        self.vm = vm
        self._client = client
        self._log = log

    async def page(self, *, openmetrics: bool = False) -> Page:
        """Scrape once."""
        headers = {"Accept": OPENMETRICS} if openmetrics else {}
        async with self._client.get("/metrics", headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == (OPENMETRICS.partition(";")[0] if openmetrics else "text/plain")
            return Page(await answer.text(), {"vm": self.vm.name, **self.vm.labels}, openmetrics=openmetrics)

    async def target(self) -> dict[str, Any]:
        """What the JSON says of the VM."""
        async with self._client.get("/api/v1/targets") as answer:
            targets = (await answer.json())["data"]["targets"]
        return next(target for target in targets if target["vm"] == self.vm.name)

    async def shows(self, wrong: Callable[[Page], Iterable[str]], deadline: float = DEADLINE) -> Page:
        """-> the first page with which nothing is wrong"""
        complaints: list[str] = []

        async def ask() -> Page | None:
            page = await self.page()
            complaints[:] = wrong(page)
            return None if complaints else page

        return await awaited(ask, lambda: "\n".join([*complaints, "and the log says:", self.logged()]), deadline)

    async def says(self, expected: str, *, absent: Iterable[str] = (), deadline: float = DEADLINE) -> Page:
        """-> the first page with these samples, and without any of the absent names"""
        return await self.shows(lambda page: page.denials(expected, absent), deadline)

    async def logs(self, words: str) -> str:
        """-> the first line of the log with these words"""

        async def find() -> str | None:
            return next((line for line in self.logged().splitlines() if words in line), None)

        return await awaited(find, self.logged)

    def about(self, vm: Vm) -> "Exporter":
        """-> the same one, and what it says of another VM"""
        return Exporter(self.process, vm, self._client, self._log)

    def logged(self) -> str:
        return _text(self._log)


def configuration(
    *vms: Vm,
    poll: str = NEVER,
    listen: dict[str, str] | None = None,
    discover: dict[str, str] | None = None,
    files: str = "",
    libvirt: dict[str, object] | None = None,
) -> str:
    targets = [{**vm._asdict(), "socket": str(vm.socket)} for vm in vms]
    sources = {"listen": listen, "discover": discover, "files": files, "libvirt": libvirt}
    elsewhere = {key: [entry] for key, entry in sources.items() if entry}
    # JSON is YAML with every string in double quotes; only its pairs of surrogates are not.
    return json.dumps({"poll_interval": poll, **(elsewhere or {"vms": targets})}, ensure_ascii=False)


@contextlib.asynccontextmanager
async def exporting(
    directory: Path,
    *vms: Vm,
    poll: str = NEVER,
    address: str = "",
    arguments: Iterable[str] = (),
    listen: dict[str, str] | None = None,
    discover: dict[str, str] | None = None,
    files: str = "",
    libvirt: dict[str, object] | None = None,
    complaints: bool = False,
    ask: Callable[[str], aiohttp.ClientSession] | None = None,
) -> AsyncIterator[Exporter]:
    """Inside, it listens: on a unix socket in the directory unless told otherwise. It must end well, and soon.

    `listen`: where the VMs are to dial in; `discover`: where they are looked for; `files`: where they are listed;
    `libvirt`: whose domains they are; the configuration names no VM then.
    `complaints`: it may log errors, for it will be given reason to.
    `ask` makes a client for the address, where plain HTTP is not enough.
    """
    config = directory / "config.yaml"
    config.write_text(configuration(*vms, poll=poll, listen=listen, discover=discover, files=files, libvirt=libvirt))
    address = address or f"unix:{directory}/http.sock"
    log = directory / "exporter.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, log.open("wb") as stderr:
        notified.setblocking(False)  # noqa: FBT003  the method's own way
        (directory / "notify.sock").unlink(missing_ok=True)  # of an exporter before this one
        notified.bind(str(directory / "notify.sock"))
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(),
            *(PROGRAM, f"--config.file={config}", f"--web.listen-address={address}", *arguments),
            stderr=stderr,
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify.sock")},
        )
        try:
            await _ready(notified, process, log)
            async with (ask or client_of)(address) as client:
                yield Exporter(process, next(iter(vms), Vm("", "")), client, log)
            await _stopped(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    lines = [line for line in _text(log).splitlines() if 'msg="trouble began"' not in line]  # of VMs
    unwanted = {"Traceback"} if complaints else {"level=error", "Traceback"}
    assert not unwanted & set(" ".join(lines).split()), _text(log)


async def _ready(notified: socket.socket, process: asyncio.subprocess.Process, log: Path) -> None:
    try:
        async with asyncio.timeout(DEADLINE):
            words = await asyncio.get_running_loop().sock_recv(notified, 1024)
    except TimeoutError as error:
        error.add_note(f"not ready (exit status {process.returncode}): {_text(log)}")
        raise
    assert words.startswith(b"READY=1\n")


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


async def _stopped(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOPPED_WITHIN):
        assert await process.wait() == 0


def client_of(address: str) -> aiohttp.ClientSession:
    if address.startswith("unix:"):
        connector = aiohttp.UnixConnector(address.removeprefix("unix:"))
        return aiohttp.ClientSession("http://localhost", connector=connector)
    return aiohttp.ClientSession(f"http://{address}")


def free_port() -> int:
    """-> a port of 127.0.0.1 that was free a moment ago, for programs that cannot look for one and say which"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
