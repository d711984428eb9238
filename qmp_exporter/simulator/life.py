"""A VM, chance and a way to sleep -> a VM that lives: disk I/O, trays, VNC clients, jobs, now and then an error."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

from qmp_exporter.simulator.block import Operation
from qmp_exporter.simulator.display import VncClient
from qmp_exporter.simulator.vm import SimulatedVm

Sleep = Callable[[float], Awaitable[None]]

# What a disk does in a step: the size of its requests, and fewer than how many there are.
_HABITS: tuple[tuple[Operation, int, int], ...] = (("read", 16384, 200), ("write", 8192, 200), ("flush", 0, 5))


class Pace(NamedTuple):
    """How long a step takes, and how likely each thing is to happen in one."""

    step: float = 0.5
    tray: float = 0.02
    vnc: float = 0.05
    job: float = 0.03
    io_error: float = 0.01


async def live(
    vm: SimulatedVm,
    rng: Random,
    sleep: Sleep = asyncio.sleep,
    pace: Pace = Pace(),  # noqa: B008 - immutable
) -> None:
    """Until the VM exits or the task is cancelled."""
    viewers: list[VncClient] = []
    while not vm.exited:
        await sleep(pace.step)
        vm.advance(pace.step)
        if vm.running:
            _use_disks(vm, rng)
            _go_wrong(vm, rng, pace)
        _move_trays(vm, rng, pace)
        _come_and_go(vm, viewers, rng, pace)
        _mirror(vm, rng, pace)


def _use_disks(vm: SimulatedVm, rng: Random) -> None:
    for block in vm.blocks:
        if block.cdrom:
            continue
        for operation, size, most in _HABITS:
            if count := rng.randrange(most):
                vm.do_io(block.id, operation, count, size, count * rng.uniform(5e-5, 5e-4))


def _go_wrong(vm: SimulatedVm, rng: Random, pace: Pace) -> None:
    disks = [block for block in vm.blocks if not block.cdrom]
    if disks and rng.random() < pace.io_error:
        vm.io_error(rng.choice(disks).id, rng.choice(("read", "write")), "report")


def _move_trays(vm: SimulatedVm, rng: Random, pace: Pace) -> None:
    for block in vm.blocks:
        if block.cdrom and rng.random() < pace.tray:
            vm.move_tray(block.id, open=not block.tray_open)


def _come_and_go(vm: SimulatedVm, viewers: list[VncClient], rng: Random, pace: Pace) -> None:
    if not vm.displays.vnc or rng.random() >= pace.vnc:
        return
    if viewers and rng.random() < 0.5:
        vm.vnc_disconnect(viewers.pop(rng.randrange(len(viewers))))
        return
    client = vm.vnc_connect(rng.choice(vm.displays.vnc).id)
    if rng.random() < 0.1:  # a port scan, or a wrong password
        vm.vnc_disconnect(client)
    else:
        vm.vnc_initialize(client)
        viewers.append(client)


def _mirror(vm: SimulatedVm, rng: Random, pace: Pace) -> None:
    for job in tuple(vm.jobs):
        if job.status == "ready" and rng.random() < 0.2:
            vm.complete_job(job.id)
    if not any(vm.jobs) and rng.random() < pace.job:
        vm.start_job("mirror", length=rng.randrange(64, 1024) << 20, speed=32 << 20)
