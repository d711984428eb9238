"""Commands of the quickstarts, as they stand there -> a VM that the exporter has, and that diagnose calls good."""

import asyncio
import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from exporter import PROGRAM, client_of
from qmp_exporter.demo.qemu import dying_with_us
from waiting import awaited

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("qemu_binary")]

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qe-") as name:
        yield Path(name)


def block(page: str, language: str, begins: str) -> str:
    """-> the first such block of a page"""
    found = re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return next(text for text in found if text.lstrip("# ").startswith(begins))


async def qemu_version() -> tuple[int, ...]:
    process = await asyncio.create_subprocess_exec("qemu-system-x86_64", "--version", stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    match = re.search(r"version (\d+)\.(\d+)", said.decode())
    assert match is not None
    return int(match[1]), int(match[2])


@contextlib.asynccontextmanager
async def running(*command: str, directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with (directory / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*dying_with_us(), *command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def followed(page: str, written: str, directory: Path) -> AsyncIterator[Path]:
    """Do what a page says, with another directory than the one that it names; -> the configuration."""
    sockets = directory / "run"
    sockets.mkdir()
    command = block(page, "sh", "qemu-system-x86_64").replace(written, str(sockets))
    if await qemu_version() < (9, 2):
        command = command.replace("reconnect-ms=1000", "reconnect=1")  # as the page says
    config = directory / "config.yaml"
    config.write_text(block(page, "yaml", "/etc/qmp-exporter").replace(written, str(sockets)))
    yaml.safe_load(config.read_text())
    async with running("sh", "-c", f"exec {command}", directory=directory):
        yield config


@contextlib.asynccontextmanager
async def exporter(config: Path) -> AsyncIterator[None]:
    """Inside, it has one VM, which is up."""
    address = f"unix:{config.parent}/http.sock"
    arguments = (f"--config.file={config}", f"--web.listen-address={address}")
    async with running(str(PROGRAM), *arguments, directory=config.parent), client_of(address) as client:

        async def is_up() -> bool | None:
            with contextlib.suppress(OSError):
                async with client.get("/metrics") as answer:
                    return 'qemu_up{vm="web01"} 1.0' in await answer.text() or None
            return None

        await awaited(is_up, (config.parent / "log").read_text)
        yield


async def diagnose(config: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), "diagnose", f"--user={'root' if os.geteuid() == 0 else ''}", str(config)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_plain_qemu(directory: Path) -> None:
    async with followed("quickstart-qemu.md", "/run/qmp", directory) as config:

        async def is_good() -> str | None:
            status, said = await diagnose(config)
            return said if status == 0 else None

        assert "web01  good" in await awaited(is_good, (directory / "log").read_text)
        async with exporter(config):
            status, said = await diagnose(config)
    assert (status, "web01  watched" in said) == (0, True), said


async def test_dialling_in(directory: Path) -> None:
    async with followed("dial-in.md", "/run/qmp-exporter", directory) as config:
        status, said = await diagnose(config)
        assert (status, "The exporter does not listen here." in said) == (1, True), said
        assert "VM web01" in said
        async with exporter(config):
            status, said = await diagnose(config)
            assert (status, "VMs that have dialled in: 1." in said) == (0, True), said
        async with exporter(config):  # another one, which the same QEMU finds
            pass
