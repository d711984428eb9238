"""--vms N --dir DIR -> N simulated VMs with monitor sockets DIR/vm0001.sock ..., until SIGTERM or SIGINT."""

import argparse
import asyncio
import resource
import signal
import sys
from contextlib import AsyncExitStack
from itertools import cycle, islice
from pathlib import Path
from random import Random

from qmp_exporter.simulator.life import live
from qmp_exporter.simulator.monitor import Monitor
from qmp_exporter.simulator.vm import SimulatedVm

_TICK = 0.01


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m qmp_exporter.simulator", description=__doc__)
    parser.add_argument("--vms", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--dir", type=Path, required=True, help="where the sockets go; made if missing")
    rate_help = "BLOCK_IO_ERROR events a second, of all VMs together and in turn (default 0)"
    parser.add_argument("--events-per-second", type=float, default=0.0, help=rate_help)
    parser.add_argument("--live", action="store_true", help="the VMs do disk I/O, trays move, clients come ...")
    parser.add_argument("--seed", type=int, default=1, help="of the chance behind --live (default 1)")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        monitors = []
        for number in range(1, arguments.vms + 1):
            name = f"vm{number:04}"
            monitor = Monitor(SimulatedVm(name), arguments.dir / f"{name}.sock")
            monitors.append(await stack.enter_async_context(monitor))
        sys.stdout.write(f"ready: {len(monitors)} VMs in {arguments.dir}\n")
        sys.stdout.flush()
        moving = []
        if arguments.live:
            for monitor in monitors:
                rng = Random(f"{arguments.seed} {monitor.vm.name}")  # noqa: S311 - nothing secret in it
                moving.append(tasks.create_task(live(monitor.vm, rng)))
        if arguments.events_per_second > 0:
            moving.append(tasks.create_task(_emit(monitors, arguments.events_per_second)))
        await stop.wait()
        for task in moving:
            task.cancel()


async def _emit(monitors: list[Monitor], rate: float) -> None:
    """The rate is kept by the clock: a tick that comes late brings what it owes."""
    loop = asyncio.get_running_loop()
    started, emitted = loop.time(), 0
    turn = cycle(monitors)
    while True:
        await asyncio.sleep(_TICK)
        due = int((loop.time() - started) * rate) - emitted
        emitted += due
        share, rest = divmod(due, len(monitors))
        for monitor in monitors if share else ():
            monitor.burst(share)
        for monitor in islice(turn, rest):
            monitor.burst(1)


def _raise_file_limit() -> None:
    """Two descriptors per VM; the usual soft limit of 1024 would end at 500 VMs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    _raise_file_limit()
    asyncio.run(_run(_arguments()))
