"""What is asked of the watcher -> its answer: the VMs are in another process, and this one only asks."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

from qmp_exporter.channel.connection import Connection
from qmp_exporter.channel.messages import Answer, ChannelError, Frame, Kind, Numbers, Page, Question, answer, encode

PATIENCE: Final = 25.0  # seconds for an answer; a client is waited for 30 s


class NoAnswer(Exception):
    """The watcher does not answer, or had a bug."""


class Answered(NamedTuple):
    head: Answer
    body: bytes


class _Asked:
    """A question that is under way, and what there is of its answer."""

    def __init__(self) -> None:
        self.head = Answer()
        self.pieces: list[bytes] = []
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Watcher:
    """Questions may be under way at the same time; of each kind the caller asks one at a time."""

    def __init__(self, connection: Connection, counted: Callable[[], Numbers]) -> None:
        """`counted`: what this process has counted so far, which a page tells."""
        self._connection = connection
        self._counted = counted
        self._questions = itertools.count(1)
        self._asked: dict[int, _Asked] = {}

    async def run(self) -> None:
        """Hear it until it has ended.

        :raise ChannelError: it says what it never would.
        """
        try:
            while True:
                self._take(await self._connection.receive())
        except (EOFError, OSError):
            return
        finally:
            self._connection.close()
            for asked in self._asked.values():
                if not asked.end.done():
                    asked.end.set_exception(NoAnswer("the watcher has ended"))

    async def ask(self, question: Question) -> Answered:
        """:raise NoAnswer: it takes too long, or was broken off."""
        number = next(self._questions) % 2**32
        asked = self._asked[number] = _Asked()
        try:
            async with asyncio.timeout(PATIENCE):
                if isinstance(question, Page):
                    await self.tell_numbers()
                await self._connection.send(number, Kind.REQUEST, encode(question))
                await asked.end
                return Answered(asked.head, b"".join(asked.pieces))
        except (TimeoutError, OSError) as error:
            raise NoAnswer("the watcher does not answer") from error
        finally:
            del self._asked[number]

    async def tell_numbers(self) -> None:
        """:raise NoAnswer: it has ended."""
        try:
            await self._connection.send(0, Kind.REQUEST, encode(self._counted()))
        except OSError as error:
            raise NoAnswer("the watcher has ended") from error

    def _take(self, frame: Frame) -> None:
        asked = self._asked.get(frame.number)
        if asked is None or asked.end.done():  # nobody waits for it any more
            return
        match frame.kind:
            case Kind.ANSWER:
                asked.head = answer(frame.content)
            case Kind.PIECE:
                asked.pieces.append(frame.content)
            case Kind.END:
                asked.end.set_result(None)
            case Kind.FAILED:
                asked.end.set_exception(NoAnswer("a bug in the exporter damaged this answer; see its log"))
            case Kind.REQUEST:
                raise ChannelError("found a request of the watcher, wanted an answer")
