"""The requests of one web process -> their answers, as long as it lives.

It faces the network, so it may be taken over: what it sends is bounded in size, number and rate, and whatever it sends,
or does not read, it gets nothing but answers, and holds nothing but its own.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from qmp_exporter.channel.connection import Connection
from qmp_exporter.channel.messages import (
    MAX_PIECE,
    UNDER_WAY,
    ChannelError,
    Kind,
    Numbers,
    Page,
    Question,
    encode,
    request,
)
from qmp_exporter.daemon.web.answers import Answers, Reply
from qmp_exporter.runtime.bucket import Bucket

EVERY: Final = 0.002  # seconds between two requests in the long run; a crowd shares its pages in the web process
BURST: Final = 100  # requests

log = structlog.get_logger()


class Conversation:
    def __init__(self, connection: Connection, answers: Answers, tell: Callable[[Numbers], None]) -> None:
        """`tell` is told what the web process counts."""
        self._connection = connection
        self._answers = answers
        self._tell = tell
        self._one_page = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        self.heard_at = time.monotonic()  # when it last said anything

    async def run(self) -> None:
        """Until the web process has ended.

        :raise ChannelError: it sends what it never would.
        """
        bucket = Bucket(EVERY, BURST, time.monotonic())
        try:
            while True:
                await self._receive(bucket)
        except (EOFError, OSError):
            return
        finally:
            for task in self._under_way:
                task.cancel()
            self._connection.close()

    async def _receive(self, bucket: Bucket) -> None:
        frame = await self._connection.receive()
        self.heard_at = time.monotonic()
        message = request(frame)
        if isinstance(message, Numbers):
            self._tell(message)
        elif len(self._under_way) >= UNDER_WAY:
            raise ChannelError(f"found one more question, wanted {UNDER_WAY} under way at most")
        else:
            task = asyncio.get_running_loop().create_task(self._answer(frame.number, message))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        while not bucket.take(time.monotonic()):  # noqa: ASYNC110  what is waited for is time
            await asyncio.sleep(EVERY)

    async def _answer(self, number: int, question: Question) -> None:
        alone = self._one_page if isinstance(question, Page) else contextlib.nullcontext()
        try:
            async with alone:
                await self._send(number, await self._answers.to(question))
        except ConnectionError:  # the reader finds out for itself
            return
        except Exception:
            log.exception("internal error while answering the web process")
            with contextlib.suppress(ConnectionError):
                await self._connection.send(number, Kind.FAILED, b"")

    async def _send(self, number: int, reply: Reply) -> None:
        await self._connection.send(number, Kind.ANSWER, encode(reply.head))
        async for piece in _pieces(reply.body):
            await self._connection.send(number, Kind.PIECE, piece)
        await self._connection.send(number, Kind.END, b"")


async def _pieces(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """None larger than the other end takes."""
    if isinstance(body, bytes):
        for first in range(0, len(body), MAX_PIECE):
            yield body[first : first + MAX_PIECE]
        return
    async for part in body:
        async for piece in _pieces(part):
            yield piece
