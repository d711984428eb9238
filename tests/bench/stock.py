"""COUNT SOCKET... -> "ready", and "done" when stock qemu.qmp has counted so many events."""

import asyncio
import sys
from collections import Counter

from qemu.qmp import EventListener, QMPClient


async def count(listener: EventListener, events: Counter[tuple[str, str]], wanted: int) -> None:
    async for event in listener:
        events[event["event"], event["data"]["device"]] += 1
        if events.total() == wanted:
            sys.stdout.write("done\n")
            sys.stdout.flush()


async def main(wanted: int, sockets: list[str]) -> None:
    events: Counter[tuple[str, str]] = Counter()
    clients = [QMPClient(socket) for socket in sockets]
    async with asyncio.TaskGroup() as group:
        for client, socket in zip(clients, sockets, strict=True):
            listener = EventListener()
            client.register_listener(listener)
            await client.connect(socket)
            group.create_task(count(listener, events, wanted))
        sys.stdout.write("ready\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
