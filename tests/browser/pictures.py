"""`make pictures`: VMs in trouble and others, real and simulated -> the pictures of docs/, from a real browser.

A person looks at them before they are committed: no test could say whether a picture is good.
"""

import asyncio
import contextlib
import errno
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, expect

import chromium
import jobs
import provoke
from exporter import Vm, exporting, free_port
from parts import need
from prometheus import CONSOLES, scraping
from qmp_exporter.demo.machine import MIB, Cdrom, DataDisk, Fault, Machine, Vnc
from qmp_exporter.demo.qemu import BINARY, Qemu
from qmp_exporter.simulator import Monitor, SimulatedVm

DOCS = Path(__file__).parents[2] / "docs"
MACHINES = (
    Machine("build03"),
    Machine("db01", disk=DataDisk()),
    Machine("db02", disk=DataDisk((Fault("write", errno.ENOSPC),))),
    Machine("desk01", vnc=(Vnc(),)),
    Machine("mail01", disk=DataDisk((Fault("read"),), rerror="report")),
    Machine("test07"),
    Machine("web01", cdrom=Cdrom(), disk=DataDisk()),
)
LAPTOP = {"viewport": {"width": 1360, "height": 720}}
MANAGED = Vm("pve104", "/var/run/qemu-server/104.qmp")  # which is Proxmox' own monitor
MANY = 300
WORK = 30.0  # seconds, twice, in which the small lines of CPU and disk become some
SETTLE = 15.0  # seconds, in which the page of simulated VMs does


async def real(browser: Browser) -> None:
    """The page on a desk, with a row opened, and on a phone; and Prometheus' own pages."""
    address = f"127.0.0.1:{free_port()}"
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qe-")))
        qemus = {machine.name: await stack.enter_async_context(Qemu(machine, BINARY)) for machine in MACHINES}
        vms = [Vm(name, qemu.monitor) for name, qemu in qemus.items()]
        await stack.enter_async_context(
            exporting(directory, *vms, MANAGED, poll="1s", address=address, complaints=True)
        )
        prometheus = await stack.enter_async_context(
            scraping(directory, address, alertmanager="127.0.0.1:1", flags=CONSOLES)
        )
        await prometheus.finds("qemu_vm_stops_total == 0")
        await jobs.mirror(qemus["db01"], "mirror0", speed=MIB // 8)
        await stack.enter_async_context(provoke.vnc_session(qemus["desk01"]))
        await provoke.open_tray(qemus["web01"])
        await _work(qemus["web01"])
        await provoke.io_error(qemus["mail01"], "read")
        await provoke.stop(qemus["test07"])
        await provoke.io_error_stop(qemus["db02"], "write")
        await provoke.sigkill(qemus["build03"])
        await _work(qemus["web01"])
        await prometheus.finds('ALERTS{alertname="QEMUVMStoppedOnIOError",alertstate="firing"}')
        await prometheus.finds('ALERTS{alertname="QEMUVMCrashed",alertstate="firing"}')
        await prometheus.finds("increase(qemu_block_io_errors_total[1h]) > 0")
        await _shoot(browser, address, "page", "3 in trouble", viewport={"width": 1680, "height": 440})
        await _shoot(browser, address, "page-opened", "3 in trouble", opens="db02", color_scheme="dark", **LAPTOP)
        await _shoot(browser, address, "page-phone", "3 in trouble", **chromium.PHONE)
        for page in ("qemu-fleet.html", f"qemu-vm.html?instance={address}&vm=db02"):
            name = f"console-{page.partition('.')[0].removeprefix('qemu-')}"
            async with chromium.viewing(browser, prometheus.address, path=f"/consoles/{page}", **LAPTOP) as view:
                await expect(view.page.get_by_text("QEMUVMStoppedOnIOError").first).to_be_visible()
                await view.page.screenshot(path=DOCS / f"{name}.png", full_page=True)


async def _work(qemu: Qemu) -> None:
    """Some reads and writes at different speeds."""
    ends = asyncio.get_running_loop().time() + WORK
    times = 1
    while asyncio.get_running_loop().time() < ends:
        await provoke.traffic(qemu, "write", times)
        await asyncio.sleep(1)
        times = times * 3 % 50


async def many(browser: Browser) -> None:
    """300 simulated VMs, eleven of them in trouble."""
    address = f"127.0.0.1:{free_port()}"
    vms = [SimulatedVm(f"{('web', 'db', 'mail', 'build')[number % 4]}{number:03}") for number in range(MANY)]
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qe-")))
        for vm in vms:
            await stack.enter_async_context(Monitor(vm, directory / f"{vm.name}.sock"))
        watched = [Vm(vm.name, directory / f"{vm.name}.sock") for vm in vms]
        await stack.enter_async_context(exporting(directory, *watched, poll="5s", address=address))
        await asyncio.sleep(SETTLE)
        for vm in vms[7::60]:
            vm.io_error("virtio-disk1", "write", "stop", nospace=True)
        for vm in vms[9::50]:
            vm.io_error("virtio-disk1", "read", "report")
        for vm in vms[11::40]:
            vm.stop()
        await _shoot(browser, address, "page-300", "11 in trouble", **LAPTOP)


async def _shoot(browser: Browser, address: str, name: str, sum_: str, *, opens: str = "", **context: Any) -> None:
    """What is to be seen without scrolling, once the page sums it up like this."""
    async with chromium.viewing(browser, address, **context) as view:
        await expect(view.page.locator("#sum")).to_contain_text(sum_)
        if opens:
            await view.row(opens).locator(".open").click()
            await expect(view.page.locator("tr.more")).to_have_count(1)
        await view.page.screenshot(path=DOCS / f"{name}.png")


async def main() -> None:
    async with chromium.started(need(chromium.BINARY)) as browser:
        await real(browser)
        await many(browser)


if __name__ == "__main__":
    asyncio.run(main())
