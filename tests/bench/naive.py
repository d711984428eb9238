"""PORT SECONDS SOCKET... -> /metrics by stock qemu.qmp and prometheus_client: what one writes in an afternoon."""

import argparse
import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from qemu.qmp import EventListener, QMPClient
from qemu.qmp.qmp_client import ExecuteError

events: Counter[tuple[str, str]] = Counter()
errors: Counter[tuple[str, str, str, str]] = Counter()
up: dict[str, float] = {}
numbers: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)


class Everything(Collector):
    def collect(self) -> Iterator[Metric]:
        alive = GaugeMetricFamily("naive_up", "1 while the monitor answers.", labels=["vm"])
        for vm, value in list(up.items()):
            alive.add_metric([vm], value)
        yield alive
        seen = CounterMetricFamily("naive_events", "Events by name.", labels=["vm", "event"])
        for labels, count in list(events.items()):
            seen.add_metric(labels, count)
        yield seen
        by = ["vm", "device", "operation", "action"]
        failed = CounterMetricFamily("naive_block_io_errors", "I/O errors.", labels=by)
        for labels, count in list(errors.items()):
            failed.add_metric(labels, count)
        yield failed
        for name, values in list(numbers.items()):
            family = GaugeMetricFamily(f"naive_{name}", "A member of a reply.", labels=["vm", "device"])
            for labels, value in list(values.items()):
                family.add_metric(labels, value)
            yield family


async def count(vm: str, listener: EventListener) -> None:
    async for event in listener:
        events[vm, str(event["event"])] += 1
        if event["event"] == "BLOCK_IO_ERROR":
            data: Any = event["data"]
            errors[vm, data["device"], data["operation"], data["action"]] += 1


def update(vm: str, command: str, device: str, reply: Any) -> None:
    """Every number of a reply becomes a gauge, under the device it stands with."""
    if isinstance(reply, list):
        for element in reply:
            update(vm, command, str(element.get("device", "")) if isinstance(element, dict) else "", element)
    elif isinstance(reply, dict):
        for member, value in reply.items():
            update(vm, f"{command}_{member}", device, value)
    elif isinstance(reply, int | float):
        numbers[command.replace("-", "_")][vm, device] = float(reply)


async def ask(client: QMPClient, vm: str, commands: Iterable[str]) -> None:
    for command in commands:
        try:
            update(vm, command, "", await client.execute(command))
        except ExecuteError:
            continue


async def watch(socket: Path, options: argparse.Namespace) -> None:
    client = QMPClient(socket.stem)
    with client.listener() as listener:
        await client.connect(str(socket))
        async with asyncio.TaskGroup() as group:
            group.create_task(count(socket.stem, listener))
            await ask(client, socket.stem, options.connect)
            up[socket.stem] = 1
            while True:
                await asyncio.sleep(options.seconds)
                await ask(client, socket.stem, options.poll)


async def main(options: argparse.Namespace) -> None:
    start_http_server(options.port, "127.0.0.1")
    REGISTRY.register(Everything())
    await asyncio.gather(*(watch(socket, options) for socket in options.sockets))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("sockets", type=Path, nargs="+")
    parser.add_argument("--connect", nargs="*", default=[])
    parser.add_argument("--poll", nargs="*", default=[])
    asyncio.run(main(parser.parse_args()))
