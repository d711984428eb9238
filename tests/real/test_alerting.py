"""A fault of a real QEMU -> the exporter, Prometheus and Alertmanager as deploy/ has them -> mails to a person."""

import asyncio
import contextlib
import re

import aiohttp
import pytest

import provoke
from alertmanager import BINARY, alerting
from exporter import Vm, exporting, free_port
from parts import need
from prometheus import scraping
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


async def test_a_storage_that_fails_under_three_vms_is_one_mail(boot, short_path):
    machines = [await boot(STOPPING) for _ in range(3)]
    vms = [Vm(f"web0{number}", qemu.monitor) for number, qemu in enumerate(machines, start=1)]
    async with watching(short_path, *vms) as (mailbox, address):
        for qemu in machines:
            await provoke.io_error_stop(qemu, "write")
        storage = await storage_of(address)
        outage = await mailbox.comes(f"Disks of several VMs fail on one storage. {storage} on {address}")
        assert f"3 VMs on {address} have I/O errors" in outage.text
        assert "web01\nweb02\nweb03\n" in outage.text
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
