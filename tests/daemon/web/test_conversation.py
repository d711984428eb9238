"""A web process that was taken over -> what it gets of the watcher: answers, and nothing else."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from qmp_exporter.channel.connection import Connection, connected
from qmp_exporter.channel.messages import (
    FRAME,
    MAX_PIECE,
    MAX_REQUEST,
    UNDER_WAY,
    ChannelError,
    Frame,
    Healthy,
    Kind,
    Numbers,
    Overview,
    Page,
    Ready,
    Reload,
    encode,
)
from qmp_exporter.config import Target
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import STATIC
from qmp_exporter.daemon.web.conversation import Conversation
from serving import answers_of
from watching import eventually

LARGE = {f"label{number}": "x" * 1000 for number in range(500)}  # a page that no socket takes at once


class Web:
    """Our end of the channel, as the web process has it, and the conversation at the other."""

    def __init__(
        self, end: socket.socket, talk: "asyncio.Task[None]", stats: Selfstats, connection: Connection
    ) -> None:
        self.end = end
        self.talk = talk
        self.stats = stats
        self._connection = connection

    async def sends(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def asks(self, question: Page | Overview | Ready | Healthy | Reload, number: int = 1) -> list[Frame]:
        """The frames of the answer."""
        await self._connection.send(number, Kind.REQUEST, encode(question))
        frames = [await self._connection.receive()]
        while frames[-1].kind not in {Kind.END, Kind.FAILED}:
            frames.append(await self._connection.receive())
        return frames

    def own(self, name: str) -> float:
        lines = self.stats.text(openmetrics=False).decode().splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + " "))


Begin = Callable[..., Awaitable[Web]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    async with asyncio.TaskGroup() as group:
        webs: list[Web] = []

        async def start(
            labels: dict[str, str] | None = None, reload: Callable[[], Awaitable[tuple[str, ...]]] | None = None
        ) -> Web:
            stats = Selfstats()
            fleet = Fleet(stats)
            fleet.want(STATIC, [Target("web01", "/nothing.sock", labels or {})])
            answers = answers_of(fleet, stats, reload)
            ours, theirs = socket.socketpair()
            raw = theirs.dup()
            raw.setblocking(False)  # noqa: FBT003  the standard library's way
            conversation = Conversation(await connected(ours, MAX_REQUEST), answers, stats.told_by_web)
            talk = group.create_task(_ended(conversation))
            webs.append(Web(raw, talk, stats, await connected(theirs, MAX_PIECE)))
            return webs[-1]

        yield start
        for web in webs:
            web.talk.cancel()
            web.end.close()
            web._connection.close()


async def _ended(conversation: Conversation) -> ChannelError | None:
    """What it ended with."""
    try:
        await conversation.run()
    except ChannelError as error:
        return error
    return None


async def test_each_question_gets_its_answer(begin: Begin) -> None:
    web = await begin()
    head, *pieces, end = await web.asks(Page(openmetrics=False))
    text = b"".join(frame.content for frame in pieces).decode()
    assert (head.kind, end.kind) == (Kind.ANSWER, Kind.END)
    assert 'qemu_up{vm="web01"} 0.0' in text
    assert "qmp_exporter_build_info" in text
    for question, words in (
        (Ready(), b"not every target was tried yet\n"),
        (Reload(), b"wanted --web.enable-lifecycle\n"),
        (Healthy(), b"healthy\n"),
    ):
        _, piece, _ = await web.asks(question)
        assert piece.content == words


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"GET / HTTP/1.1\r\nHost: watcher\r\n\r\n", "bytes, wanted"),
        (FRAME.pack(MAX_REQUEST + 1, 1, Kind.REQUEST), "bytes, wanted"),
        (FRAME.pack(0, 1, Kind.REQUEST), "found no request"),
        (FRAME.pack(1, 1, Kind.END) + b"x", "kind END, wanted a request"),
        (FRAME.pack(1, 1, Kind.REQUEST) + b"\xc1", "found no request"),
    ],
)
async def test_what_a_web_process_never_sends_ends_the_conversation(begin: Begin, data: bytes, found: str) -> None:
    web = await begin()
    await web.sends(data)
    assert found in str(await web.talk)


async def test_no_garbage_does_more_than_end_the_conversation(begin: Begin) -> None:
    chance = random.Random(11)  # noqa: S311  the same garbage each time
    good = [
        FRAME.pack(len(content), number, Kind.REQUEST) + content
        for number, content in enumerate(map(encode, (Page(False), Overview(), Ready(), Healthy(), Numbers())))  # noqa: FBT003
    ]
    for _ in range(150):
        web = await begin()
        frames = bytearray(b"".join(chance.choices(good, k=8)))
        for _ in range(chance.randrange(4)):
            frames[chance.randrange(len(frames))] = chance.randrange(256)
        await web.sends(bytes(frames))
        web.end.shutdown(socket.SHUT_WR)
        result = await web.talk
        assert result is None or isinstance(result, ChannelError)


async def test_more_questions_at_once_than_a_web_process_has_end_the_conversation(begin: Begin) -> None:
    never = asyncio.Event()

    async def reload() -> tuple[str, ...]:
        await never.wait()
        return ()

    web = await begin(reload=reload)
    question = encode(Reload())
    await web.sends(b"".join(FRAME.pack(len(question), one, Kind.REQUEST) + question for one in range(UNDER_WAY + 1)))
    assert f"wanted {UNDER_WAY} under way at most" in str(await web.talk)


async def test_who_does_not_read_is_sent_no_more_than_the_socket_takes_and_is_heard_on(begin: Begin) -> None:
    web = await begin(LARGE)
    question = encode(Page(openmetrics=False))
    for number in range(8):
        await web.sends(FRAME.pack(len(question), number, Kind.REQUEST) + question)
    numbers = encode(Numbers(closed={"idle": 3.0}))
    await web.sends(FRAME.pack(len(numbers), 0, Kind.REQUEST) + numbers)
    await eventually(lambda: web.own('qmp_exporter_http_connections_closed_total{reason="idle"}') == 3)
    assert not web.talk.done()


async def test_what_it_counts_goes_on_where_the_process_before_it_ended(begin: Begin) -> None:
    stats = (await begin()).stats
    sample = 'qmp_exporter_http_requests_refused_total{reason="password"} '

    def text() -> str:
        return stats.text(openmetrics=False).decode()

    stats.watch_web_process(1)
    stats.told_by_web(Numbers(refused={"password": 5.0, 'x"} 1\nqemu_up{vm="web01': 1.0}, connections={"idle": 2.0}))
    stats.told_by_web(Numbers(refused={"password": 7.0}))
    assert sample + "7.0" in text()
    stats.watch_web_process(2)
    stats.told_by_web(Numbers(refused={"password": 1.0}, connections={"odd": 2.0}))
    assert sample + "8.0" in text()
    assert "qemu_up" not in text()
    assert "odd" not in text()
