"""One end of the socket between the two processes -> frames, one after the other, in both directions."""

import asyncio
import socket

from qmp_exporter.channel.messages import FRAME, Frame, Kind, header


class Connection:
    """Both ends are alike, but for `most`: the bytes that a content from the other end may have."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int) -> None:
        self._reader = reader
        self._writer = writer
        self._most = most
        self._one_at_a_time = asyncio.Lock()

    async def receive(self) -> Frame:
        """The next frame.

        :raise ChannelError: what comes is none.
        :raise EOFError: the other process has ended, or closed its end.
        :raise OSError: likewise.
        """
        length, number, kind = header(await self._reader.readexactly(FRAME.size), self._most)
        return Frame(number, kind, await self._reader.readexactly(length) if length else b"")

    async def send(self, number: int, kind: Kind, content: bytes) -> None:
        """Wait until the other end has room.

        :raise OSError: nobody is there any more.
        """
        async with self._one_at_a_time:  # a second one that waits for room would not be woken on Python 3.11
            self._writer.write(FRAME.pack(len(content), number, kind))
            if content:
                self._writer.write(content)
            await self._writer.drain()

    def close(self) -> None:
        """At once; what was not read by the other end is lost."""
        self._writer.transport.abort()


async def connected(end: socket.socket, most: int) -> Connection:
    """`end` of a pair of sockets belongs to the connection from now on."""
    reader, writer = await asyncio.open_unix_connection(sock=end, limit=2 * most)
    return Connection(reader, writer, most)
