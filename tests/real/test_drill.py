"""`qmp-exporter drill` with exporter, Prometheus and Alertmanager as deploy/ has them -> mails to who is on call."""

import asyncio
import sys
from pathlib import Path

import pytest

from alertmanager import BINARY, Mailbox, alerting
from exporter import exporting, free_port
from parts import need
from prometheus import scraping
from qmp_exporter.demo.drill import NAME

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]


async def drilling(path: Path, *more: str) -> tuple[int | None, str]:
    """-> its exit status, and what it says"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "qmp_exporter", "drill", str(path), *more, stdout=-1, stderr=-2
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def arrives(mailbox: Mailbox, address: str) -> None:
    on = f"{NAME} on {address}"
    stopped = await mailbox.comes(f"DRILL: A VM stands still because of an I/O error. {on}")
    assert "drive-virtio-disk1: nospace." in stopped.text
    await mailbox.comes(f"DRILL: over: A VM stands still because of an I/O error. {on}")
    await mailbox.comes(f"DRILL: The QEMU of a VM ended without a word. {on}")
    assert {mail.to for mail in mailbox.mails} == {"oncall@example.org"}
    assert [
        mail.subject for mail in mailbox.mails if "reports I/O errors" in mail.subject or "connection" in mail.subject
    ] == []


@pytest.mark.parametrize("way", ["discovered", "dials in"])
async def test_what_it_announces_arrives_and_nothing_else(short_path, way):
    need(BINARY)
    address = f"127.0.0.1:{free_port()}"
    dials_in = way == "dials in"
    listen, discover = {"socket": str(short_path / "dial-in.sock")}, {"glob": f"{short_path}/*.sock"}
    sources = {"listen": listen} if dials_in else {"discover": discover}
    path = short_path / ("dial-in.sock" if dials_in else f"{NAME}.sock")
    async with (
        exporting(short_path, address=address, complaints=True, **sources),
        alerting(short_path) as (alertmanager, mailbox),
        scraping(short_path, address, alertmanager=alertmanager),
        asyncio.TaskGroup() as group,
    ):
        drill = group.create_task(drilling(path, "--every=6s", *(["--dial-in"] if dials_in else [])))
        await arrives(mailbox, address)
        status, said = await drill
    assert status == 0
    assert [line[9:] for line in said.splitlines()] == [
        f"the exporter has met {NAME}",
        f"wait 6 s, for Prometheus has to have seen {NAME} well",
        f"virtio-disk1 of {NAME} has no room left: the VM stops",
        (
            f"  expect: QEMUVMStoppedOnIOError (critical) for {NAME}, with the disk drive-virtio-disk1 and nospace; no "
            "QEMUBlockIOErrors, which it inhibits"
        ),
        "there is room again, and the VM is resumed",
        "  expect: QEMUVMStoppedOnIOError is over",
        f"QEMU of {NAME} is killed",
        f"  expect: QEMUVMCrashed (critical) for {NAME}; no QEMUMonitorUnreachable, which it inhibits",
        "QEMUVMCrashed is over some 25 minutes after the end of QEMU; the exporter forgets the VM by itself",
    ]
    assert dials_in or not path.exists()


async def test_where_it_cannot_be_held_it_says_why(short_path):
    status, said = await drilling(short_path / "nowhere" / "drill.sock")
    assert (status, said) == (1, f"qmp-exporter: {short_path}/nowhere/drill.sock: No such file or directory\n")
