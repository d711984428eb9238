"""The console pages of deploy/, made by a real Prometheus -> what a person sees of a fleet and of a VM in a browser."""

import pytest
from playwright.async_api import expect

import chromium
from exporter import Vm, exporting, free_port
from parts import need
from prometheus import CONSOLES, scraping
from qmp_exporter.simulator import Monitor, SimulatedVm

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]

BAD = '<b>web"01'


async def test_the_fleet_leads_to_the_vm_in_trouble_and_its_disk(short_path):
    binary, address = need(chromium.BINARY), f"127.0.0.1:{free_port()}"
    bad, good = SimulatedVm("bad"), SimulatedVm("good")
    vms = (Vm(BAD, short_path / "bad.sock"), Vm("web02", short_path / "good.sock"))
    async with (
        Monitor(bad, short_path / "bad.sock"),
        Monitor(good, short_path / "good.sock"),
        exporting(short_path, *vms, address=address),
        scraping(short_path, address, alertmanager="127.0.0.1:1", flags=CONSOLES) as prometheus,
        chromium.started(binary) as browser,
    ):
        await prometheus.finds("qemu_vm_stops_total == 0")
        bad.io_error("virtio-disk1", "write", "stop", nospace=True)
        await prometheus.finds('ALERTS{alertname="QEMUVMStoppedOnIOError",alertstate="firing"}')
        await prometheus.finds("increase(qemu_block_io_errors_total[1h]) > 0")
        await prometheus.finds("count(qemu_up) == 2")  # a page is of one moment, and a scrape may have just failed
        async with chromium.viewing(browser, prometheus.address, path="/consoles/qemu-fleet.html") as view:
            page = view.page
            await expect(page.locator("p").first).to_contain_text("2 VMs, 1 running, 1 in trouble, hypervisors: 1")
            alert = page.get_by_role("row").filter(has=page.get_by_role("link", name="QEMUVMStoppedOnIOError"))
            await expect(alert).to_contain_text(f"{BAD} {address} drive-virtio-disk1: nospace", use_inner_text=True)
            vm = page.get_by_role("table").last.get_by_role("row").filter(has_text=BAD)
            await expect(vm).to_contain_text("io-error")
            await vm.get_by_role("link").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text(f"{BAD} on {address}")
            await expect(page.get_by_role("table").first).to_contain_text("QEMUVMStoppedOnIOError")
            disk = page.get_by_role("row").filter(has_text="drive-virtio-disk1")
            await expect(disk).to_contain_text("nospace")
            await expect(disk.get_by_role("cell").last).to_have_text("1")
            assert await page.locator("b").count() == 0
            assert await view.barriers() == ""
            assert view.complaints == []
