"""A real QEMU, the exporter, a real Prometheus -> series that can be queried, pages that its tools accept."""

import re
from functools import partial
from pathlib import Path

import pytest
import yaml

import jobs
import provoke
from exporter import Exporter, Vm, exporting, free_port
from page import Page
from prometheus import promtool_says, scraping
from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Vnc
from waiting import awaited

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]

AWKWARD = 'wéb "01" \\ {a="b"}, 機械 №1 \U0001f427'  # for a label of the configuration
WITH_LINES = 'first\nsecond "\\n" ü'  # what -name may say, but a configuration may not


TROUBLED = Machine(disk=DataDisk((Fault("write"),), werror="report"), cdrom=Cdrom(), vnc=(Vnc(),), watchdog="none")


async def trouble(qemu):
    await provoke.io_error(qemu, "write")
    await provoke.open_tray(qemu)
    await provoke.watchdog(qemu, "none")
    await provoke.set_clock(qemu)
    await jobs.mirror(qemu, "copy0")


async def test_prometheus_scrapes_it_and_sees_the_first_error_as_an_increase(boot, short_path):
    qemu = await boot(Machine(disk=DataDisk((Fault("write"),), werror="report")))
    address = f"127.0.0.1:{free_port()}"
    async with (
        exporting(short_path, Vm("web01", qemu.monitor, {"tenant": "acme"}), address=address) as exporter,
        scraping(short_path, address) as prometheus,
    ):
        await exporter.says("qemu_up 1")
        (up,) = await prometheus.finds('up{job="qmp-exporter"} == 1')
        assert up[0]["site"] == "example"
        ((labels, _),) = await prometheus.finds("qemu_up == 1")
        assert labels == {
            "__name__": "qemu_up",
            "instance": address,
            "job": "qmp-exporter",
            "site": "example",
            "tenant": "acme",
            "vm": "web01",
        }
        errors = 'qemu_block_io_errors_total{device="drive-virtio1",operation="write",action="report"}'
        await prometheus.finds(f"{errors} == 0")
        await provoke.io_error(qemu, "write")
        await prometheus.finds(f"increase({errors}[1m]) > 0")
        await provoke.sigkill(qemu)
        await prometheus.finds("qemu_up == 0")
        await prometheus.finds('increase(qemu_monitor_disconnects_total{after="none"}[1m]) > 0')
        assert await prometheus.query("qemu_vm_running") == []
        await prometheus.finds(f"{errors} == 1")
        (target,) = await prometheus.targets()
        assert (target["health"], target["lastError"]) == ("up", "")


async def test_two_jobs_share_one_exporter_as_documented(boot, short_path):
    text = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    (block,) = re.findall(r"^```yaml\n(scrape_configs:\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    settings = {job["job_name"]: {"params": job["params"]} for job in yaml.safe_load(block)["scrape_configs"]}
    qemu = await boot(Machine())
    address = f"127.0.0.1:{free_port()}"
    async with (
        exporting(short_path, Vm("web01", qemu.monitor), address=address, poll="1s"),
        scraping(short_path, address, jobs=settings) as prometheus,
    ):
        await prometheus.finds('qemu_up{job="qmp-exporter"} == 1')
        await prometheus.finds('qmp_exporter_build_info{job="qmp-exporter"}')
        await prometheus.finds('qemu_emulator_cpu_seconds_total{job="qmp-exporter-slow"}')
        assert await prometheus.query('qemu_emulator_cpu_seconds_total{job="qmp-exporter"}') == []
        assert await prometheus.query('{job="qmp-exporter-slow",__name__=~"qemu_up|qmp_.*"}') == []


async def both_pages(exporter: Exporter) -> tuple[Page, Page] | None:
    """In both formats, if nothing was heard of the VM between the two."""
    page, strict = await exporter.page(), await exporter.page(openmetrics=True)
    heard = "qemu_monitor_last_reply_timestamp_seconds"
    return (page, strict) if page.family(heard) == strict.family(heard) else None


async def test_promtool_and_the_openmetrics_parser_accept_the_page_of_a_vm_in_trouble(boot, watch):
    qemu = await boot(TROUBLED)
    exporter = await watch(qemu)
    async with provoke.vnc_session(qemu):
        await trouble(qemu)
        await exporter.says("""
            qemu_vnc_sessions 1
            qemu_rtc_changes_total 1
            qemu_block_tray_open{device="drive-ide2"} 1
            qemu_block_job_status{job_id="copy0",type="mirror",status="running"} 1
        """)
        page, strict = await awaited(partial(both_pages, exporter), lambda: "each page is of another moment")
    assert promtool_says(page.text) == (0, "")
    assert strict.text.endswith("\n# EOF\n")
    vm_counters = [name for name in strict.kinds if name.startswith("qemu_")]
    assert {name: page.family(name) for name in vm_counters} == {name: strict.family(name) for name in vm_counters}


async def test_names_that_are_awkward_arrive_as_they_are(boot, short_path):
    qemu = await boot(Machine(name=WITH_LINES))
    address = f"127.0.0.1:{free_port()}"
    async with (
        exporting(short_path, Vm(AWKWARD, qemu.monitor, {"owner": AWKWARD}), address=address) as exporter,
        scraping(short_path, address) as prometheus,
    ):
        await exporter.says("qemu_up 1")
        ((labels, _),) = await prometheus.finds("qemu_vm_info")
        assert (labels["vm"], labels["owner"], labels["name"]) == (AWKWARD, AWKWARD, WITH_LINES)
        assert promtool_says((await exporter.page()).text) == (0, "")
        strict = await exporter.page(openmetrics=True)
        assert strict.values("name") == {"qemu_vm_info": {WITH_LINES}}
