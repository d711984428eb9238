"""Clients that come to a port with TLS without it -> what they are told, and how long they are listened to."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import bcrypt
import pytest
from aiohttp import web

from certificates import Authority
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.addresses import bound
from qmp_exporter.webserver.connections import HEADER_BYTES, LIMITS, Limits
from qmp_exporter.webserver.listen import listening
from qmp_exporter.webserver.policy import rules
from watching import PATIENCE, eventually

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
CONFIG = f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: ca.pem
http_server_config:
  headers: {{Strict-Transport-Security: max-age=1}}
basic_auth_users:
  prometheus: {bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}
"""


class Port:
    """A port where TLS is spoken."""

    def __init__(self, address: tuple[str, int], stats: Selfstats) -> None:
        self._address = address
        self._stats = stats

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection without TLS."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            async with asyncio.timeout(PATIENCE):
                yield reader, writer
        finally:
            writer.transport.abort()

    async def answer(self, request: bytes) -> bytes:
        """All that is answered to something after which nothing comes."""
        async with self.client() as (reader, writer):
            writer.write(request)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                return await reader.read()
            return b""

    async def cut_off(self, reason: str, times: int = 1) -> None:
        sample = f'qmp_exporter_http_connections_closed_total{{reason="{reason}"}} {times:.1f}'
        await eventually(lambda: sample in self._stats.text(openmetrics=False).decode().splitlines())


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A directory with certificates and a web configuration."""
    authority = Authority("ours")
    (tmp_path / "ca.pem").write_bytes(authority.cert)
    authority.issue("localhost").write(tmp_path, "server")
    (tmp_path / "web.yml").write_text(CONFIG)
    return tmp_path


@contextlib.asynccontextmanager
async def port(at: Path, limits: Limits = LIMITS) -> AsyncIterator[Port]:
    stats = Selfstats()
    (listener,) = await bound(["127.0.0.1:0"])
    async with listening(web.Application(), [listener], AccessControl(rules(at / "web.yml"), stats), stats, limits):
        yield Port(listener.getsockname(), stats)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"PROPFIND", b"PRI"])
async def test_plain_http_is_told_that_the_port_speaks_tls_and_learns_nothing_else(at: Path, method: bytes) -> None:
    async with port(at) as tls, tls.client() as (reader, writer):
        writer.write(REQUEST.replace(b"GET", method))
        assert (await reader.read()).split(b"\r\n") == [
            b"HTTP/1.1 400 Bad Request",
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Length: 60",
            b"Connection: close",
            b"",
            b"This port speaks TLS: ask it by https:// and not by http://\n",
        ]
        await tls.cut_off("handshake")


async def test_what_is_neither_tls_nor_http_is_told_nothing_in_plain_text(at: Path) -> None:
    nonsense = (b"get / HTTP/1.1\r\n\r\n", bytes(100), b"\x80\x2e\x01\x00\x02", b"\xff", b"\x16\x03\x01 no hello", b"")
    async with port(at) as tls:
        for one in nonsense:
            answer = await tls.answer(one)
            assert b"HTTP" not in answer
            assert answer[:1] in {b"", b"\x15"}  # an alert of TLS
        await tls.cut_off("handshake", len(nonsense))


async def test_a_request_that_is_not_finished_is_answered_when_nothing_can_follow(at: Path) -> None:
    async with port(at) as tls:
        assert (await tls.answer(b"GET / HT")).startswith(b"HTTP/1.1 400 ")


async def test_a_header_that_goes_on_and_on_is_not_read_to_its_end(at: Path) -> None:
    sent = 0
    async with port(at) as tls, tls.client() as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 100_000_000:
                writer.write(b"X: %b\r\n" % (b"x" * 1000))
                await writer.drain()
                sent += 1000
        await tls.cut_off("handshake")
    assert HEADER_BYTES < sent < 100_000_000


async def test_who_does_not_finish_its_request_is_cut_off(at: Path) -> None:
    async with port(at, replace(LIMITS, request=0.1)) as tls:
        for begun in (b"", b"G", REQUEST[:-1]):
            async with tls.client() as (reader, writer):
                writer.write(begun)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        await tls.cut_off("request", 3)


async def test_a_handshake_whose_bytes_come_one_by_one_succeeds(at: Path) -> None:
    context = ssl.create_default_context(cafile=str(at / "ca.pem"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with port(at) as served, served.client() as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                incoming.write(await reader.read(1 << 16))
    assert tls.version() == "TLSv1.3"
