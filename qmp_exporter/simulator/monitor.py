"""A SimulatedVm and an address -> a QMP monitor that listens there and serves one client after the other."""

import asyncio
import contextlib
import os
import socket
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qmp_exporter.simulator.block import BlockDevice
from qmp_exporter.simulator.faults import Fault, Flood, Garbage, HangUp, NoGreeting, Stall, StrayReply, WrongId
from qmp_exporter.simulator.session import Session
from qmp_exporter.simulator.throttle import Event
from qmp_exporter.simulator.vm import SimulatedVm
from qmp_exporter.simulator.wire import Json, QmpError, Request, encode

Address = str | Path | tuple[str, int]

# How much a storm may have under way: enough to keep the socket full, little enough to feel its client.
_STORM_WINDOW = 256 << 10
_STORM_BURST = 256
_TIMESTAMP = b'{"timestamp": {"seconds": %d, "microseconds": %d}, '
_FLOOD_TICK = 0.01


class Monitor:
    """One monitor of `vm`: at a path, at "@name" (an abstract socket) or at (host, port), 0 for any port.

    As QEMU, it takes a client from its queue (of one) only when the one before has left; the next waits
    connected and gets no greeting, and a few more get no connection at all. Any number of monitors may
    listen to one VM. With `pretty` messages are spread over lines, as with `-mon ...,pretty=on`.
    """

    def __init__(self, vm: SimulatedVm, address: Address, *, pretty: bool = False, received_limit: int = 1000) -> None:
        self.vm = vm
        self.address = address
        self.pretty = pretty
        self.session: Session | None = None
        self.faults: list[Fault] = []
        self.received: deque[Request] = deque(maxlen=received_limit)
        self._listener: socket.socket | None = None
        self._io_errors: dict[str, bytes] = {}
        self._to_suffer: list[Fault] = []
        self._asked: list[tuple[str, asyncio.Future[Request]]] = []
        self._negotiated = asyncio.Event()
        self._vacant = asyncio.Event()
        self._vacant.set()

    async def __aenter__(self) -> Self:
        self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- life ---

    def listen(self) -> None:
        self._listener, self.address = _listen(self.address)
        self._attach()
        self._accept_next()

    def close(self) -> None:
        """Ends at once, whatever is unsent."""
        self._stop_listening(unlink=True)
        if self.session is not None:
            self.session.close()

    def _on_exit(self) -> None:
        self._stop_listening(unlink=not self.vm.killed)
        if self.session is not None:
            self.session.finish()

    def _stop_listening(self, *, unlink: bool) -> None:
        if self._listener is None:
            return
        self._detach()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        if unlink and isinstance(self.address, str | Path) and not str(self.address).startswith("@"):
            Path(self.address).unlink(missing_ok=True)

    def _attach(self) -> None:
        self.vm.on_event.append(self._on_event)
        self.vm.on_exit.append(self._on_exit)

    def _detach(self) -> None:
        self.faults.clear()
        self.vm.on_event.remove(self._on_event)
        self.vm.on_exit.remove(self._on_exit)

    def _accept_next(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 - the reader is gone when it is closed
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has thought better of it
            return
        sock.setblocking(False)  # noqa: FBT003 - the standard library's way
        asyncio.get_running_loop().remove_reader(self._listener)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        self._vacant.clear()
        self.session = Session(self, sock)
        self.session.open()

    # --- what a test waits for ---

    @property
    def sessions(self) -> list[Session]:
        return [] if self.session is None else [self.session]

    async def negotiated(self) -> Session:
        """The client, once it is past qmp_capabilities."""
        while True:
            await self._negotiated.wait()
            if self.session is not None and self.session.negotiated:
                return self.session

    async def vacant(self) -> None:
        """No client is being served."""
        await self._vacant.wait()

    async def asked(self, command: str) -> Request:
        """The next time that a client sends this command, answered or not."""
        future: asyncio.Future[Request] = asyncio.get_running_loop().create_future()
        self._asked.append((command, future))
        return await future

    async def drain(self) -> None:
        """All that was written has gone to the client's socket."""
        if self.session is not None:
            await self.session.drain()

    # --- events ---

    def event(self, name: str, data: Json | None) -> Json:
        return Event(name, data, self.vm.clock()).message()

    def _on_event(self, event: Event) -> None:
        # To nobody: gone forever. In negotiation mode: not sent either.
        if self.session is not None and self.session.negotiated:
            self.session.send(event.message())

    def burst(self, count: int, device: str | None = None) -> None:
        """`count` BLOCK_IO_ERROR to this monitor's client, if there is one, all with one timestamp.

        They count as failed writes of the disk. Encoding each by itself, as for `vm.io_error`, costs some
        8 microseconds; here all but the timestamp is encoded once per disk.
        """
        block = self.vm.block(device) if device else self.vm.blocks[0]
        now = self.vm.clock()
        block.fail("write", "report", count, now, nospace=False)
        if self.session is not None and self.session.negotiated:
            self.session.write(self._io_error(block, now) * count)

    def _io_error(self, block: BlockDevice, now: float) -> bytes:
        if block.id not in self._io_errors:
            event = Event("BLOCK_IO_ERROR", self.vm.io_error_data(block, "write", "report"), 0.0)
            _, middle, rest = encode(event.message()).partition(b'"event"')
            self._io_errors[block.id] = middle + rest
        whole = int(now)
        return _TIMESTAMP % (whole, int((now - whole) * 1e6)) + self._io_errors[block.id]

    async def storm(self, count: int, device: str | None = None) -> None:
        """`count` events as by `burst`, as fast as the client reads; returns when all are on their way."""
        session = await self.negotiated()
        while count > 0 and not session.closed:
            number = min(count, _STORM_BURST)
            self.burst(number, device)
            count -= number
            await session.drain(_STORM_WINDOW)
        await session.drain()

    # --- faults ---

    def inject(self, fault: Fault) -> None:
        match fault:
            case Garbage(at="now") | HangUp(at="now") | StrayReply():
                self._suffer(fault)
            case _ if getattr(fault, "at", None) == "now":
                self.faults.append(fault)
                self._suffer(fault)
            case Flood():
                self.faults.append(fault)
                self._flood(fault, 0.0, 0)
            case _:
                self.faults.append(fault)

    def heal(self, fault: Fault | None = None) -> None:
        """Ends a fault that lasts, or all; what hung is answered now."""
        gone = [each for each in self.faults if fault is None or each == fault]
        self.faults = [each for each in self.faults if each not in gone]
        for each in gone:
            for session in self.sessions:
                session.healed(each)

    def has(self, kind: type[NoGreeting]) -> bool:
        return any(isinstance(fault, kind) for fault in self.faults)

    def stall_of(self, request: Request | QmpError) -> Stall | None:
        command = None if isinstance(request, QmpError) else request.execute
        for fault in self.faults:
            if isinstance(fault, Stall) and fault.command in {None, command}:
                return fault
        return None

    def wrong_id(self, request: Request) -> dict[str, Any]:
        for fault in self.faults:
            if isinstance(fault, WrongId) and fault.command in {None, request.execute}:
                return {"id": fault.id}
        return {}

    def _suffer(self, fault: Fault) -> None:
        if self.session is None:
            self._to_suffer.append(fault)
        else:
            self.session.suffer(fault)

    def _flood(self, fault: Flood, owed: float, sent: int) -> None:
        """One tick. Owed are fractions of an event, so that slow floods come about, too."""
        if fault not in self.faults:
            return
        if self.session is not None and self.session.negotiated:
            owed += fault.events_per_second * _FLOOD_TICK
            number = int(owed) if fault.count is None else min(int(owed), fault.count - sent)
            one = encode(self.event(fault.event, fault.data or self._flood_data(fault)), pretty=self.pretty)
            self.session.write(one * number)
            owed -= int(owed)
            sent += number
        if sent == fault.count:
            self.faults.remove(fault)
            return
        asyncio.get_running_loop().call_later(_FLOOD_TICK, self._flood, fault, owed, sent)

    def _flood_data(self, fault: Flood) -> Json | None:
        if fault.event == "BLOCK_IO_ERROR":
            return self.vm.io_error_data(self.vm.blocks[0], "write", "report")
        return None

    # --- what a session tells ---

    def note(self, request: Request) -> None:
        self.received.append(request)
        for command, future in self._asked:
            if command == request.execute and not future.done():
                future.set_result(request)
        self._asked = [(command, future) for command, future in self._asked if not future.done()]

    def on_negotiated(self) -> None:
        self._negotiated.set()
        faults, self._to_suffer = self._to_suffer, []
        for fault in faults:
            self._suffer(fault)

    def on_left(self, session: Session) -> None:
        if session is self.session:
            self.session = None
            self._negotiated.clear()
            self._vacant.set()
            self._accept_next()


def _listen(address: Address) -> tuple[socket.socket, Address]:
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.create_server(address, family=family, backlog=1)
        address = listener.getsockname()[:2]
    else:
        name = os.fspath(address)
        listener = socket.socket(socket.AF_UNIX)
        if name.startswith("@"):
            listener.bind("\0" + name[1:])
        else:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()  # as QEMU does, so that a socket left by a killed VM is not in the way
            listener.bind(name)
        listener.listen(1)
    listener.setblocking(False)  # noqa: FBT003 - the standard library's way
    return listener, address
