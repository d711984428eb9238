"""A connection that came to us -> who it is, and a session for the one who watches that VM."""

import asyncio
import socket
import time
from collections.abc import Callable

from qmp_exporter.catalog.identity import Identity, name_in, uuid_in
from qmp_exporter.catalog.vm import QUERY_NAME, QUERY_UUID
from qmp_exporter.core.allow_list import AllowList
from qmp_exporter.core.budget import Budget
from qmp_exporter.core.family import Query
from qmp_exporter.core.protocol import Answer, Message, Protocol
from qmp_exporter.core.wire import BadMessage, Event, Greeting
from qmp_exporter.daemon.host.process import PeerProcess, peer_process
from qmp_exporter.daemon.monitor.link import Link, Unreachable
from qmp_exporter.daemon.selfstats import Selfstats

INTRODUCTION_DEADLINE = 10.0  # seconds; as with the negotiation, a slow disk may hold QEMU's main loop
# A stranger is given little room: greeting and replies are shorter, and events have some hundred bytes.
MAX_LINE = 16 * 1024
ROOM = 256 * 1024  # bytes of events that are kept until somebody watches: what a storm sends in 20 milliseconds
NOBODY = PeerProcess(None, -1, "")
EVENT_SIZE = 256  # bytes of an event without its data


class InboundConnection:
    """`process` is NOBODY where the kernel does not tell it; `came_at` is on a clock that never jumps."""

    def __init__(self, connection: socket.socket, stats: Selfstats) -> None:
        self.process = peer_process(connection) or NOBODY
        self.came_at = time.monotonic()
        self.over = asyncio.Event()
        self.greeting = Greeting("")
        self.identity = Identity()
        self._connection = connection
        self._stats = stats
        self._events: list[Event] = []
        self._room = ROOM
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer.cancel()  # nothing is asked yet
        self._ended: Callable[[], None] = lambda: None
        allowed = AllowList((QUERY_NAME, QUERY_UUID))
        self.link = Link(
            connection,
            Protocol(allowed, time.monotonic(), MAX_LINE),
            receive=self._receive,
            ended=self._on_end,
        )

    async def identify(self) -> None:
        """Negotiate, and ask who it is; from then on `greeting` and `identity` are known.

        :raise Unreachable: it is no QEMU, or it does not say.
        """
        try:
            await self.link.open()
            async with asyncio.timeout(INTRODUCTION_DEADLINE):
                name = name_in(await self._ask(QUERY_NAME))
                self.identity = Identity(name, uuid_in(await self._ask(QUERY_UUID)))
        except TimeoutError:
            raise Unreachable("error", f"it did not say who it is within {INTRODUCTION_DEADLINE:.0f} s") from None
        except BadMessage as bad:
            raise Unreachable("error", f"it did not say who it is: {bad}") from None

    def attach(
        self,
        allowed: AllowList,
        budget: Budget,
        *,
        receive: Callable[[list[Message]], None],
        ended: Callable[[], None],
    ) -> list[Message]:
        """The watch of this VM goes on, and trusts it with long lines; what it has said so far, the greeting last."""
        self.link.protocol.allow(allowed, budget)
        self.link.receive, self._ended = receive, ended
        events, self._events = self._events, []
        return [*events, self.greeting]

    async def close(self) -> None:
        await self.link.close()
        if self.link.socket is None:  # else the link has it, and closes it when it can
            self._connection.close()

    async def _ask(self, query: Query) -> Answer:
        self._answer = asyncio.get_running_loop().create_future()
        self.link.ask(query)
        return await self._answer

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            match message:
                case Event():
                    self._keep(message)
                case Greeting():
                    self.greeting = message
                case Answer():
                    if not self._answer.done():
                        self._answer.set_result(message)
                case BadMessage():
                    self._stats.bad_messages.labels(message.reason).inc()

    def _keep(self, event: Event) -> None:
        self._room -= EVENT_SIZE + memoryview(event.data).nbytes
        if self._room > 0:
            self._events.append(event)
        else:
            self._stats.dropped.labels("early").inc()

    def _on_end(self) -> None:
        self.over.set()
        if not self._answer.done():
            self._answer.set_exception(Unreachable("error", "it hung up before it said who it is"))
        self._ended()
