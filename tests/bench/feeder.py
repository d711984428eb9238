"""DIR N, and orders on standard input -> N simulated VMs that do as they are told, and a line for each order done.

1 storm COUNT FIRST LAST   so many BLOCK_IO_ERROR in all from these VMs, as fast as their client reads
2 flood SECONDS RATE VM    so many a second from one VM; 0: as fast as its client reads
3 beat VM                  one; the answer is the monotonic time at which it was emitted
4 negotiated               every VM has a client that negotiated; the answer is when that was so
5 work                     every disk of every VM reads and writes
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from qmp_exporter.simulator import Monitor, SimulatedVm

TICK = 0.01  # seconds between two portions of a flood
PORTION = 2048  # events of an unbounded flood between two looks at the clock


class Feeder:
    def __init__(self, monitors: list[Monitor]) -> None:
        self._monitors = monitors

    async def storm(self, count: int, first: int, last: int) -> int:
        monitors = self._monitors[first - 1 : last]
        share, rest = divmod(count, len(monitors))
        async with asyncio.TaskGroup() as group:
            for number, monitor in enumerate(monitors):
                group.create_task(monitor.storm(share + (number < rest)))
        return count

    async def flood(self, seconds: float, rate: int, vm: int) -> int:
        monitor = self._monitors[vm - 1]
        started, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - started) < seconds:
            if rate:
                due = int(elapsed * rate) - sent
                monitor.burst(due)
                await asyncio.sleep(TICK)
            else:
                due = PORTION
                await monitor.storm(due)
            sent += due
        return sent

    async def beat(self, vm: int) -> float:
        self._monitors[vm - 1].burst(1)
        return time.monotonic()

    async def negotiated(self) -> float:
        for monitor in self._monitors:
            await monitor.negotiated()
        return time.monotonic()

    async def work(self) -> float:
        for monitor in self._monitors:
            for block in monitor.vm.blocks:
                monitor.vm.do_io(block.id, "read", count=137, size=16384)
                monitor.vm.do_io(block.id, "write", count=1031, size=8192)
        return time.monotonic()

    async def obey(self, identifier: str, order: str, *arguments: str) -> None:
        done = await getattr(self, order)(*(int(argument) for argument in arguments))
        sys.stdout.write(f"{identifier} {done}\n")
        sys.stdout.flush()


async def main(directory: Path, number: int) -> None:
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        names = [f"vm{index:04}" for index in range(1, number + 1)]
        monitors = [Monitor(SimulatedVm(name), directory / f"{name}.sock") for name in names]
        for monitor in monitors:
            await stack.enter_async_context(monitor)
        feeder = Feeder(monitors)
        sys.stdout.write("0 ready\n")
        sys.stdout.flush()
        async for order in orders:
            group.create_task(feeder.obey(*order.decode().split()))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
