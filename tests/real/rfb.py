"""The address of a VNC server -> a real client of the RFB protocol 3.8, as far into the handshake as is asked for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

VERSION = b"RFB 003.008\n"
NO_LOGIN, VNC_LOGIN = 1, 2  # security types
DEADLINE = 20.0


class Tcp(NamedTuple):
    host: str
    port: int


class LoginRefusedError(Exception):
    """The server's reason."""


class Viewer(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say_version(self) -> None:
        assert await self.reader.readexactly(len(VERSION)) == VERSION
        self.writer.write(VERSION)

    async def log_in(self, response: bytes = b"") -> None:
        """Without a password, or with this response to the challenge: 16 bytes; anything but its DES is refused."""
        (count,) = await self.reader.readexactly(1)
        offered = await self.reader.readexactly(count)
        kind = VNC_LOGIN if response else NO_LOGIN
        assert kind in offered, f"the server offers security types {list(offered)}"
        self.writer.write(bytes([kind]))
        if response:
            await self.reader.readexactly(16)  # the challenge
            self.writer.write(response)
        if await self._number() != 0:
            raise LoginRefusedError((await self.reader.readexactly(await self._number())).decode())

    async def initialize(self) -> str:
        """ClientInit -> the name in the server's answer; the session is there"""
        self.writer.write(b"\x01")  # others may stay
        await self.reader.readexactly(2 + 2 + 16)  # width, height, pixel format
        return (await self.reader.readexactly(await self._number())).decode()

    async def _number(self) -> int:
        return int.from_bytes(await self.reader.readexactly(4))


@contextlib.asynccontextmanager
async def connected(address: Tcp | Path) -> AsyncIterator[Viewer]:
    """Connected, nothing said yet; disconnects at the end."""
    async with asyncio.timeout(DEADLINE):
        connection = (
            asyncio.open_unix_connection(address)
            if isinstance(address, Path)
            else asyncio.open_connection(address.host, address.port)
        )
        viewer = Viewer(*await connection)
    try:
        yield viewer
    finally:
        viewer.writer.close()
        with contextlib.suppress(ConnectionError):
            await viewer.writer.wait_closed()


@contextlib.asynccontextmanager
async def logged_in(address: Tcp | Path) -> AsyncIterator[Viewer]:
    """A whole session; disconnects at the end."""
    async with connected(address) as viewer:
        async with asyncio.timeout(DEADLINE):
            await viewer.say_version()
            await viewer.log_in()
            await viewer.initialize()
        yield viewer
