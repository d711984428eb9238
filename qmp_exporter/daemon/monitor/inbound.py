"""A connection that came to us -> who it is, and a session for whoever watches that VM."""

import asyncio
import socket
from collections.abc import Callable

from qmp_exporter.catalog.identity import NAME, UUID, Identity, name_in, uuid_in
from qmp_exporter.core.wire import BadMessage, Event, Failure, Greeting, Message, Reply
from qmp_exporter.daemon.monitor.link import Link, Unreachable
from qmp_exporter.daemon.monitor.process import peer_pid
from qmp_exporter.daemon.selfstats import Selfstats

INTRODUCTION_DEADLINE = 10.0  # seconds; as with the negotiation, a slow disk may hold QEMU's main loop
# A stranger is given little room: greeting and replies are shorter, and events have some hundred bytes.
MAX_LINE = 16 * 1024
ROOM = 256 * 1024  # bytes of events that are kept until somebody watches: what a storm sends in 20 milliseconds
EVENT_SIZE = 256  # bytes of an event besides its data


class InboundConnection:
    """`pid` is that of the process, None where it is not in sight of this one."""

    def __init__(self, connection: socket.socket, stats: Selfstats) -> None:
        self.pid = peer_pid(connection)
        self.over = asyncio.Event()
        self.greeting = Greeting("")
        self.identity = Identity()
        self._connection = connection
        self._stats = stats
        self._events: list[Event] = []
        self._room = ROOM
        self._asked = 0
        self._answer: asyncio.Future[Reply | Failure] = asyncio.get_running_loop().create_future()
        self._answer.cancel()  # nothing is asked yet
        self._ended: Callable[[], None] = lambda: None
        self.link = Link(
            connection,
            frozenset({NAME, UUID}),
            hear=self._hear,
            heard=lambda: None,
            bad=lambda bad: stats.bad_messages.labels(bad.reason).inc(),
            ended=self._on_end,
            max_line=MAX_LINE,
        )

    async def identify(self) -> None:
        """Negotiate, and ask who it is; from then on `greeting` and `identity` are known.

        :raise Unreachable: it is no QEMU, or it does not say.
        """
        try:
            self.greeting = await self.link.open()
            async with asyncio.timeout(INTRODUCTION_DEADLINE):
                name = name_in(await self._ask(NAME))
                self.identity = Identity(name, uuid_in(await self._ask(UUID)))
        except TimeoutError:
            raise Unreachable("error", f"it did not say who it is within {INTRODUCTION_DEADLINE:.0f} s") from None
        except BadMessage as bad:
            raise Unreachable("error", f"it did not say who it is: {bad}") from None

    def attach(
        self,
        allowed: frozenset[str],
        *,
        hear: Callable[[Message], None],
        heard: Callable[[], None],
        bad: Callable[[BadMessage], None],
        ended: Callable[[], None],
    ) -> list[Event]:
        """Whoever watches this VM goes on; what it has said so far."""
        self.link.hand_over(allowed, hear=hear, heard=heard, bad=bad)
        self._ended = ended
        events, self._events = self._events, []
        return events

    async def close(self) -> None:
        await self.link.close()
        if self.link.socket is None:  # else the link has it, and closes it when it can
            self._connection.close()

    async def _ask(self, command: str) -> Reply | Failure:
        self._asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        self.link.ask(command, self._asked)
        return await self._answer

    def _hear(self, message: Message) -> None:
        if isinstance(message, Event):
            self._keep(message)
        elif isinstance(message, Reply | Failure) and message.id == self._asked and not self._answer.done():
            self._answer.set_result(message)
        else:
            raise BadMessage("unexpected", "a reply to nothing that was asked, or a second greeting")

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
