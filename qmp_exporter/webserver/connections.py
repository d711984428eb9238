"""Accepted sockets -> aiohttp's handlers: a bounded number, and a deadline for whatever a peer is waited for.

aiohttp has neither. Who has been answered well keeps its connection, as Prometheus does between two scrapes; but
only some of the places are for these, and who finds none gets `Connection: close`. So there is always room for a
newcomer: when all places are taken, the one goes that has kept us waiting longest for its request, or else for it to
read its answer. What is kept is never given to a newcomer. When the answers hold too much memory, the one goes that has
not read anything for longest.
"""

import asyncio
import enum
import functools
import io
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from qmp_exporter.runtime.out_of_memory import ends_the_process
from qmp_exporter.webserver import plain
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.metrics import Metrics

HEADER_BYTES: Final = 32 << 10  # Prometheus sends 300, a browser with its neighbours' cookies 8,000
SLICE: Final = 64 << 10  # bytes written at once, and the most that waits in a transport's buffer
EXHAUSTED: Final = 1.0  # seconds until we try to accept again when there was no descriptor left

log = structlog.get_logger()


class Phase(enum.Enum):
    """What a connection is at; first the one that we can best do without."""

    CLOSE = "close"  # it has been answered, and told that this was all
    REQUEST = "request"  # its request is awaited, and the TLS handshake before it
    ANSWER = "answer"  # it has asked, and reads
    IDLE = "idle"  # it may ask again


@dataclass(frozen=True)
class Limits:
    places: int = 512  # each takes a descriptor and some 15 KiB, with TLS 100 KiB
    kept: int = 128  # of the places, and never all: for those who come again
    owed: int = 128 << 20  # bytes that answers under way may hold: six pages of 2,000 VMs, if nobody takes gzip
    request: float = 10.0  # seconds from the connection, or from the first byte of a later request
    answer: float = 30.0  # Prometheus itself gives up after 10
    idle: float = 120.0  # a scrape a minute finds its connection open
    close: float = 5.0

    def seconds(self, phase: Phase) -> float:
        seconds: float = getattr(self, phase.value)
        return seconds


LIMITS: Final = Limits()
_PHASES: Final = tuple(Phase)


class Connection(asyncio.Protocol):
    """Hands on to aiohttp's handler what the transport says, and pushes the deadline forward."""

    def __init__(self, handler: asyncio.Protocol, access: AccessControl, limits: Limits) -> None:
        self.phase = Phase.REQUEST
        self.kept = False
        self.owed = b""  # the answer under way; a page is shared by all who asked for it at once
        self.waiting_since = asyncio.get_running_loop().time()  # for its request, or for it to read on
        self.cut_off_for = ""  # why we ended it, if we did
        self.deadline: asyncio.Timeout | None = None
        self.closed = asyncio.get_running_loop().create_future()
        self._handler = handler
        self._access = access
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._header_bytes = 0

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self._header_bytes = 0
        self.waiting_since = asyncio.get_running_loop().time()
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(self.waiting_since + self._limits.seconds(phase))

    def abort(self) -> None:
        """Close without waiting for a peer that may never read what is left in the buffer."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's has both directions
        transport.set_write_buffer_limits(SLICE)  # type: ignore[attr-defined]  # as above; of TLS it would be 512 KiB
        self._handler.connection_made(transport)
        if not self._access.admits(transport.get_extra_info("peercert")):
            self.cut_off_for = "handshake"
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.IDLE:
            self.enter(Phase.REQUEST)
        if self.phase is Phase.REQUEST:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self.cut_off_for = "size"
                self.abort()
        if not self.cut_off_for:  # TLS may have decrypted more by then, a request even
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self.waiting_since = asyncio.get_running_loop().time()
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._handler.connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


class Connections:
    """All connections of one server."""

    def __init__(
        self, make_handler: Callable[[], asyncio.Protocol], access: AccessControl, stats: Metrics, limits: Limits
    ) -> None:
        self._make_handler = make_handler
        self._access = access
        self._limits = limits
        self._stats = stats
        self._tasks: dict[Connection, asyncio.Task[None]] = {}  # the longest connected first
        for phase in Phase:
            stats.http_connections.labels(phase.value).set_function(functools.partial(self._count, phase))

    async def accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        """Accept forever; each connection becomes a task of this group."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(listener)
            except OSError as error:  # no descriptor is left, most likely: the pending connection stays pending
                log.warning("cannot accept connections", error=error.strerror)
                await asyncio.sleep(EXHAUSTED)
                continue
            if len(self._tasks) >= self._limits.places:
                self._make_room()
            connection = Connection(self._make_handler(), self._access, self._limits)
            task = self._tasks[connection] = group.create_task(self._serve(connection, peer))
            task.add_done_callback(functools.partial(self._end, connection, peer))
            await asyncio.sleep(0)  # a flood of newcomers must not keep the others waiting

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _serve(self, connection: Connection, peer: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._limits.request) as connection.deadline:
                context = self._access.context
                if context is not None and await plain.is_http(peer):
                    connection.cut_off_for = "handshake"
                    log.debug("TLS handshake failed", error="plain HTTP")
                    await plain.refuse(peer, HEADER_BYTES)
                    return
                with ends_the_process():
                    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, peer, ssl=context)
                await connection.closed
        except TimeoutError:
            connection.cut_off_for = connection.phase.value
        except OSError as error:  # ssl.SSLError is one
            connection.cut_off_for = "handshake"
            log.debug("TLS handshake failed", error=str(error))
        except Exception:
            log.exception("a bug in the exporter ended a connection")
        finally:
            connection.deadline = None

    def _end(self, connection: Connection, peer: socket.socket, _task: asyncio.Task[None]) -> None:
        """Called even for a task that was cancelled before it ran."""
        self._tasks.pop(connection, None)
        connection.abort()
        peer.close()
        if connection.cut_off_for:
            self._stats.http_closed.labels(connection.cut_off_for).inc()

    def _make_room(self) -> None:
        """Part with the one who is waited for longest: for its request, or else for it to read. Nobody that is kept."""
        waited_for = [one for one in self._tasks if not one.kept]
        # Who has nothing to read yet waits for us.
        self._cut_off(min(waited_for, key=lambda one: (_PHASES.index(one.phase), not one.owed, one.waiting_since)))

    def _cut_off(self, connection: Connection) -> None:
        connection.cut_off_for = "crowded"
        self._tasks.pop(connection).cancel()

    def _count(self, phase: Phase) -> int:
        return sum(one.phase is phase for one in self._tasks)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Around everything else that answers: aiohttp itself has nothing more to write when this returns."""
        if request.transport is None:  # it has left before its turn came
            return web.Response()
        connection = cast("Connection", request.transport.get_protocol())
        connection.enter(Phase.ANSWER)
        response = await _answer(request, handler)
        if response.status >= 400 or not self._may_stay(connection):
            response.force_close()
        await self._send(connection, request, response)
        connection.enter(Phase.IDLE if response.keep_alive else Phase.CLOSE)
        connection.kept = bool(response.keep_alive) and self._may_stay(connection)  # only now: it has read the answer
        return response

    async def _send(self, connection: Connection, request: web.Request, response: web.StreamResponse) -> None:
        """Nothing keeps the body afterwards, however it ends.

        What aiohttp does for a peer that has left makes a cycle of the error, its frames and the body: a whole page for
        each, which waits for the garbage collection.
        """
        slices = None
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            connection.owed = response.body
            self._limit_owed(connection)
            if len(response.body) > SLICE:
                slices = response.body = io.BytesIO(response.body)  # a transport takes whatever it is given at once
        try:
            with ends_the_process():  # aiohttp would make an answer 500 of it
                await response.prepare(request)
                await response.write_eof()
        except ConnectionError as error:  # aiohttp finds out for itself
            error.__traceback__ = None
        finally:
            connection.owed = b""
            if slices is not None:
                slices.close()

    def _may_stay(self, connection: Connection) -> bool:
        return connection.kept or sum(one.kept for one in self._tasks) < self._limits.kept

    def _limit_owed(self, newest: Connection) -> None:
        """A page is held in memory until it is read; who reads it so slowly that too many are held, gets no more."""
        owing = sorted(
            (one for one in self._tasks if one.owed and one is not newest), key=lambda one: one.waiting_since
        )
        readers = Counter(id(one.owed) for one in owing)
        owed = sum({id(one.owed): len(one.owed) for one in (*owing, newest)}.values())
        for one in owing:
            if owed <= self._limits.owed:
                return
            readers[id(one.owed)] -= 1
            if not readers[id(one.owed)] and one.owed is not newest.owed:
                owed -= len(one.owed)
            self._cut_off(one)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.body_exists:
        return web.Response(status=413, text="wanted a request without a body\n")
    try:
        with ends_the_process():
            return await handler(request)
    except web.HTTPException as error:
        return web.Response(status=error.status, reason=error.reason, body=error.body, headers=error.headers)
    except Exception:
        log.exception("internal error while handling a request", path=request.path)
        return web.Response(status=500, text="a bug in the exporter damaged this answer; see its log\n")
