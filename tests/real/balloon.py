"""The registers of a legacy virtio balloon, by QEMU's qtest protocol -> what a guest's balloon driver reports.

QEMU's device is real; its guest is this file.  The registers are those of the virtio specification 1.0, 4.1.4.8, the
statistics those of 5.5.6.3; docs/devel/testing/qtest.rst has the protocol.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from qmp_exporter.demo.machine import Machine

SOCKET = "qtest.sock"
HALTS = b"\xfa\xf4\xeb\xfc"  # at the reset vector, 16 bytes below the end: cli, hlt, and once more
SLOT = 0x10
BAR = 0xC000
QUEUES, BUFFER = 0x10000, 0x20000  # in the guest's memory
STATS_VQ, STATS_QUEUE = 1 << 1, 2
STATISTIC = struct.Struct("<HQ")
# VIRTIO_BALLOON_S_*, linux/virtio_balloon.h
TAGS = {
    "swap-in": 0,
    "swap-out": 1,
    "major": 2,
    "minor": 3,
    "free": 4,
    "total": 5,
    "available": 6,
    "caches": 7,
    "oom": 10,
}


def machine(directory: Path) -> Machine:
    """Its processor halts at once; its devices do what they are told by SOCKET, once the owner has said cont."""
    firmware = directory / "halts.bin"
    firmware.write_bytes(bytes(65536 - 16) + HALTS.ljust(16, b"\0"))
    balloon = f"virtio-balloon-pci,id=balloon0,addr={SLOT:#x},disable-modern=on"
    qtest = f"unix:{directory / SOCKET},server=on,wait=off"
    extra = ("-bios", str(firmware), "-qtest", qtest, "-qtest-log", "none", "-device", balloon)
    return Machine(paused=True, extra=extra)


class Guest:
    """A driver that has found its balloon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._reports = self._entries = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, directory: Path) -> AsyncIterator[Self]:
        reader, writer = await asyncio.open_unix_connection(directory / SOCKET)
        guest = cls(reader, writer)
        await guest._configure(0x10, BAR)
        await guest._configure(0x04, 0x7)  # I/O, memory, bus master
        for status in (1, 3):  # there, and a driver for it
            await guest._does(f"outb {BAR + 18:#x} {status}")
        await guest._does(f"outl {BAR + 4:#x} {STATS_VQ}")
        await guest._does(f"outw {BAR + 14:#x} {STATS_QUEUE}")
        guest._entries = int(await guest._does(f"inw {BAR + 12:#x}"), 16)
        await guest._does(f"outl {BAR + 8:#x} {QUEUES >> 12}")
        await guest._does(f"outb {BAR + 18:#x} 7")  # ready
        try:
            yield guest
        finally:
            writer.close()
            await writer.wait_closed()

    async def reports(self, **statistics: int) -> None:
        """Puts a buffer of statistics into the queue, as a guest does when it is ready and whenever it is asked."""
        told = b"".join(STATISTIC.pack(TAGS[name], value) for name, value in statistics.items())
        await self._write(BUFFER, told)
        await self._write(QUEUES, struct.pack("<QIHH", BUFFER, len(told), 0, 0))
        self._reports += 1
        available = QUEUES + 16 * self._entries
        await self._write(available + 4 + 2 * ((self._reports - 1) % self._entries), struct.pack("<H", 0))
        await self._write(available, struct.pack("<HH", 0, self._reports))
        await self._does(f"outw {BAR + 16:#x} {STATS_QUEUE}")

    async def _configure(self, register: int, value: int) -> None:
        await self._does(f"outl 0xcf8 {0x80000000 | SLOT << 11 | register:#x}")
        await self._does(f"outl 0xcfc {value:#x}")

    async def _write(self, address: int, content: bytes) -> None:
        await self._does(f"write {address:#x} {len(content):#x} 0x{content.hex()}")

    async def _does(self, order: str) -> str:
        """-> what it read, if it was to read something"""
        self._writer.write(f"{order}\n".encode())
        answer = await self._reader.readline()
        assert answer.startswith(b"OK"), (order, answer)
        return answer.decode().removeprefix("OK").strip()
