"""One connected client: bytes from its socket -> replies, and events past the negotiation, written without waiting."""

import asyncio
import contextlib
import socket
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from qmp_exporter.simulator.commands import execute, version_info
from qmp_exporter.simulator.faults import EarlyEvents, Endless, Fault, Garbage, HangUp, NoGreeting, Stall, StrayReply
from qmp_exporter.simulator.vm import SimulatedVm
from qmp_exporter.simulator.wire import Json, JsonStream, QmpError, Request, encode, parse_request

_BLOCK_BYTES = 256 << 10


@dataclass(slots=True, eq=False)
class _Stalled:
    request: Request | QmpError
    stall: Stall
    timer: asyncio.TimerHandle | None = None


class Host(Protocol):
    """What a session needs of the monitor that it belongs to."""

    vm: SimulatedVm
    pretty: bool
    faults: list[Fault]

    def has(self, kind: type[NoGreeting]) -> bool: ...
    def note(self, request: Request) -> None: ...
    def stall_of(self, request: Request | QmpError) -> Stall | None: ...
    def wrong_id(self, request: Request) -> Json: ...
    def on_negotiated(self) -> None: ...
    def event(self, name: str, data: Json | None) -> Json: ...
    def on_left(self, session: "Session") -> None: ...


class Session:
    """The protocol of one client. `write` never waits: as in QEMU, output that nobody reads piles up.

    It works on the bare socket with the loop's readiness callbacks: no task and no stream per client,
    and a fault can cut the output at any byte.
    """

    def __init__(self, monitor: Host, sock: socket.socket) -> None:
        self.negotiated = False
        self.closed = False
        self._monitor = monitor
        self._vm = monitor.vm
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._stream = JsonStream()
        self._requests: deque[Request | QmpError] = deque()
        self._stalled: list[_Stalled] = []
        self._out: deque[bytes | memoryview] = deque()
        self._unsent = 0
        self._flush_awaited = False
        self._watched = False
        self._drained: list[tuple[int, asyncio.Future[None]]] = []
        self._closing = False
        self._greeted = False
        self._cut_after: int | None = None
        self._cut_next = False
        self._endless: Endless | None = None
        self._endless_sent = 0

    # --- the protocol ---

    def open(self) -> None:
        self._loop.add_reader(self._sock, self._on_readable)
        if not self._monitor.has(NoGreeting):
            self.greet()

    def greet(self) -> None:
        if self._greeted:
            return
        self._greeted = True
        self._early_events("greeting")
        if not self._suffer_at("greeting"):
            version = version_info(self._vm)
            self.send({"QMP": {"version": version, "capabilities": ["oob"]}})

    def send(self, message: Json) -> None:
        data = encode(message, pretty=self._monitor.pretty)
        if self._cut_next:
            self._cut_after = len(data) // 2
        self.write(data)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._greeted:
            for text in self._stream.feed(data):
                self._requests.append(self._take(text))
            self._serve()

    def _take(self, text: bytes | QmpError) -> Request | QmpError:
        if isinstance(text, QmpError):
            return text
        try:
            request = parse_request(text)
        except QmpError as error:
            return error
        self._monitor.note(request)
        return request

    def _serve(self) -> None:
        while self._requests and not self._closing and not any(held.stall.in_order for held in self._stalled):
            request = self._requests.popleft()
            stall = self._monitor.stall_of(request)
            if stall is None:
                self._answer(request)
            else:
                self._hold(request, stall)

    def _hold(self, request: Request | QmpError, stall: Stall) -> None:
        held = _Stalled(request, stall)
        self._stalled.append(held)
        if stall.seconds is not None:
            held.timer = self._loop.call_later(stall.seconds, self._release, held)

    def _release(self, held: _Stalled) -> None:
        self._stalled.remove(held)
        self._answer(held.request)
        self._serve()

    def healed(self, fault: Fault) -> None:
        for held in [held for held in self._stalled if held.stall == fault]:
            if held.timer is not None:
                held.timer.cancel()
            self._release(held)
        if isinstance(fault, NoGreeting):
            self.greet()
        if fault == self._endless:
            self._endless = None

    def _answer(self, request: Request | QmpError) -> None:
        if isinstance(request, QmpError):
            self._send_error(request, request.request_id or {})
            return
        try:
            value = execute(self._vm, request) if self.negotiated else self._negotiate(request)
        except QmpError as error:
            self._send_error(error, request.reply)
            return
        self.send({"return": value, **request.reply, **self._monitor.wrong_id(request)})
        if not self.negotiated:
            self.negotiated = True
            self._suffer_at("negotiated")
            if not self.closed:
                self._monitor.on_negotiated()

    def _send_error(self, error: QmpError, reply: Json) -> None:
        self.send({**reply, "error": {"class": error.error_class, "desc": error.desc}})

    def _negotiate(self, request: Request) -> Json:
        if request.execute != "qmp_capabilities":
            raise QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
        enable: Any = request.arguments.get("enable", [])
        if not isinstance(enable, list):
            raise QmpError("Invalid parameter type for 'enable', expected: array")
        for capability in enable:
            if capability != "oob":
                raise QmpError(f"Parameter 'null' does not accept value '{capability}'")
        self._early_events("capabilities")
        return {}

    # --- faults ---

    def _early_events(self, before: str) -> None:
        for fault in self._monitor.faults:
            if isinstance(fault, EarlyEvents) and fault.before == before:
                for name, data in fault.events:
                    self.send(self._monitor.event(name, data))

    def _suffer_at(self, moment: str) -> bool:
        faults = [f for f in self._monitor.faults if isinstance(f, Garbage | Endless | HangUp) and f.at == moment]
        for fault in faults:
            self.suffer(fault)
        return bool(faults)

    def suffer(self, fault: Fault) -> None:
        match fault:
            case Garbage():
                self.write(fault.data)
            case StrayReply():
                self.send(fault.message)
            case Endless():
                self._endless = fault
                self._endless_sent = 0
                self.write(fault.start)
            case HangUp(after_bytes=None, mid_message=False):
                self._flush()  # what the client has room for still arrives
                self.close()
            case HangUp(mid_message=True):
                self._cut_next = True
            case HangUp():
                self._cut_after = fault.after_bytes
            case _:
                raise TypeError(f"{fault} is not suffered by a session")

    # --- output ---

    def write(self, data: bytes) -> None:
        if self.closed or self._cut_after == 0:
            return
        if self._cut_after is not None:
            data = data[: self._cut_after]
            self._cut_after -= len(data)
            self._closing = self._closing or self._cut_after == 0
        self._out.append(data)
        self._unsent += len(data)
        self._await_flush()

    def finish(self) -> None:
        """Answers nothing any more, and closes as soon as all output is with the kernel."""
        self._closing = True
        self._drop_stalled()
        self._await_flush()

    def _await_flush(self) -> None:
        # Not at once: all that one turn of the loop writes goes out with one system call.
        if not self._flush_awaited and not self.closed:
            self._flush_awaited = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        while self._out and not self.closed:
            block = self._next_block()
            try:
                sent = self._sock.send(block)
            except BlockingIOError:
                sent = 0
            except OSError:  # the client has gone: what it left behind in its socket makes this ECONNRESET
                self.close()
                return
            self._unsent -= sent
            if sent < len(block):
                self._out.appendleft(memoryview(block)[sent:])
                break
        self._flushed()

    def _next_block(self) -> bytes | memoryview:
        if len(self._out) == 1 or len(self._out[0]) >= _BLOCK_BYTES:
            return self._out.popleft()
        pieces: list[bytes | memoryview] = []
        size = 0
        while self._out and size < _BLOCK_BYTES:
            pieces.append(self._out.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def _flushed(self) -> None:
        if self.closed:
            return
        if not self._out and self._endless is not None:
            self._go_on(self._endless)
        self._watch(writable=bool(self._out))
        if not self._out:
            self._flush_awaited = False
            if self._closing:
                self.close()
        self._wake()

    def _watch(self, *, writable: bool) -> None:
        if writable and not self._watched:
            self._loop.add_writer(self._sock, self._flush)
        elif self._watched and not writable:
            self._loop.remove_writer(self._sock)
        self._watched = writable

    def _go_on(self, endless: Endless) -> None:
        left = len(endless.filler) if endless.limit is None else endless.limit - self._endless_sent
        if left <= 0:
            self._endless = None
            return
        self.write(endless.filler[:left])
        self._endless_sent += min(left, len(endless.filler))

    async def drain(self, unsent: int = 0) -> None:
        """Until no more than so many bytes wait for the client, or until it has gone."""
        if self._unsent > unsent and not self.closed:
            future = self._loop.create_future()
            self._drained.append((unsent, future))
            await future

    def _wake(self) -> None:
        waiting = []
        for unsent, future in self._drained:
            if self._unsent > unsent and not self.closed:
                waiting.append((unsent, future))
            elif not future.done():
                future.set_result(None)
        self._drained = waiting

    def _drop_stalled(self) -> None:
        for held in self._stalled:
            if held.timer is not None:
                held.timer.cancel()
        self._stalled.clear()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._closing = True
        self._drop_stalled()
        with contextlib.suppress(OSError):
            self._sock.close()
        self._out.clear()
        self._wake()
        self._monitor.on_left(self)
