"""A fleet that runs -> the troubles of its VMs and of the exporter, and their lines in the log."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from qmp_exporter.config import Target
from qmp_exporter.daemon.targets.sources import LIBVIRT, STATIC, Source
from qmp_exporter.daemon.targets.trouble_watch import TroubleWatch
from qmp_exporter.daemon.web.api import JsonOfTargets
from qmp_exporter.simulator import Monitor
from watching import Running, eventually

Lines = list[Any]


@pytest.fixture
async def troubles(fleet: Running) -> AsyncIterator[TroubleWatch]:
    async with asyncio.TaskGroup() as group:
        watch = TroubleWatch(fleet, fleet.stats)
        running = group.create_task(watch.run())
        yield watch
        running.cancel()


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as captured:
        yield captured


def told(lines: Lines, message: str) -> Lines:
    return [line for line in lines if line["event"] == message]


async def stopped_on_an_error(fleet: Running, monitor: Monitor) -> str:
    """-> the disk"""
    fleet.want(STATIC, [Target("web01", str(monitor.address))])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    monitor.vm.io_error(monitor.vm.blocks[0].id, "write", "stop")
    await fleet.says('qemu_vm_state{state="io-error",vm="web01"} 1.0')
    return f"drive-{monitor.vm.blocks[0].id}"


@pytest.mark.usefixtures("troubles")
async def test_the_begin_and_the_end_of_a_trouble_are_a_line_each_at_its_level(
    fleet: Running, monitor: Monitor, lines: Lines
) -> None:
    disk = await stopped_on_an_error(fleet, monitor)
    await eventually(lambda: bool(told(lines, "trouble began")))
    (began,) = told(lines, "trouble began")
    assert began["log_level"] == "error"
    assert (began["alert"], began["vm"]) == ("QEMUVMStoppedOnIOError", "web01")
    assert began["detail"] == f"{disk}: write"
    monitor.vm.cont()
    await eventually(lambda: bool(told(lines, "trouble is over")))
    (over,) = told(lines, "trouble is over")
    assert (over["log_level"], over["alert"], over["vm"]) == ("info", "QEMUVMStoppedOnIOError", "web01")


@pytest.mark.usefixtures("troubles")
async def test_a_vm_that_stops_again_is_told_again(fleet: Running, monitor: Monitor, lines: Lines) -> None:
    await stopped_on_an_error(fleet, monitor)
    for times in (1, 2, 3):
        await eventually(lambda times=times: len(told(lines, "trouble began")) == times)
        monitor.vm.cont()
        await eventually(lambda times=times: len(told(lines, "trouble is over")) == times)
        monitor.vm.io_error(monitor.vm.blocks[0].id, "write", "stop")


async def test_a_vm_that_is_paused_by_order_is_no_trouble(
    fleet: Running, monitor: Monitor, troubles: TroubleWatch, lines: Lines
) -> None:
    fleet.want(STATIC, [Target("web01", str(monitor.address))])
    await fleet.says('qemu_up{vm="web01"} 1.0')
    monitor.vm.stop()
    await fleet.says('qemu_vm_state{state="paused",vm="web01"} 1.0')
    await troubles.check()
    assert fleet.watches["web01"].troubles.standing == []
    assert told(lines, "trouble began") == []


async def test_the_api_tells_it_with_what_to_do(fleet: Running, monitor: Monitor, troubles: TroubleWatch) -> None:
    disk = await stopped_on_an_error(fleet, monitor)
    await troubles.check()
    data = json.loads(await JsonOfTargets(fleet, troubles).body(compressed=False))["data"]
    (trouble,) = data["targets"][0]["troubles"]
    assert (trouble["alert"], trouble["severity"]) == ("QEMUVMStoppedOnIOError", "critical")
    assert (trouble["what"], trouble["detail"]) == ("stopped on an I/O error", f"{disk}: write")
    assert 'qemu_block_io_status{vm="web01",status!="ok"}' in trouble["todo"]
    assert "{{" not in trouble["todo"]
    assert "\n" not in trouble["todo"]


async def test_what_is_wrong_with_the_exporter_itself_is_told_beside_the_vms(
    fleet: Running, troubles: TroubleWatch
) -> None:
    fleet.want(STATIC, [Target("web01", "/nowhere")])
    fleet.fails(Source(LIBVIRT, "libvirt qemu:///system"), "nobody listens")
    fleet.stats.web_config_successful.set(1)
    fleet.stats.reload_successful.set(0)
    await troubles.check()
    data = json.loads(await JsonOfTargets(fleet, troubles).body(compressed=False))["data"]
    assert {trouble["alert"] for trouble in data["troubles"]} == {
        "QMPExporterLibvirtUnreachable",
        "QMPExporterConfigBad",
    }
    fleet.stats.reload_successful.set(1)
    await troubles.check()
    assert [one.trouble.name for one in troubles.standing] == ["QMPExporterLibvirtUnreachable"]
