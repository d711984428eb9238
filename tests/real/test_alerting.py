"""A fault of a real QEMU -> the exporter, Prometheus and Alertmanager as deploy/ has them -> mails to a person."""

import asyncio
import contextlib
import re

import aiohttp
import pytest

import jobs
import provoke
from alertmanager import BINARY, alerting
from exporter import Vm, exporting, free_port
from parts import need
from prometheus import scraping
from qmp_exporter.alerting.rules import rules as made_of
from qmp_exporter.alerting.settings import Settings
from qmp_exporter.demo.machine import DataDisk, Fault, Machine

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]

STOPPING = Machine(disk=DataDisk((Fault("write", once=True),), werror="stop"))


@contextlib.asynccontextmanager
async def watching(directory, *vms):
    """-> the mails"""
    need(BINARY)
    address = f"127.0.0.1:{free_port()}"
    async with (
        exporting(directory, *vms, address=address) as exporter,
        alerting(directory) as (alertmanager, mailbox),
        scraping(directory, address, alertmanager=alertmanager) as prometheus,
    ):
        for vm in vms:
            await exporter.about(vm).says("qemu_up 1")
            await prometheus.finds(f'qemu_block_info{{vm="{vm.name}"}} == 1')
        yield mailbox, address


async def test_a_vm_that_stops_on_a_disk_is_one_mail_that_names_the_disk_and_another_when_it_runs(
    boot, short_path, figure
):
    qemu = await boot(STOPPING)
    clock = asyncio.get_running_loop().time
    async with watching(short_path, Vm("web01", qemu.monitor)) as (mailbox, address):
        failed = clock()
        await provoke.io_error_stop(qemu, "write")
        mail = await mailbox.comes(f"A VM stands still because of an I/O error. web01 on {address}")
        figure(f"{mail.at - failed:.1f} s from the error to the mail")
        assert mail.to == "oncall@example.org"
        assert f"QEMU has stopped VM web01 on {address} after an I/O error" in mail.text
        assert "Disk drive-virtio1: failed." in mail.text
        assert "What to do: " in mail.text
        await provoke.io_error_mended(qemu)
        over = await mailbox.comes(f"over: A VM stands still because of an I/O error. web01 on {address}")
        assert f"Over: QEMUVMStoppedOnIOError of VM web01 on {address}" in over.text
    assert [mail.subject for mail in mailbox.mails if "reports I/O errors" in mail.subject] == []


async def test_a_storage_that_fails_under_six_vms_is_one_mail(boot, short_path):
    machines = [await boot(STOPPING) for _ in range(6)]
    vms = [Vm(f"web0{number}", qemu.monitor) for number, qemu in enumerate(machines, start=1)]
    async with watching(short_path, *vms) as (mailbox, address):
        for qemu in machines:
            await provoke.io_error_stop(qemu, "write")
        storage = await storage_of(address)
        outage = await mailbox.comes(f"Disks of several VMs fail on one storage. {storage} on {address}")
        assert re.search(rf"[3-6] VMs on {address} have I/O errors", outage.text)  # as many as had failed by then
        assert outage.text.count("web0") >= 3
        assert outage.to == "oncall@example.org"


async def storage_of(address: str) -> str:
    """-> what the exporter calls the storage of all its disks"""
    async with aiohttp.ClientSession(f"http://{address}") as client, client.get("/metrics") as answer:
        (storage,) = set(re.findall(r'^qemu_block_info\{.*storage="([^"]*)"', await answer.text(), re.MULTILINE))
    return storage


async def test_a_crash_is_a_mail_that_names_its_cause(boot, short_path):
    qemu = await boot(Machine(disk=DataDisk()))
    async with watching(short_path, Vm("web01", qemu.monitor)) as (mailbox, address):
        await provoke.sigkill(qemu)
        mail = await mailbox.comes(f"The QEMU of a VM ended without a word. web01 on {address}")
        assert f"QEMU of VM web01 on {address} crashed or was killed" in mail.text


async def test_a_monitor_that_somebody_else_holds_is_a_mail_that_says_so_and_another_when_it_is_free(boot, short_path):
    """With the rules of a site that waits for less than five minutes."""
    qemu = await boot(Machine(disk=DataDisk()))
    rules = short_path / "rules.yml"
    rules.write_text(made_of(Settings(wait={"QEMUMonitorUnreachable": "2s"})))
    need(BINARY)
    address = f"127.0.0.1:{free_port()}"
    async with alerting(short_path) as (alertmanager, mailbox), contextlib.AsyncExitStack() as stack:
        async with provoke.held(qemu):
            await stack.enter_async_context(
                exporting(short_path, Vm("web01", qemu.monitor), address=address, complaints=True)
            )
            await stack.enter_async_context(scraping(short_path, address, alertmanager=alertmanager, rules=rules))
            mail = await mailbox.comes(f"The exporter has no connection to the monitor of a VM. web01 on {address}")
            assert mail.to == "operators@example.org"
            assert "busy: another client is connected" in " ".join(mail.text.split())
            assert f"Runbook: http://{address}/-/runbooks/QEMUMonitorUnreachable" in mail.text
        await mailbox.comes(f"over: The exporter has no connection to the monitor of a VM. web01 on {address}")


async def test_a_mirror_that_fails_is_a_mail_that_names_it(boot, short_path):
    qemu = await boot(Machine(disk=DataDisk()))
    async with watching(short_path, Vm("web01", qemu.monitor)) as (mailbox, address):
        await jobs.mirror_failed(qemu)
        mail = await mailbox.comes(f"A block job of a VM failed. web01 on {address}")
        assert f"A mirror job of VM web01 on {address} ended with an error" in mail.text
