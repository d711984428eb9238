"""COUNT SOCKET... -> "ready", and "done" when a reader that only decodes each line has seen so many events.

It counts names. No less can be done to count events in Python: no page, no labels, no queries, no faults of the peer.
"""

import asyncio
import sys
from collections import Counter

import msgspec

decode = msgspec.json.Decoder().decode  # as fast as orjson


class Reader(asyncio.Protocol):
    def __init__(self, events: Counter[str], wanted: int) -> None:
        self._events = events
        self._wanted = wanted
        self._rest = b""
        self.negotiated = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b'{"execute": "qmp_capabilities"}')

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = decode(line)
            if "event" in message:
                self._events[message["event"]] += 1
            elif "return" in message:
                self.negotiated.set_result(None)
        if self._events.total() == self._wanted:
            sys.stdout.write("done\n")
            sys.stdout.flush()


async def main(wanted: int, sockets: list[str]) -> None:
    events: Counter[str] = Counter()
    for socket in sockets:
        _, reader = await asyncio.get_running_loop().create_unix_connection(lambda: Reader(events, wanted), socket)
        await reader.negotiated
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
