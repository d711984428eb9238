"""Half an hour of VMs that come and go, peers that are none, a flood, and attacks -> memory, lag, events lost."""

import asyncio
import contextlib
import itertools
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from qmp_exporter.simulator import Monitor, SimulatedVm
from tests.bench import siege
from tests.bench.contest import POLL, configured, feeding
from tests.bench.scale import Scale
from tests.bench.table import Number, numbers

VMS = 50
CHURN = 20  # VMs beside them that come and go
GARBAGE = 5  # sockets of peers that are no QEMU
RATE = 1_000  # events a second of one VM
HEADER = ("minute", "attack", "memory_mib", "watcher_lag_ms", "web_process_restarts")


async def run(scale: Scale) -> str:
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        directory = Path(name)
        async with AsyncExitStack() as stack:
            feeder = await stack.enter_async_context(feeding(VMS))
            vms = [{"name": vm, "socket": str(path)} for vm, path in zip(feeder.names, feeder.sockets, strict=True)]
            found = {"glob": f"{directory}/*.sock"}
            configuration = {"poll_interval": f"{POLL}s", "vms": vms, "discover": [found]}
            exporter = await stack.enter_async_context(configured(configuration))
            await feeder.tell("negotiated")
            await stack.enter_async_context(_churned(directory))
            rows, sent = [], 0
            attacks = itertools.islice(itertools.cycle(siege.ATTACKS.items()), scale.soak)
            for minute, (attack, attacker) in enumerate(attacks, start=1):
                async with siege.attacked(exporter, attacker):
                    sent += int(await feeder.tell("flood", scale.minute, RATE, siege.LOUD))
                page = await exporter.until(
                    lambda page, all_=sent: page.total(exporter.names.io_errors, 'vm="vm') >= all_
                )
                lag, restarts = siege.told(page)
                rows.append((minute, attack, exporter.process.resident() / 2**20, lag * 1e3, restarts))
            lost = sent - page.total(exporter.names.io_errors, 'vm="vm')
    memory = [row[2] for row in rows]
    half = (len(memory) + 1) // 2
    grown = max(memory[half:], default=0.0) - max(memory[:half])
    facts = [
        Number(f"{VMS} VMs, {CHURN} that come and go, {sent:,} events, of which lost", [lost], "", most=0),
        Number("the most memory of the second half, more than that of the first", [grown], "MiB", most=5),
        Number("the longest lag of any minute", [max(row[3] for row in rows)], "ms", most=50),
    ]
    lines = [
        ",".join(map(str, (minute, attack, f"{mib:.0f}", f"{lag:.1f}", f"{restarts:.0f}")))
        for minute, attack, mib, lag, restarts in rows
    ]
    return "\n".join((numbers(facts), "```csv", ",".join(HEADER), *lines, "```", ""))


@asynccontextmanager
async def _churned(directory: Path) -> AsyncIterator[None]:
    """VMs that live for some seconds, and peers that say anything."""
    chance = random.Random(7)  # noqa: S311  the same lives each time

    async def lives(number: int) -> None:
        while True:
            async with Monitor(SimulatedVm(f"churn{number}"), directory / f"churn{number}.sock") as monitor:
                await asyncio.sleep(chance.uniform(1, 10))
                monitor.vm.stop()
                await asyncio.sleep(0.1)
            await asyncio.sleep(chance.uniform(0, 3))

    async def says_anything(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for _ in range(chance.randrange(50)):
                writer.write(chance.randbytes(chance.randrange(60_000)))
                await writer.drain()
        writer.transport.abort()

    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        tasks = [group.create_task(lives(number)) for number in range(CHURN)]
        for number in range(GARBAGE):
            path = directory / f"garbage{number}.sock"
            await stack.enter_async_context(await asyncio.start_unix_server(says_anything, path))
        yield
        for task in tasks:
            task.cancel()
