"""Peers that wait, drip, do not read or come in crowds -> who is cut off, and who is served all the same."""

import asyncio
import contextlib
import gc
import re
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.addresses import bound
from qmp_exporter.webserver.connections import HEADER_BYTES, LIMITS, Limits
from qmp_exporter.webserver.listen import listening
from qmp_exporter.webserver.policy import ALLOW_ALL
from watching import PATIENCE, eventually

SOON = 0.05  # seconds: a deadline that is over before the test is
GET = b"GET /small HTTP/1.1\r\nHost: exporter\r\n\r\n"
UNHURRIED = replace(LIMITS, request=60.0)  # for a busy machine that takes its time with a crowd
LARGE = 8 << 20  # bytes: more than the kernel takes for a peer that does not read


class Peer:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def header(self) -> str:
        return (await self._reader.readuntil(b"\r\n\r\n")).decode()

    async def answer(self) -> str:
        """The header of the next one; its body is read, too."""
        header = await self.header()
        length = int(header.lower().partition("content-length: ")[2].partition("\r\n")[0])
        await self._reader.readexactly(length)
        return header

    async def asks(self, request: bytes = GET) -> str:
        await self.send(request)
        return await self.answer()

    async def is_cut_off(self) -> None:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                while await self._reader.read(1 << 20):
                    pass

    def close(self) -> None:
        self._writer.transport.abort()


class Server:
    def __init__(self, address: tuple[str, int], stats: Selfstats, peers: contextlib.ExitStack) -> None:
        self._address = address
        self._stats = stats
        self._peers = peers

    async def peer(self) -> Peer:
        peer = Peer(*await asyncio.open_connection(*self._address))
        self._peers.callback(peer.close)
        return peer

    def own(self, name: str) -> float:
        (value,) = (
            line.rsplit(" ", 1)[1]
            for line in self._stats.text(openmetrics=False).decode().splitlines()
            if line.startswith(name + " ")
        )
        return float(value)

    def cut_off(self, reason: str) -> float:
        return self.own(f'qmp_exporter_http_connections_closed_total{{reason="{reason}"}}')

    def at(self, phase: str) -> float:
        return self.own(f'qmp_exporter_http_connections{{phase="{phase}"}}')


@contextlib.asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[Server]:
    async def small(_request: web.Request) -> web.Response:
        return web.Response(text="small")

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(LARGE))

    shared_body = bytes(LARGE)

    async def shared(_request: web.Request) -> web.Response:
        return web.Response(body=shared_body)

    async def broken(_request: web.Request) -> web.Response:
        raise ValueError("a bug")

    app = web.Application()
    app.router.add_get("/small", small)
    app.router.add_get("/large", large)
    app.router.add_get("/shared", shared)
    app.router.add_get("/broken", broken)
    stats = Selfstats()
    with contextlib.ExitStack() as peers:
        (listener,) = await bound(["127.0.0.1:0"])
        async with listening(app, [listener], AccessControl(ALLOW_ALL, stats), stats, limits):
            yield Server(listener.getsockname(), stats, peers)


async def test_who_says_nothing_is_cut_off() -> None:
    async with serving(replace(LIMITS, request=SOON)) as server:
        await (await server.peer()).is_cut_off()
        await eventually(lambda: server.cut_off("request") == 1)


async def test_who_drips_its_request_is_cut_off_however_fast_the_drops_come() -> None:
    async with serving(replace(LIMITS, request=SOON)) as server:
        peer = await server.peer()
        with contextlib.suppress(ConnectionError):
            await peer.send(b"GET /small HTTP/1.1\r\nX: ")
            async with asyncio.timeout(PATIENCE):
                while True:
                    await peer.send(b"x")
                    await asyncio.sleep(0)
        await eventually(lambda: server.cut_off("request") == 1)


async def test_a_header_that_goes_on_and_on_is_cut_off_long_before_its_end() -> None:
    async with serving(LIMITS) as server:
        peer = await server.peer()
        sent = 0
        with contextlib.suppress(ConnectionError):
            await peer.send(b"GET /small HTTP/1.1\r\n")
            while sent < 100_000_000:
                await peer.send(b"X-%d: %s\r\n" % (sent, b"x" * 1000))
                sent += 1000
        await peer.is_cut_off()
        assert HEADER_BYTES < sent < 100_000_000
        await eventually(lambda: server.cut_off("size") == 1)


async def test_who_does_not_read_its_answer_is_cut_off() -> None:
    async with serving(replace(LIMITS, answer=SOON)) as server:
        peer = await server.peer()
        await peer.send(b"GET /large HTTP/1.1\r\nHost: exporter\r\n\r\n")
        await eventually(lambda: server.cut_off("answer") == 1)


async def test_who_asks_for_one_answer_after_the_other_and_reads_none_is_cut_off() -> None:
    async with serving(replace(LIMITS, answer=SOON)) as server:
        peer = await server.peer()
        await peer.send(GET.replace(b"small", b"large") * 100)
        await eventually(lambda: server.cut_off("answer") == 1)


async def test_who_was_answered_may_ask_again_but_not_wait_for_ever() -> None:
    async with serving(replace(LIMITS, request=SOON, idle=3 * SOON)) as server:
        peer = await server.peer()
        for _ in range(3):
            assert "200 OK" in await peer.asks()
        await peer.is_cut_off()
        await eventually(lambda: server.cut_off("idle") == 1)
        assert server.cut_off("request") == 0


async def test_who_begins_another_request_has_to_finish_it() -> None:
    async with serving(replace(LIMITS, request=SOON)) as server:
        peer = await server.peer()
        await peer.asks()
        await peer.send(GET[:-1])
        await peer.is_cut_off()
        await eventually(lambda: server.cut_off("request") == 1)


async def test_a_crowd_that_says_nothing_has_its_first_ones_cut_off() -> None:
    async with serving(replace(UNHURRIED, places=10)) as server:
        crowd = [await server.peer() for _ in range(30)]
        for peer in crowd[:20]:
            await peer.is_cut_off()
        await eventually(lambda: server.cut_off("crowded") == 20)
        for peer in crowd[20:]:
            assert "200 OK" in await peer.asks()


async def test_a_crowd_that_does_not_read_has_its_first_ones_cut_off() -> None:
    async with serving(replace(UNHURRIED, places=10)) as server:
        crowd = [await server.peer() for _ in range(10)]
        for peer in crowd:
            await peer.send(GET.replace(b"small", b"large"))
        await eventually(lambda: server.at("answer") == 10)
        assert "200 OK" in await (await server.peer()).asks()
        assert server.cut_off("crowded") == 1
        await crowd[0].is_cut_off()


async def test_who_comes_again_is_not_cut_off_for_a_crowd_even_of_those_that_ask() -> None:
    async with serving(replace(UNHURRIED, places=10, kept=3)) as server:
        prometheus = await server.peer()
        assert "Connection: close" not in await prometheus.asks()
        answers = [await (await server.peer()).asks() for _ in range(30)]
        assert ["Connection: close" in answer for answer in answers] == [False] * 2 + [True] * 28
        await prometheus.send(GET[:-2])  # its request has begun, like the crowd's
        silent = [await server.peer() for _ in range(30)]
        await silent[0].is_cut_off()
        assert "200 OK" in await prometheus.asks(GET[-2:])


async def test_memory_for_answers_that_nobody_reads_is_limited() -> None:
    async with serving(replace(LIMITS, owed=3 * LARGE)) as server:
        crowd = [await server.peer() for _ in range(5)]
        for number, peer in enumerate(crowd, start=1):
            await peer.send(GET.replace(b"small", b"large"))
            await eventually(lambda number=number: server.at("answer") + server.cut_off("crowded") == number)
        assert server.cut_off("crowded") == 2
        await crowd[0].is_cut_off()
        assert "200 OK" in await crowd[4].answer()
        assert "200 OK" in await (await server.peer()).asks(GET.replace(b"small", b"large"))


async def test_an_answer_that_many_read_is_in_memory_once_and_so_it_is_counted() -> None:
    async with serving(replace(LIMITS, owed=3 * LARGE)) as server:
        crowd = [await server.peer() for _ in range(8)]
        for peer in crowd:
            await peer.send(GET.replace(b"small", b"shared"))
        assert all(["200 OK" in await peer.answer() for peer in crowd])
        assert server.cut_off("crowded") == 0


async def test_who_is_connected_longest_and_reads_is_not_cut_off_for_those_who_do_not() -> None:
    """As Prometheus, which keeps its connection."""
    async with serving(replace(LIMITS, owed=3 * LARGE)) as server:
        prometheus, *crowd = [await server.peer() for _ in range(4)]
        await prometheus.asks()
        for number, peer in enumerate((crowd[0], crowd[1], prometheus, crowd[2]), start=1):
            await peer.send(GET.replace(b"small", b"large"))
            await eventually(lambda number=number: server.at("answer") + server.cut_off("crowded") == number)
        assert server.cut_off("crowded") == 1
        await crowd[0].is_cut_off()
        assert "200 OK" in await prometheus.answer()


async def test_nothing_is_kept_of_an_answer_whose_reader_left_in_the_middle() -> None:
    """Without waiting for the garbage collection, which comes late."""
    gc.disable()
    tracemalloc.start()
    try:
        async with serving(LIMITS) as server:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(5):
                peer = await server.peer()
                await peer.send(GET.replace(b"small", b"large"))
                await peer.header()
                for _ in range(500):  # turns of the server, which shares this loop: it waits for the peer by then
                    await asyncio.sleep(0)
                peer.close()
            await eventually(lambda: server.at("answer") == 0)
            after, _ = tracemalloc.get_traced_memory()
            assert after - before < LARGE
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_who_does_not_close_when_told_to_is_cut_off() -> None:
    async with serving(replace(LIMITS, close=SOON)) as server:
        peer = await server.peer()
        await peer.send(GET.replace(b"small", b"large").replace(b"1.1", b"1.0"))
        await eventually(lambda: server.at("answer") == 1)
        assert "200 OK" in await peer.answer()
        await peer.is_cut_off()
        await eventually(lambda: sum(map(server.at, ("request", "answer", "idle", "close"))) == 0)


@pytest.mark.parametrize(
    "body", [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
)
async def test_a_body_is_refused_and_not_read(body: bytes) -> None:
    async with serving(LIMITS) as server:
        peer = await server.peer()
        answer = await peer.asks(b"GET /small HTTP/1.1\r\nHost: exporter\r\n" + body)
        assert "413 " in answer
        assert "Connection: close" in answer
        await peer.is_cut_off()


async def test_an_empty_body_is_none() -> None:
    async with serving(LIMITS) as server:
        assert "200 OK" in await (await server.peer()).asks(GET[:-2] + b"Content-Length: 0\r\n\r\n")


async def test_a_head_of_a_large_answer_is_its_header() -> None:
    async with serving(LIMITS) as server:
        peer = await server.peer()
        await peer.send(GET.replace(b"GET /small", b"HEAD /large"))
        assert f"Content-Length: {LARGE}\r\n" in await peer.header()
        assert "200 OK" in await peer.asks()


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n\r\n", b"GET\r\n\r\n", GET[:-2] + b"X\r\n\r\n"]
)
async def test_what_is_no_http_is_refused_without_a_word_in_the_log(nonsense: bytes, capfd) -> None:
    async with serving(replace(LIMITS, request=SOON)) as server:
        peer = await server.peer()
        await peer.send(nonsense)
        await peer.is_cut_off()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "request_", [GET, GET.replace(b"small", b"nothing"), GET.replace(b"small", b"broken"), b"GET\r\n\r\n"]
)
async def test_no_answer_tells_of_which_version_anything_is(request_: bytes) -> None:
    async with serving(LIMITS) as server:
        answer = await (await server.peer()).asks(request_)
    assert re.findall("^Server: (.*)\r$", answer, re.MULTILINE) == ["qmp-exporter"]
    assert not re.search(r"aiohttp|python|\d+\.\d+\.\d+", answer, re.IGNORECASE)


async def test_a_bug_spoils_one_answer_and_is_logged(capfd) -> None:
    async with serving(LIMITS) as server:
        peer = await server.peer()
        assert "500 " in await peer.asks(GET.replace(b"small", b"broken"))
        assert "200 OK" in await (await server.peer()).asks()
    assert "ValueError: a bug" in "".join(capfd.readouterr())


async def test_the_end_waits_for_nobody_who_waits() -> None:
    async with serving(LIMITS) as server:
        peers = [await server.peer() for _ in range(3)]
        await peers[1].asks()
        await peers[2].send(GET.replace(b"small", b"large"))
        await eventually(lambda: server.at("answer") == 1)
        server.told_to_end = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - server.told_to_end < 4


def test_the_documentation_tells_the_limits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    for told in (
        f"| connections | {LIMITS.places}, of which {LIMITS.kept} are",
        f"| {LIMITS.request:.0f} s and {HEADER_BYTES >> 10} KiB |",
        f"| {LIMITS.answer:.0f} s, and {LIMITS.owed >> 20} MiB for",
        f"| {LIMITS.idle:.0f} s |",
    ):
        assert told in page
