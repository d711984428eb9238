"""A simulated VM that lives shows all that a demo is to show; the command starts many and ends cleanly."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from qmp_client import Client
from qmp_exporter.simulator import SimulatedVm, live


async def lived(seed, steps):
    """The events of a VM in so many steps that take no time."""
    told = []
    vm = SimulatedVm("web01", clock=lambda: 0.0)
    vm.on_event.append(told.append)

    async def sleep(_seconds):
        nonlocal steps
        steps -= 1
        if steps == 0:
            vm.kill()

    await live(vm, Random(seed), sleep)  # noqa: S311 - chance that comes out the same each time
    return vm, told


async def test_a_living_vm_does_everything_now_and_then():
    vm, events = await lived(1, 5000)
    happened = Counter(event.name for event in events)
    assert happened.keys() == {
        "BLOCK_IO_ERROR",
        "BLOCK_JOB_COMPLETED",
        "BLOCK_JOB_READY",
        "DEVICE_TRAY_MOVED",
        "JOB_STATUS_CHANGE",
        "VNC_CONNECTED",
        "VNC_DISCONNECTED",
        "VNC_INITIALIZED",
    }
    assert vm.block("virtio-disk1").counters["rd_bytes"] > 0
    assert happened["VNC_CONNECTED"] - happened["VNC_DISCONNECTED"] == len(vm.displays.vnc[0].clients)


async def test_the_same_chance_leads_the_same_life():
    assert (await lived(7, 500))[1] == (await lived(7, 500))[1] != (await lived(8, 500))[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_serves_many_vms_until_it_is_told_to_end(path, number):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qmp_exporter.simulator", "--vms", "20", "--dir", str(path)),
        *("--events-per-second", "1000", "--live"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == f"ready: 20 VMs in {path}\n".encode()
    async with await Client.connect(path / "vm0020.sock") as client:
        await client.negotiate()
        while (await client.message()).get("event") != "BLOCK_IO_ERROR":
            pass
        process.send_signal(number)
        assert await process.wait() == 0
    assert list(path.iterdir()) == []
