"""A night of two real VMs -> the log says of it what docs/bad-night.md shows, line by line."""

import errno
import re
from functools import partial
from pathlib import Path

import pytest

import provoke
from exporter import Exporter, Vm, exporting
from parts import need_exits
from qmp_exporter.demo.machine import DataDisk, Fault, Machine
from waiting import awaited

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs/bad-night.md"
# What is another one each time; all else has to be as it is written.
VARIES = re.compile(r'\b(ts|socket|version|command|seconds)=("[^"]*"|\S+)')
FULL_THEN_WELL = Fault("write", errno.ENOSPC, once=True)


def documented() -> list[list[str]]:
    """-> for each step of the night its lines"""
    text = PAGE.read_text()
    return [masked(block) for block in re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def masked(log: str) -> list[str]:
    """In no order: what one step causes is said by tasks that know nothing of each other."""
    return sorted(VARIES.sub(r"\1=…", line) for line in log.splitlines())


async def test_one_bad_night(boot, short_path):
    need_exits()
    web01 = await boot(Machine(disk=DataDisk((FULL_THEN_WELL, Fault("read")), rerror="report")))
    db01 = await boot(Machine(name="db01", no_shutdown=True, extra=provoke.PVPANIC))

    async def hangs() -> None:
        with provoke.hung(web01):
            await exporter.logs("query unanswered")

    steps = (
        partial(provoke.io_error_stop, web01, "write"),
        partial(provoke.io_error_mended, web01),
        partial(provoke.io_error, web01, "read"),
        hangs,
        partial(provoke.panic, db01),
        partial(provoke.quit_, db01),
        partial(provoke.sigkill, web01),
    )
    vms = (Vm("web01", web01.monitor), Vm("db01", db01.monitor))
    async with exporting(short_path, *vms, poll="1s", complaints=True) as exporter:
        await exporter.says("qemu_up 1")
        await exporter.about(vms[1]).says("qemu_up 1")
        said = exporter.logged()
        for step, wanted in zip(steps, documented(), strict=True):
            await step()
            said += await _next_lines(exporter, len(said), wanted)


async def _next_lines(exporter: Exporter, known: int, wanted: list[str]) -> str:
    """What the log says beyond what is known of it, once that is what is wanted."""

    async def found() -> str | None:
        said = exporter.logged()[known:]
        return said if masked(said) == wanted else None

    return await awaited(found, lambda: exporter.logged()[known:])
