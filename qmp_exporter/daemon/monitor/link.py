"""One monitor socket -> typed messages in the order of the wire; queries of the allow-list go the other way.

The only file that knows qemu.qmp.  Its QMPClient connects, keeps the reader and the writer going and takes them down;
what it does with messages is replaced here, because it fails on events before the greeting or before the reply to
qmp_capabilities, loses the order of replies and events, keeps every event for ever, and pretty-prints each message for
a log that is off.  The internals that are overridden or read are held by contract tests.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from ssl import SSLContext
from typing import cast

from qemu.qmp import ConnectError, QMPClient, Runstate
from qemu.qmp.message import Message as QmpMessage

from qmp_exporter.core.lines import Lines
from qmp_exporter.core.wire import BadMessage, Failure, Greeting, Message, Reply, decode, excerpt

# Whatever the library has to say is said by the caller, once and with the name of the VM.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

GREETING_DEADLINE = 5.0  # seconds; QEMU greets at once, so that silence means that another client holds the monitor
NEGOTIATION_DEADLINE = 10.0  # seconds; qmp_capabilities waits for the main loop, which a slow disk may hold
CLOSE_DEADLINE = 1.0  # seconds
CHUNK = 64 * 1024  # bytes read at a time: some 200 events, a millisecond of work
SIP = 8 * 1024  # the same where many have something to say: two dozen events, or most replies
ROUND = 4 * 1024 * 1024  # bytes that are read of all of them, by and large, before the first is read again
FIRST_WORDS = 512  # bytes that are kept of a peer that does not greet
MAX_LINE = 8 * 1024 * 1024  # bytes; the longest replies, of query-block with long chains, stay below one MiB

Address = str | tuple[str, int] | socket.socket

CAPABILITIES = "qmp_capabilities"
CAPABILITIES_ID = 0
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


class Unreachable(Exception):
    """No session with the monitor; `state` is one of the values of qemu_monitor_state, the text says why."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class NotAllowed(Exception):
    """A command that is not on the allow-list was about to be sent: a bug of ours, stopped at the last gate."""


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

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's interface; it has no hint to give
        """The more streams were read since this one, the less of it: the event loop turns once for all of them."""
        others = _Stream._reads - self._read
        return self._buffer[: max(SIP, min(CHUNK, ROUND // (others + 1)))]

    def buffer_updated(self, nbytes: int) -> None:
        _Stream._reads = self._read = _Stream._reads + 1
        self._take(bytes(self._buffer[:nbytes]))


class Link(QMPClient):
    """A session with one monitor.

    `hear` gets every message but those of the handshake, in the order of the wire, and must not wait; it may raise
    BadMessage.  `heard` is called when a session has nothing more to deliver for now.  `bad` gets what was no message.
    `ended` is called when the session is over, for whatever reason.  `target` is where it listens, or the connection of
    one that came to us.
    """

    # Beside the attributes of the library's: of more than 30, Python would keep the names for each VM anew, 1.5 KiB.
    __slots__ = (
        "_address",
        "_allowed",
        "_bad",
        "_closing",
        "_connected",
        "_deadline",
        "_ended",
        "_hear",
        "_heard",
        "_hello",
        "_lines",
        "_negotiated",
        "_take",
        "error",
        "said",
    )

    def __init__(
        self,
        target: str | socket.socket,
        allowed: frozenset[str],
        *,
        hear: Callable[[Message], None],
        heard: Callable[[], None],
        bad: Callable[[BadMessage], None],
        ended: Callable[[], None],
        max_line: int = MAX_LINE,
    ) -> None:
        super().__init__()
        del self.events, self._listeners  # they hear nothing here, and their queue is 3 KiB of each VM
        self._address = address(target) if isinstance(target, str) else target
        self._allowed = allowed
        self._hear = hear
        self._heard = heard
        self._bad = bad
        self._ended = ended
        self._lines = Lines(max_line)
        self._deadline: asyncio.Timeout | None = None
        self._connected = False
        self._hello: Greeting | None = None
        self._negotiated = False
        self._take: Callable[[Message], None] = self._shake_hands
        self._closing: asyncio.Task[None] | None = None
        self.said = b""  # the first bytes of a peer that does not greet: they tell what it is
        self.error: BaseException | None = None  # that ended the session; known when it is closed

    # --- for the owner

    async def open(self) -> Greeting:
        """Connect and negotiate.

        :raise Unreachable: there is nobody, or somebody who does not speak QMP, or somebody else is served.
        """
        try:
            async with asyncio.timeout(GREETING_DEADLINE) as deadline:
                self._deadline = deadline
                await self.connect(self._address)
        except TimeoutError:
            raise self._silent() from None
        except (ConnectError, OSError, ValueError) as error:
            raise _unreachable(error.exc if isinstance(error, ConnectError) else error) from None
        if self._hello is None:
            raise Unreachable("error", "connected without a greeting")
        return self._hello

    @property
    def is_open(self) -> bool:
        return self.runstate == Runstate.RUNNING

    @property
    def socket(self) -> socket.socket | None:
        """The connection's own, while there is one; to look at, not to use."""
        return self._writer.get_extra_info("socket") if self._writer is not None else None

    def hand_over(
        self,
        allowed: frozenset[str],
        *,
        hear: Callable[[Message], None],
        heard: Callable[[], None],
        bad: Callable[[BadMessage], None],
    ) -> None:
        """Somebody else goes on with the session, who trusts it with lines of any length that QEMU sends."""
        self._allowed, self._hear, self._heard, self._bad = allowed, hear, heard, bad
        self._take = hear
        self._lines.limit = MAX_LINE

    def ask(self, command: str, identifier: int, arguments: bytes = b"") -> None:
        """Send a query, with a JSON object of arguments; its reply is heard like everything else.

        :raise NotAllowed: it is not on the allow-list.
        """
        more = b', "arguments": ' + arguments if arguments else b""
        self._write(command, b'{"execute": "%s", "id": %d%s}' % (command.encode(), identifier, more))

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
        """Greeting and negotiation, whatever events come between."""
        self._pending = {}
        self._connected = True
        while self._hello is None:
            await self._bh_recv_message()
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + NEGOTIATION_DEADLINE)
        message = self.make_execute_msg(CAPABILITIES)
        message["id"] = CAPABILITIES_ID
        await self._send(message)
        while not self._negotiated:
            await self._bh_recv_message()
        # The library's writer would wait for what nobody sends through it; task and queue are 5 KiB of each VM.
        reading = self._bh_loop_forever(self._bh_recv_message, "Reader")
        self._reader_task = asyncio.get_running_loop().create_task(reading)
        self._bh_tasks = self._reader_task  # type: ignore[assignment]  # of the library's gathering of two, one is left
        self._set_state(Runstate.RUNNING)  # no await here: connect() must see RUNNING first

    async def _bh_recv_message(self) -> None:
        """Wait for the next step of the handshake, or for the end of the session."""
        if not await cast("asyncio.StreamReader", self._reader).read(1):
            if self._lines.unfinished and self._closing is None:  # else it is we who ended it there
                self._bad(BadMessage("truncated", "the stream ended inside a message"))
            raise EOFError

    def _do_send(self, msg: QmpMessage) -> None:
        self._write(str(msg.get("execute")), bytes(msg))

    def _cb_outbound(self, msg: QmpMessage) -> QmpMessage:
        return msg

    def _schedule_disconnect(self) -> None:
        super()._schedule_disconnect()
        self._ended()

    # --- how messages come in

    def _arrived(self, chunk: bytes) -> None:
        """A chunk was read.  Whoever waits on the reader gets what is raised here: a refusal, or a bug of ours."""
        reader = cast("asyncio.StreamReader", self._reader)
        in_session = self._negotiated
        if self._hello is None:
            self.said += chunk[: FIRST_WORDS - len(self.said)]
        try:
            self._deliver(chunk)
            if in_session:
                self._heard()
            else:
                reader.feed_data(STEP)
        except Exception as error:  # noqa: BLE001  asyncio would log it and close the connection without a word to us
            reader.set_exception(error)

    def _deliver(self, chunk: bytes) -> None:
        too_long = self._lines.too_long
        for line in self._lines.feed(chunk):
            try:
                self._take(decode(line))
            except BadMessage as bad:
                self._bad(bad)
        for _ in range(self._lines.too_long - too_long):
            self._bad(BadMessage("size", f"a message of more than {self._lines.limit} bytes"))

    def _shake_hands(self, message: Message) -> None:
        """What comes until the negotiation is done; from then on `_hear` takes the messages."""
        if isinstance(message, Greeting) and self._hello is None:
            self._hello, self.said = message, b""
        elif isinstance(message, Reply) and message.id == CAPABILITIES_ID and self._hello is not None:
            self._negotiated = True
            self._take = self._hear
        elif isinstance(message, Failure) and message.id == CAPABILITIES_ID and self._hello is not None:
            raise Unreachable("error", f"qmp_capabilities was refused: {message.reason}")
        else:
            self._hear(message)

    def _write(self, command: str, message: bytes) -> None:
        """The one gate through which bytes leave."""
        if command != CAPABILITIES and command not in self._allowed:
            raise NotAllowed(command)
        cast("asyncio.StreamWriter", self._writer).write(message)

    def _silent(self) -> Unreachable:
        if not self._connected:
            return Unreachable("error", f"no connection within {GREETING_DEADLINE:.0f} s")
        if self._hello is not None:
            return Unreachable("error", f"greeted, but did not negotiate within {NEGOTIATION_DEADLINE:.0f} s")
        if self.said:
            return Unreachable(
                "error", f"peer sent data but no QMP greeting within {GREETING_DEADLINE:.0f} s: {excerpt(self.said)}"
            )
        return Unreachable("busy", f"no greeting within {GREETING_DEADLINE:.0f} s: another client holds the monitor")


def address(target: str) -> str | tuple[str, int]:
    """/path, @abstract-name, tcp:HOST:PORT or tcp:[HOST]:PORT -> what asyncio connects to."""
    if target.startswith("tcp:"):
        host, _, port = target.removeprefix("tcp:").rpartition(":")
        return host.strip("[]"), int(port)
    return "\0" + target[1:] if target.startswith("@") else target


def _unreachable(error: Exception) -> Unreachable:
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
