"""The port of a SPICE server -> a real client with four channels: spicy-stats of spice-client-gtk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from qmp_exporter.demo.qemu import dying_with_us

BINARY = "spicy-stats"


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Started; its channels connect one after the other. Ends it at the end."""
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(),
        *(BINARY, "-h", "127.0.0.1", "-p", str(port)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
