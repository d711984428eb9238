"""The owner's monitor: commands in, replies and awaited events out.

The owner starts QEMU and so knows that it is there, alone on this monitor and of good will; a client of other
people's machines can assume none of that and must be another one.  Stock qemu.qmp was tried in its place: in a storm of
VNC clients it falls so far behind that the end of QEMU is not seen in time, and it keeps every event.
"""

import asyncio
import json
from collections import deque
from typing import Any, NamedTuple, cast

DEADLINE = 20.0  # seconds; only a failure waits so long, and a loaded machine must not look like one
MEMORY = 50_000  # events kept: several storms fit, and days of a demo do not grow


class Event(NamedTuple):
    """What QEMU said by itself."""

    name: str
    data: dict[str, Any]


class CommandError(Exception):
    """QEMU refused a command."""

    def __init__(self, command: str, error: dict[str, str]) -> None:
        self.error_class = error["class"]
        self.description = error["desc"]
        super().__init__(f"{command}: {self.error_class}: {self.description}")


class Control(asyncio.Protocol):
    """A QMP session; a protocol and no stream, so that it needs no task of its own."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=MEMORY)
        self._unread: deque[Event] = deque(maxlen=MEMORY)
        self._news = asyncio.Event()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._greeting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._last_id = 0
        self._closed = asyncio.Event()

    async def negotiate(self) -> dict[str, Any]:
        """-> the greeting, once commands are allowed"""
        greeting = await self._greeting
        await self.execute("qmp_capabilities")
        return greeting

    async def execute(self, command: str, /, deadline: float = DEADLINE, **arguments: Any) -> Any:
        """A command -> what it returns; arguments with a dash go in by `**{"job-id": ...}`"""
        if self._transport is None or self._closed.is_set():
            raise ConnectionResetError(f"{command}: QEMU has ended")
        self._last_id = ident = self._last_id + 1
        reply = self._replies[ident] = asyncio.get_running_loop().create_future()
        message = {"execute": command, "arguments": arguments, "id": ident}
        self._transport.write(json.dumps(message).encode())
        try:
            async with asyncio.timeout(deadline):
                answer = await reply
        finally:
            del self._replies[ident]
        if "error" in answer:
            raise CommandError(command, answer["error"])
        return answer["return"]

    async def event(self, name: str, /, deadline: float = DEADLINE, **data: Any) -> Event:
        """-> the first event of that name with that data which nobody has awaited yet, past or to come"""
        try:
            async with asyncio.timeout(deadline):
                while (found := self._take(name, data)) is None:
                    if self._closed.is_set():
                        raise ConnectionResetError(f"QEMU ended without {name} {data}; {self._last_words()}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"no {name} {data} within {deadline} s; {self._last_words()}") from None
        return found

    async def ended(self) -> None:
        """-> when QEMU has closed the monitor: there is nothing more to come"""
        await self._closed.wait()

    def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport.abort()

    def _take(self, name: str, data: dict[str, Any]) -> Event | None:
        for index, event in enumerate(self._unread):
            if event.name == name and data.items() <= event.data.items():
                del self._unread[index]
                return event
        return None

    def _last_words(self) -> str:
        return f"the last events nobody awaited: {list(self._unread)[-10:]}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # asyncio types the callback loosely

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._receive(json.loads(line))
        self._news.set()

    def _receive(self, message: dict[str, Any]) -> None:
        if "event" in message:
            event = Event(message["event"], message.get("data", {}))
            self.events.append(event)
            self._unread.append(event)
        elif "QMP" in message:
            if not self._greeting.done():  # who waited for it may have been told to end
                self._greeting.set_result(message["QMP"])
        elif (reply := self._replies.get(message.get("id", 0))) is not None and not reply.done():
            reply.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._news.set()
        for future in (self._greeting, *self._replies.values()):
            if not future.done():
                future.set_exception(exc or ConnectionResetError("QEMU has ended"))
                future.exception()  # marks it as seen: asyncio is not to complain if nobody waits for it
