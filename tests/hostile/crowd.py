"""An address and a number -> connections of every kind that keeps a server waiting, each replaced when it is cut off.

A program of its own, so that what it costs is not measured with the server: python crowd.py PORT CA SIZE. It says how
many of each kind it holds whenever that changes for the better, in one line of JSON.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n"
HELLO = bytes.fromhex("16030102000100")  # of a ClientHello of 512 bytes, the first 7
DRIP = 0.2  # seconds between two drops
WINDOW = 4096  # bytes that a slow reader lets the kernel take for it


class Crowd:
    def __init__(self, port: int, ca: str) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=ca)
        self.held: Counter[str] = Counter()

    async def run(self, size: int) -> None:
        kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "silent": (size // 5, self._silent),
            "half a hello": (size // 5, self._half_a_hello),
            "silent after the handshake": (size // 5, self._silent_after_the_handshake),
            "dripping a header": (size // 5, self._dripping),
            "not reading": (size * 3 // 100, self._not_reading),
            "idle after an answer": (size * 17 // 100, self._idle),
        }
        async with asyncio.TaskGroup() as group:
            for number, kind in kinds.values():
                for _ in range(number):
                    group.create_task(self._again_and_again(kind))
            group.create_task(self._report())

    async def _report(self) -> None:
        while True:
            print(json.dumps(self.held), flush=True)  # noqa: T201  the test reads it
            await asyncio.sleep(DRIP)

    @staticmethod
    async def _again_and_again(kind: Callable[[], Awaitable[None]]) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await kind()

    @contextlib.asynccontextmanager
    async def _connected(self, kind: str, tls: ssl.SSLContext | None):
        raw = socket.socket()
        raw.setblocking(False)  # noqa: FBT003  the method's own way
        if kind == "not reading":
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self._port))
        name = "127.0.0.1" if tls else None
        reader, writer = await asyncio.open_connection(sock=raw, ssl=tls, server_hostname=name, limit=WINDOW)
        self.held[kind] += 1
        try:
            yield reader, writer
        finally:
            self.held[kind] -= 1
            writer.transport.abort()

    async def _silent(self) -> None:
        async with self._connected("silent", None) as (reader, _):
            await reader.read(1)

    async def _half_a_hello(self) -> None:
        async with self._connected("half a hello", None) as (reader, writer):
            writer.write(HELLO)
            await reader.read(1)

    async def _silent_after_the_handshake(self) -> None:
        async with self._connected("silent after the handshake", self._tls) as (reader, _):
            await reader.read(1)

    async def _dripping(self) -> None:
        async with self._connected("dripping a header", self._tls) as (_, writer):
            writer.write(REQUEST)
            while True:
                writer.write(b"X-Header: " + b"x" * 500 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(DRIP)

    async def _not_reading(self) -> None:
        async with self._connected("not reading", self._tls) as (reader, writer):
            writer.write(REQUEST + b"\r\n")
            await reader.readexactly(1)
            writer.transport.pause_reading()
            while not writer.is_closing():
                writer.write(b"\r\n")  # finds out when it was cut off
                await asyncio.sleep(DRIP)

    async def _idle(self) -> None:
        async with self._connected("idle after an answer", self._tls) as (reader, writer):
            writer.write(REQUEST.replace(b"metrics", b"-/healthy") + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(b"healthy\n"))
            await reader.read(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Crowd(int(sys.argv[1]), sys.argv[2]).run(int(sys.argv[3])))
