"""A path where an exporter finds monitors -> a simulated VM there that fails as real ones do, and what should arrive.

The faults are played, the rest is real: the exporter, Prometheus, Alertmanager and the phone of whoever is on call.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.dialling import DiallingMonitor

NAME = "qmp-exporter-drill"  # alertmanager.yml knows it
DISK = "virtio-disk1"
PATIENCE = 120.0  # seconds until nobody is expected to come any more; discovery looks every 5

Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


class DrillError(Exception):
    """It cannot be held; says why."""


class Step(NamedTuple):
    what: str
    act: Callable[[], None]
    expect: str


def steps(vm: SimulatedVm) -> Iterator[Step]:
    """One after the other, with time between them for alerts to come and to be read."""
    yield Step(
        f"{DISK} of {NAME} has no room left: the VM stops",
        lambda: vm.io_error(DISK, "write", "stop", nospace=True),
        f"QEMUVMStoppedOnIOError (critical) for {NAME}, with the disk drive-{DISK} and nospace; no QEMUBlockIOErrors, "
        "which it inhibits",
    )
    yield Step("there is room again, and the VM is resumed", vm.cont, "QEMUVMStoppedOnIOError is over")
    yield Step(
        f"QEMU of {NAME} is killed",
        vm.kill,
        f"QEMUVMCrashed (critical) for {NAME}; no QEMUMonitorUnreachable, which it inhibits",
    )


async def drill(path: Path, *, dials_in: bool, every: float, say: Say, sleep: Sleep = asyncio.sleep) -> None:
    """`every`: seconds between two steps.

    :raise DrillError: the socket cannot be made, or no exporter comes.
    """
    vm = SimulatedVm(NAME)
    monitor = DiallingMonitor(vm, path) if dials_in else Monitor(vm, path)
    try:
        async with monitor:
            if not dials_in:
                _let_in(path)
            await _met(monitor, say, sleep)
            say(f"wait {every:g} s, for Prometheus has to have seen {NAME} well")
            await sleep(every)
            for step in steps(vm):
                say(step.what)
                step.act()
                say(f"  expect: {step.expect}")
                await sleep(every)
    except OSError as error:
        raise DrillError(f"{path}: {error.strerror}") from error
    finally:
        if not dials_in:
            _take_away(path)
    say("QEMUVMCrashed is over some 25 minutes after the end of QEMU; the exporter forgets the VM by itself")


def _let_in(path: Path) -> None:
    """Whoever is of the directory's group, as the exporter is; root alone may give the socket away."""
    with suppress(PermissionError):
        os.chown(path, -1, path.parent.stat().st_gid)
    path.chmod(0o660)


def _take_away(path: Path) -> None:
    """A QEMU that is killed leaves its socket."""
    path.unlink(missing_ok=True)


async def _met(monitor: Monitor, say: Say, sleep: Sleep) -> None:
    waited = 0.0
    while not any(request.execute == "query-status" for request in monitor.received):
        if waited >= PATIENCE:
            raise DrillError(
                f"no exporter has come within {PATIENCE:g} s: does it look through this directory (`discover`, and its "
                "`owner`), or listen at this socket (`listen`)?"
            )
        await sleep(0.5)
        waited += 0.5
    say(f"the exporter has met {NAME}")
