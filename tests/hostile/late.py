"""A monitor, and chance -> the same monitor on a wire on which replies are late, and events overtake them.

As in QEMU, where a reply says what was true when it was made, and an event may get out before it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path


@contextlib.asynccontextmanager
async def late(monitor: Path, socket: Path, seconds: Callable[[], float]) -> AsyncIterator[None]:
    """Inside, the monitor is to be had at `socket`, too; `seconds` says how late each reply is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        qemu_reader, qemu_writer = await asyncio.open_unix_connection(monitor)
        replies: asyncio.Queue[bytes] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(_ask(reader, qemu_writer))
                replying = group.create_task(_reply(replies, writer, seconds))
                while line := await qemu_reader.readline():
                    if b'"event"' in line:
                        writer.write(line)
                    else:
                        replies.put_nowait(line)
                asking.cancel()
                replying.cancel()
        except* ConnectionError:
            pass  # one of the two is gone, and nobody reads what is late
        finally:
            writer.close()
            qemu_writer.close()

    async with await asyncio.start_unix_server(serve, socket):
        yield


async def _ask(reader: asyncio.StreamReader, qemu: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        qemu.write(chunk)
    qemu.close()


async def _reply(replies: asyncio.Queue[bytes], writer: asyncio.StreamWriter, seconds: Callable[[], float]) -> None:
    while True:
        line = await replies.get()
        await asyncio.sleep(seconds())
        writer.write(line)
