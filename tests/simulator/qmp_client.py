"""An address -> a QMP client that shows its test every message as it comes, and sends any bytes."""

import asyncio
import json
from typing import Any, Self


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: Any) -> Self:
        if isinstance(address, tuple):
            return cls(*await asyncio.open_connection(*address, limit=1 << 24))
        name = str(address)
        name = "\0" + name[1:] if name.startswith("@") else name
        return cls(*await asyncio.open_unix_connection(name, limit=1 << 24))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.writer.close()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def message(self) -> dict[str, Any]:
        line = await self.reader.readline()
        assert line.endswith(b"\r\n"), line
        return json.loads(line)

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The next message after the command: its reply, or an event that comes before it."""
        self.send(json.dumps({"execute": command, "arguments": arguments}).encode())
        return await self.message()

    async def negotiate(self) -> None:
        assert "QMP" in await self.message()
        assert await self.ask("qmp_capabilities") == {"return": {}}

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, which may come as a reset."""
        data = b""
        try:
            while piece := await self.reader.read(65536):
                data += piece
        except ConnectionError:
            pass
        return data
