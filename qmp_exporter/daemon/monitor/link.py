"""One monitor socket -> the messages of its protocol, read by read; queries go the other way.

The only file of the daemon that knows qemu.qmp.  Its QMPClient connects, keeps the reader going and takes it down; what
it does with messages is replaced by core/protocol.py, because it fails on events before the greeting or before the
reply to qmp_capabilities, loses the order of replies and events, keeps every event forever, and pretty-prints each
message for a log that is off.  The internals that are overridden or read are held by contract tests.
"""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable
from ssl import SSLContext
from typing import cast

from qemu.qmp import ConnectError, QMPClient, Runstate

from qmp_exporter.core.black_box import Sender
from qmp_exporter.core.family import Query
from qmp_exporter.core.protocol import GREETING_DEADLINE, Message, Protocol, Refusal

# Whatever the library has to say is said by the caller, once and with the name of the VM.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

CLOSE_DEADLINE = 1.0  # seconds
CHUNK = 64 * 1024  # bytes read at a time: some 200 events, a millisecond of work
SIP = 8 * 1024  # the same where many have something to say: two dozen events, or most replies
LEAST = 1024  # bytes; the portion of a peer whose bytes take long to be read, as those of a thousand bad messages do
READ_TIME = 0.002  # seconds of the event loop that one read may take, by what the last one took for each byte
ROUND = 4 * 1024 * 1024  # bytes that are read of all of them, roughly, before the first is read again

Address = str | tuple[str, int] | socket.socket

Note = Callable[[Sender, bytes], None]

STEP = b"."  # in the reader: a chunk came, so that the handshake may have got further

_STATES = {
    errno.ENOENT: ("missing", "no socket there"),
    errno.ECONNREFUSED: ("refused", "nobody listens on the socket"),
    errno.EACCES: ("denied", "no permission to connect"),
    errno.EPERM: ("denied", "no permission to connect"),
    # A full queue of waiting clients: asyncio reports the socket as connected, and the first read fails.
    errno.EINVAL: ("busy", "other clients wait for the monitor already"),
    errno.EAGAIN: ("busy", "other clients wait for the monitor already"),
}


def forget(_sender: Sender, _content: bytes) -> None:
    """Nobody wants to know it."""


class Unreachable(Exception):
    """No session with the monitor; `state` is one of the values of qemu_monitor_state, the text says why."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class _Stream(asyncio.StreamReaderProtocol, asyncio.BufferedProtocol):
    """Hands on each chunk as it arrives.  Its reader, on which the library waits, tells only of steps and of the end.

    Through the reader, a chunk would wake a task, be kept until that has its turn, and be hidden by a reset.  All
    streams share one buffer, since what is in it is handed on before another stream is read.
    """

    _buffer = memoryview(bytearray(CHUNK))
    _reads = 0  # of all streams

    def __init__(self, reader: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
        super().__init__(reader)
        self._take = take
        self._read = 0  # how many reads there had been when this stream was read last
        self._affordable = CHUNK

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's interface; it has no hint to give
        """The more streams were read since this one, the less of it: the event loop turns once for all of them."""
        others = _Stream._reads - self._read
        return self._buffer[: min(self._affordable, max(SIP, ROUND // (others + 1)))]

    def buffer_updated(self, nbytes: int) -> None:
        _Stream._reads = self._read = _Stream._reads + 1
        began = time.perf_counter()
        self._take(bytes(self._buffer[:nbytes]))
        if nbytes >= LEAST:
            took = max(time.perf_counter() - began, 1e-6)
            self._affordable = max(LEAST, min(CHUNK, int(nbytes * READ_TIME / took)))


class Link(QMPClient):
    """A session with one monitor.

    `receive` gets the messages of each read, and must not wait.  `ended` is called when the session is over, for
    whatever reason.  `target` is where it listens, or the connection of one that came to us.
    """

    # Beside the attributes of the library's: of more than 30, Python would keep the names for each VM again, 1.5 KiB.
    __slots__ = ("_address", "_closing", "_connected", "_deadline", "_ended", "error", "note", "protocol", "receive")

    def __init__(
        self,
        target: str | socket.socket,
        protocol: Protocol,
        *,
        receive: Callable[[list[Message]], None],
        ended: Callable[[], None],
    ) -> None:
        super().__init__()
        del self.events, self._listeners  # they hear nothing here, and their queue is 3 KiB of each VM
        self._address = address(target) if isinstance(target, str) else target
        self._ended = ended
        self._deadline: asyncio.Timeout | None = None
        self._connected = False
        self._closing: asyncio.Task[None] | None = None
        self.protocol = protocol
        self.receive = receive
        self.note: Note = forget  # what goes over the wire
        self.error: BaseException | None = None  # that ended the session; known when it is closed

    # --- for the owner

    async def open(self) -> None:
        """Connect and negotiate.

        :raise Unreachable: there is nobody, or somebody who does not speak QMP, or somebody else is served.
        """
        try:
            async with asyncio.timeout_at(self.protocol.deadline) as deadline:
                self._deadline = deadline
                await self.connect(self._address)
        except TimeoutError:
            silence = self._silent()
            self.protocol.end()
            raise silence from None
        except (ConnectError, OSError, ValueError) as error:
            self.protocol.end()
            raise unreachable(error.exc if isinstance(error, ConnectError) else error) from None

    @property
    def is_open(self) -> bool:
        return self.runstate == Runstate.RUNNING

    @property
    def socket(self) -> socket.socket | None:
        """The connection's own, while there is one; to look at, not to use."""
        return self._writer.get_extra_info("socket") if self._writer is not None else None

    def ask(self, query: Query, arguments: bytes | None = None) -> None:
        """Send a query, with its own arguments or with these; its answer is received like everything else.

        :raise NotAllowed: it is not on the allow-list.
        """
        self.protocol.ask(query, time.monotonic(), arguments)
        self._flush()

    async def close(self) -> None:
        """End the session at once: a connection left waiting in QEMU's queue would become the owner later."""
        if self._closing is None:
            if self.runstate == Runstate.IDLE:
                return
            if self._writer is not None:
                self._writer.transport.abort()
            # A task of the link's own: the library's disconnect() leaves errors unread when it is cancelled half-way.
            self._closing = asyncio.get_running_loop().create_task(self.disconnect())
            self._closing.add_done_callback(self._closed)
        await asyncio.wait({self._closing}, timeout=CLOSE_DEADLINE)

    def _closed(self, closing: asyncio.Task[None]) -> None:
        self.protocol.end()
        self.error = None if closing.cancelled() else closing.exception()

    # --- what is replaced in the library

    async def _do_connect(self, address: Address, ssl: SSLContext | None = None) -> None:
        """As the library does, but with a stream that hands on what it reads."""
        self._set_state(Runstate.CONNECTING)
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader()
        stream = _Stream(self._reader, self._arrived)
        if isinstance(address, str):
            transport, _ = await loop.create_unix_connection(lambda: stream, address, ssl=ssl)
        elif isinstance(address, tuple):
            transport, _ = await loop.create_connection(lambda: stream, *address, ssl=ssl)
        else:
            transport, _ = await loop.create_connection(lambda: stream, sock=address, ssl=ssl)
        self._writer = asyncio.StreamWriter(transport, stream, self._reader, loop)

    async def _establish_session(self) -> None:
        """Wait until the protocol has negotiated."""
        self._connected = True
        self._flush()
        while not self.protocol.is_open:
            await self._bh_recv_message()
            if self._deadline is not None:
                self._deadline.reschedule(self.protocol.deadline)
        # The library's writer would wait for what nobody sends through it; task and queue are 5 KiB of each VM.
        reading = self._bh_loop_forever(self._bh_recv_message, "Reader")
        self._reader_task = asyncio.get_running_loop().create_task(reading)
        self._bh_tasks = self._reader_task  # type: ignore[assignment]  # of the library's gathering of two, one is left
        self._set_state(Runstate.RUNNING)  # no await here: connect() must see RUNNING first

    async def _bh_recv_message(self) -> None:
        """Wait for the next step of the handshake, or for the end of the session."""
        if not await cast("asyncio.StreamReader", self._reader).read(1):
            bad = self.protocol.end()
            if bad is not None and self._closing is None:  # else it is we who ended it there
                self.receive([bad])
            raise EOFError

    def _schedule_disconnect(self) -> None:
        super()._schedule_disconnect()
        self._ended()

    # --- how bytes come in, and go out

    def _arrived(self, chunk: bytes) -> None:
        """A chunk was read.  The one who waits on the reader gets what is raised here: a refusal, or a bug of ours."""
        reader = cast("asyncio.StreamReader", self._reader)
        was_open = self.protocol.is_open
        self.note("qemu", chunk)
        try:
            messages = self.protocol.receive(chunk, time.monotonic())
            if not was_open:
                self._shake_hands(messages)
                reader.feed_data(STEP)
            self.receive(messages)
        except Exception as error:  # noqa: BLE001  asyncio would log it and close the connection without a word to us
            reader.set_exception(error)

    def _shake_hands(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Refusal):
                raise Unreachable("error", f"qmp_capabilities was refused: {message.error}")
        self._flush()

    def _flush(self) -> None:
        if self._writer is not None and (unsent := self.protocol.take_bytes_to_send()):
            self._writer.write(unsent)
            self.note("client", unsent)

    def _silent(self) -> Unreachable:
        if not self._connected:
            return Unreachable("error", f"no connection within {GREETING_DEADLINE:.0f} s")
        return Unreachable(*self.protocol.silence())


def address(target: str) -> str | tuple[str, int]:
    """/path, @abstract-name, tcp:HOST:PORT or tcp:[HOST]:PORT -> what asyncio connects to."""
    if target.startswith("tcp:"):
        host, _, port = target.removeprefix("tcp:").rpartition(":")
        return host.strip("[]"), int(port)
    return "\0" + target[1:] if target.startswith("@") else target


def unreachable(error: Exception) -> Unreachable:
    """Why there is no session, by what stopped it."""
    if isinstance(error, Unreachable):
        return error
    if isinstance(error, OSError) and error.errno in _STATES:
        return Unreachable(*_STATES[error.errno])
    return Unreachable("error", reason(error))


def reason(error: BaseException) -> str:
    """An error in a few words, for a log."""
    if isinstance(error, EOFError):
        return "end of file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"[:200]
