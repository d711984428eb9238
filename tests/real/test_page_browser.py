"""A real QEMU whose disk fails and whose mirror moves -> what a person sees in a browser, without loading it again."""

import re

import pytest
from playwright.async_api import expect

import chromium
import jobs
import provoke
from exporter import Vm, exporting, free_port
from parts import need
from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Vnc

pytestmark = pytest.mark.real


async def test_a_person_sees_which_disk_stopped_the_vm_and_the_mirror_that_moves(boot, short_path):
    binary, address = need(chromium.BINARY), f"127.0.0.1:{free_port()}"
    disk = DataDisk((Fault("write"),), werror="stop")
    qemu = await boot(Machine(disk=disk, cdrom=Cdrom(), vnc=(Vnc(),)))
    lost = Vm("web02", short_path / "nothing.sock")
    async with (
        exporting(short_path, Vm("web01", qemu.monitor), lost, poll="1s", address=address),
        chromium.started(binary) as browser,
        chromium.viewing(browser, address) as view,
    ):
        await expect(view.cell("web01", "state")).to_have_text("running")
        await view.measured("window.loadedOnce = true")
        await view.shows("web02", "web01")
        await expect(view.cell("web01", "memory")).to_have_text(re.compile(r"^\d+ MiB$"))
        async with provoke.vnc_session(qemu):
            await expect(view.cell("web01", "vnc")).to_have_text("1")
        await provoke.open_tray(qemu)
        await expect(view.cell("web01", "wrong")).to_have_text("open: drive-ide2")
        await provoke.io_error_stop(qemu, "write")
        await expect(view.cell("web01", "state")).to_have_text("io-error")
        await expect(view.cell("web01", "wrong")).to_contain_text(
            "stopped on an I/O error drive-virtio1: failed, write"
        )
        await view.shows("web01", "web02")
        await jobs.mirror(qemu, "copy0")
        bar = view.cell("web01", "jobs").get_by_role("progressbar", name="mirror copy0")
        await expect(bar).to_be_visible()
        await jobs.moved(qemu, "copy0", beyond=1)
        await expect(bar).to_have_attribute("value", re.compile(r"^0\.\d+$"))
        before = await bar.get_attribute("value")
        await expect(bar).not_to_have_attribute("value", before)
        await view.row("web01").locator(".open").click()
        more = view.page.locator("tr.more")
        await expect(more).to_contain_text("of 16 MiB · ≤\u00a01\u00a0MiB/s")
        error = more.locator("li").filter(has_text="BLOCK_IO_ERROR")
        await expect(error).to_contain_text("device=drive-virtio1 operation=write action=stop")
        for event in ("STOP", "DEVICE_TRAY_MOVED", "VNC_INITIALIZED", "VNC_DISCONNECTED"):
            await expect(more.locator("li").filter(has_text=re.compile(event))).to_have_count(1)
        await expect(more).to_contain_text(str(qemu.machine.uuid))
        assert await view.measured("window.loadedOnce")
        assert view.complaints == []
        await provoke.sigkill(qemu)
        await expect(view.cell("web01", "state")).to_have_text("gone")
        await expect(view.cell("web01", "wrong")).to_contain_text("QEMU crashed or was killed")
        await expect(view.cell("web01", "jobs")).to_have_text("")
        await expect(more).to_contain_text(str(qemu.machine.uuid))  # who it was is known still
