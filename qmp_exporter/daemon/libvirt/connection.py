"""A socket of libvirt's daemon -> what it tells, read by read; calls go the other way."""

import asyncio
import socket
import time
from collections.abc import Callable

from qmp_exporter.core.libvirt.conversation import Conversation, Heard, Rejected
from qmp_exporter.core.libvirt.states import why
from qmp_exporter.core.libvirt.wire import Failure, Lifecycle, MonitorEvent, Procedure, Reply
from qmp_exporter.core.libvirt.xdr import XdrError
from qmp_exporter.daemon.monitor.link import Unreachable, reason
from qmp_exporter.runtime.waiting import happens

CHUNK = 16 * 1024  # bytes read at a time: some fifty events, two milliseconds of work
LEAVES_WITHIN = 1.0  # seconds
MAX_UNSENT = 1024 * 1024  # bytes; a daemon that takes no more is as good as gone

Answer = Reply | Failure


class Connection(asyncio.BufferedProtocol):
    """`hear` gets the events of each read, in their order, and must not wait.  `over` is set when it is lost.

    Always read, whatever happens: what we leave unread the daemon keeps, six kilobytes for each event.
    """

    _buffer = memoryview(bytearray(CHUNK))  # of all connections: what is in it is handed on before another is read

    def __init__(self, path: str, uri: str, hear: Callable[[list[MonitorEvent | Lifecycle]], None]) -> None:
        self.conversation = Conversation(uri, time.monotonic())
        self.over = asyncio.Event()
        self.error: Exception | None = None
        self._path = path
        self._hear = hear
        self._answers: dict[int, Callable[[Answer], None]] = {}
        self._news = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- for the owner

    async def open(self, connected: socket.socket) -> None:
        """Introduce ourselves.

        :raise Unreachable: the daemon does not answer, or does not let us.
        """
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=connected)
        while not self.conversation.is_open and not self.over.is_set():
            self._news.clear()
            await self._news.wait()
        if self.over.is_set():
            raise self.unreachable()

    def unreachable(self) -> Unreachable:
        """Why there is no connection any more."""
        if isinstance(self.error, Rejected):
            return Unreachable(*why(self.error, self._path))
        return Unreachable("error", reason(self.error)) if self.error else Unreachable("refused", "it hung up")

    def call(self, procedure: Procedure, arguments: bytes, then: Callable[[Answer], None]) -> None:
        """`then` gets the answer; where the connection is lost before, nothing."""
        if not self.over.is_set():
            self._answers[self.conversation.call(procedure, arguments, time.monotonic())] = then
            self._flush()

    def list_again(self) -> None:
        self.conversation.list_again(time.monotonic())
        self._flush()

    async def close(self) -> None:
        """With a word, and not before that is answered: the daemon logs an error for a client that just goes."""
        if self._transport is None or self.over.is_set():
            return
        if self.conversation.is_open:
            left = asyncio.Event()
            self.call(Procedure.CLOSE, b"", lambda _: left.set())
            await happens(left, LEAVES_WITHIN)
        self._transport.close()
        if not await happens(self.over, LEAVES_WITHIN):
            self._transport.abort()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a stream socket it is one
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's interface; it has no hint to give
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            heard = self.conversation.receive(bytes(self._buffer[:nbytes]), time.monotonic())
        except (XdrError, Rejected) as error:
            self._give_up(error)
            return
        self._tell(heard)
        self._flush()
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.error = self.error or error
        if self._timer is not None:
            self._timer.cancel()
        self._answers.clear()
        self.over.set()
        self._news.set()

    # --- how it is done

    def _tell(self, heard: list[Heard]) -> None:
        """Events and answers in the order in which they came."""
        events: list[MonitorEvent | Lifecycle] = []
        for one in heard:
            if isinstance(one, MonitorEvent | Lifecycle):
                events.append(one)
                continue
            if events:
                self._hear(events)
                events = []
            if then := self._answers.pop(one.serial, None):
                then(one)
        if events:
            self._hear(events)

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(self.conversation.take_unsent())
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            self._give_up(TimeoutError("it does not read what we send"))
        self._watch_the_clock()

    def _watch_the_clock(self) -> None:
        """One timer for all answers that are waited for; it looks again where the one it was set for has come."""
        deadline = self.conversation.deadline
        if deadline is None:
            return
        if self._timer is not None and deadline < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._timer = None
        deadline = self.conversation.deadline
        if deadline is not None and deadline <= time.monotonic():
            self._give_up(TimeoutError("it does not answer"))
        else:
            self._watch_the_clock()

    def _give_up(self, error: Exception) -> None:
        self.error = error
        if self._transport is not None:
            self._transport.abort()
