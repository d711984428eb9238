"""A directory -> a running qemu-storage-daemon with a disk in it; jobs take it for a machine.

async with storage_daemon(directory) as daemon:
    await jobs.mirror(daemon, "copy0")
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from qmp_exporter.demo.control import DEADLINE, Control, Event
from qmp_exporter.demo.machine import DataDisk, Machine, Style
from qmp_exporter.demo.qemu import dying_with_us

BINARY = "qemu-storage-daemon"


class StorageDaemon(NamedTuple):
    """What of a Qemu there is of it; the machine is only the names of a disk."""

    control: Control
    directory: Path
    machine: Machine

    @property
    def monitor(self) -> Path:
        return self.directory / "monitor.sock"

    async def execute(self, command: str, /, **arguments: Any) -> Any:
        return await self.control.execute(command, **arguments)

    async def event(self, name: str, /, **data: Any) -> Event:
        return await self.control.event(name, **data)


@contextlib.asynccontextmanager
async def storage_daemon(directory: Path) -> AsyncIterator[StorageDaemon]:
    """Inside, its monitors are there, unless the test has ended it."""
    disk = DataDisk()
    machine = Machine(style=Style.LIBVIRT, disk=disk)
    image = directory / "data.img"
    image.write_bytes(b"\xa5" * disk.size)
    ours, its = socket.socketpair()
    with its:
        _, control = await asyncio.get_running_loop().create_unix_connection(Control, sock=ours)
        daemon = StorageDaemon(control, directory, machine)
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(),
            *(BINARY, "--blockdev", f"driver=file,filename={image},node-name={machine.disk_drive}"),
            *("--chardev", f"socket,id=control,fd={its.fileno()}", "--monitor", "chardev=control"),
            *("--chardev", f"socket,id=exporter,path={daemon.monitor},server=on,wait=off"),
            *("--monitor", "chardev=exporter"),
            pass_fds=[its.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
        )
    try:
        async with asyncio.timeout(DEADLINE):
            await control.negotiate()
        yield daemon
    finally:
        control.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
