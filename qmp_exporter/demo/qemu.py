"""A description of a virtual machine -> a running QEMU with the guest in it; its end takes everything along.

    async with Qemu(Machine(disk=DataDisk(faults=(Fault("write"),), werror="report"))) as qemu:
        await qemu.order(Order.WRITE_BAD)
        await qemu.event("BLOCK_IO_ERROR", operation="write")

`qemu.monitor` is the socket for the exporter. The owner has a monitor of its own and the guest's serial line,
both over socket pairs: they are connected before QEMU starts, so nothing is polled for and nothing is lost.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections import deque
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from qmp_exporter.demo.control import DEADLINE, Control, Event
from qmp_exporter.demo.machine import MIB, Files, Machine, arguments

BINARY = "qemu-system-x86_64"
T = TypeVar("T")
GUEST = Path(__file__).with_name("guest.bin")


class Order(Enum):
    """What the guest can be told, in its own words (see guest.asm)."""

    READ_BAD = b"d\x02\x81\x02"
    WRITE_BAD = b"d\x03\x81\x02"
    READ_GOOD = b"d\x02\x81\x09"
    WRITE_GOOD = b"d\x03\x81\x09"
    READ_BOOT = b"d\x02\x80\x09"
    WRITE_BOOT = b"d\x03\x80\x09"
    SET_CLOCK = b"m"
    LET_WATCHDOG_EXPIRE = b"o\x43\x04\x0f"  # ib700: port 0x443, the shortest time
    PANIC = b"o\x05\x05\x01"  # pvpanic, which is not there unless asked for in `extra`
    CRASHLOAD = b"o\x05\x05\x02"
    RESET = b"o\x64\x00\xfe"  # by the keyboard controller
    POWER_OFF = b"O\x04\x06\x00\x20"  # S5 through the PM1a control register
    SUSPEND = b"O\x04\x06\x00\x24"  # S3

    def line(self, times: int) -> bytes:
        """-> the bytes for the guest; only disk orders have a count"""
        return self.value + times.to_bytes(2, "little") if self.value.startswith(b"d") else self.value


class Answer(Enum):
    """What the guest says."""

    READY = b"R"
    DONE = b"."
    FAILED = b"!"


class Qemu:
    """A QEMU process, the guest in it, and what belongs to them."""

    def __init__(self, machine: Machine | None = None, binary: str = BINARY) -> None:
        self.machine = machine or Machine()
        self.binary = binary
        self.spice_port = 0
        self.greeting: dict[str, Any] = {}
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._control: Control | None = None
        self._serial: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self) -> Self:
        """-> when the guest obeys, or, if the machine starts paused, when the monitors are there"""
        self._directory = tempfile.TemporaryDirectory(prefix="qmp-exporter-")
        try:
            async with asyncio.timeout(DEADLINE):
                await self._boot()
        except BaseException as error:
            error.add_note(f"{self.binary} said: {self.said() or 'nothing'}")
            await self.stop()
            raise
        return self

    async def _boot(self) -> None:
        _fill(self.files, self.machine)
        with contextlib.ExitStack() as theirs:
            control, their_control = socket.socketpair()
            serial, their_serial = socket.socketpair()
            theirs.enter_context(their_control)
            theirs.enter_context(their_serial)
            loop = asyncio.get_running_loop()
            _, self._control = await loop.create_unix_connection(Control, sock=control)
            self._serial = await asyncio.open_unix_connection(sock=serial)
            if self.machine.spice:
                self.spice_port = _free_port()
            fds = their_control.fileno(), their_serial.fileno()
            command = [self.binary, *arguments(self.machine, self.files, self.spice_port), *_owners(*fds)]
            log = theirs.enter_context((self.directory / "qemu.log").open("wb"))
            self._process = await asyncio.create_subprocess_exec(
                *dying_with_us(),
                *command,
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal is for the owner, who then ends QEMU
            )
        self.greeting = await self.control.negotiate()
        if not self.machine.paused:
            await self.ready()

    @property
    def directory(self) -> Path:
        """-> where the machine's files are until it is stopped"""
        return Path(_started(self._directory).name)

    @property
    def files(self) -> Files:
        """-> the machine's files"""
        return Files.under(self.directory)

    @property
    def monitor(self) -> Path:
        """-> the monitor socket for the exporter"""
        return self.files.monitor

    @property
    def control(self) -> Control:
        """-> the owner's monitor"""
        return _started(self._control)

    @property
    def process(self) -> asyncio.subprocess.Process:
        """-> QEMU's process"""
        return _started(self._process)

    @property
    def events(self) -> deque[Event]:
        """-> every event so far, awaited or not"""
        return self.control.events

    def said(self) -> str:
        """-> what QEMU has written to its standard error"""
        log = self.directory / "qemu.log"
        return log.read_text(errors="replace").strip() if log.exists() else ""

    async def execute(self, command: str, /, deadline: float = DEADLINE, **arguments: Any) -> Any:
        """A command on the owner's monitor -> what it returns; arguments with a dash: `**{"job-id": ...}`"""
        return await self.control.execute(command, deadline, **arguments)

    async def event(self, name: str, /, deadline: float = DEADLINE, **data: Any) -> Event:
        """-> the first event of that name with that data which nobody has awaited yet, past or to come"""
        return await self.control.event(name, deadline, **data)

    async def order(self, order: Order, times: int = 1) -> Answer:
        """An order to the guest -> its answer; one that resets or ends the machine is answered before"""
        self.send(order, times)
        return await self.answer()

    def send(self, order: Order, times: int = 1) -> None:
        """An order whose answer comes later: a request that stops the machine is answered after `cont`."""
        _started(self._serial)[1].write(order.line(times))

    async def tell(self, order: bytes) -> Answer:
        """An order in the guest's own words -> its answer"""
        _started(self._serial)[1].write(order)
        return await self.answer()

    async def answer(self, deadline: float = DEADLINE) -> Answer:
        """-> the next thing the guest says"""
        async with asyncio.timeout(deadline):
            said = await _started(self._serial)[0].read(1)
        if not said:
            raise ConnectionResetError("QEMU has ended")
        return Answer(said)

    async def ready(self, deadline: float = DEADLINE) -> None:
        """-> when the guest has started: on boot and after every reset"""
        async with asyncio.timeout(deadline):
            while await self.answer(deadline) is not Answer.READY:
                pass

    def kill(self) -> None:
        """SIGKILL: no event, the connections break, the sockets' files stay."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: SHUTDOWN because of host-signal, even with -no-shutdown."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def ended(self, deadline: float = DEADLINE) -> int:
        """-> QEMU's exit status (negative: the signal), after the last event has been read"""
        async with asyncio.timeout(deadline):
            await self.control.ended()
            return await self.process.wait()

    async def stop(self) -> None:
        """Take everything away, at once: there is nothing in this machine to be saved."""
        if self._process is not None:
            self.kill()
        if self._control is not None:
            self._control.close()
        if self._serial is not None:
            self._serial[1].transport.abort()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None
        if self._process is not None:
            await self._process.wait()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _started(part: T | None) -> T:
    if part is None:
        raise RuntimeError("not started, or stopped")
    return part


def _fill(files: Files, machine: Machine) -> None:
    """Write the images: a kilobyte for the boot disk, the rest of its megabyte is a hole."""
    files.boot.write_bytes(GUEST.read_bytes())
    os.truncate(files.boot, MIB)
    if machine.disk is not None:
        files.data.write_bytes(b"\xa5" * machine.disk.size)
    if machine.cdrom is not None:
        files.cd.write_bytes(bytes(64 * 1024))


def _owners(control: int, serial: int) -> list[str]:
    """-> the arguments for the two lines that only the owner has"""
    args = ["-chardev", f"socket,id=control,fd={control}", "-mon", "chardev=control,mode=control"]
    return [*args, "-chardev", f"socket,id=serial0,fd={serial}", "-serial", "chardev:serial0"]


def dying_with_us() -> list[str]:
    """-> a prefix that has the kernel kill a program when the thread that starts it dies, given util-linux"""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "SIGKILL", "--"] if setpriv else []


def _free_port() -> int:
    """-> a port of 127.0.0.1 that was free a moment ago; SPICE, unlike VNC, cannot look for one itself"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
