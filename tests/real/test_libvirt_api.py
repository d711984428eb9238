"""A real libvirt with domains that know nothing of the exporter -> all that their monitors say is on the page."""

import asyncio
import contextlib
import os
import re
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import rfb
from exporter import Exporter, Vm, exporting
from libvirt import BAD_DISK, DOMAIN, Libvirt
from page import Page
from qmp_exporter.demo.control import Control
from qmp_exporter.demo.qemu import Answer, Order
from waiting import DEADLINE, awaited

pytestmark = pytest.mark.real

WEB = Vm(DOMAIN, "")
TAINT = "custom monitor control commands issued"


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        yield Path(directory)


def through(libvirt: Libvirt, **settings: object) -> dict[str, object]:
    """-> an entry of the configuration"""
    return {"socket": str(libvirt.api), "uri": "qemu:///session", "poll_interval": "1s", **settings}


class Guest:
    """The domain's guest, and a monitor that hears what libvirt's hears."""

    def __init__(self, control: Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.control = control
        self._reader, self._writer = reader, writer

    async def order(self, order: Order) -> Answer:
        self._writer.write(order.line(1))
        return await self.answer()

    def send(self, order: Order) -> None:
        self._writer.write(order.line(1))

    async def answer(self) -> Answer:
        async with asyncio.timeout(DEADLINE):
            return Answer(await self._reader.read(1))

    async def boots(self) -> None:
        while await self.answer() is not Answer.READY:
            pass


@contextlib.asynccontextmanager
async def guest_of(libvirt: Libvirt) -> AsyncIterator[Guest]:
    """Inside, the guest of its domain obeys."""
    loop = asyncio.get_running_loop()
    _, control = await loop.create_unix_connection(Control, str(libvirt.directory / "raw.sock"))
    await control.negotiate()
    reader, writer = await asyncio.open_unix_connection(str(libvirt.directory / "serial.sock"))
    guest = Guest(control, reader, writer)
    await libvirt.virsh("reset", DOMAIN)  # it may have said that it is ready before anybody listened
    await guest.boots()
    yield guest
    writer.close()
    control.close()


def heard(control: Control) -> Counter[str]:
    return Counter(event.name for event in control.events)


async def counted(exporter: Exporter, before: Counter[str]) -> Counter[str]:
    """-> the events on the page, by name, since `before`"""
    page = await exporter.page()
    series = page.family("qemu_events_total")
    names = {re.search('event="([^"]*)"', key)[1]: int(value) for key, value in series.items()}
    return Counter(names) - before


async def test_every_event_of_a_domain_is_on_the_page_and_nothing_is_sent_to_its_qemu(directory, short_path):
    async with Libvirt(directory, provoked=True) as libvirt, guest_of(libvirt) as guest:
        async with exporting(short_path, WEB, libvirt=through(libvirt)) as exporter:
            await exporter.says("qemu_up 1\nqemu_vm_running 1")
            before, page_before = heard(guest.control), await counted(exporter, Counter())
            await provoke(libvirt, guest, exporter)
            raw = heard(guest.control) - before
            assert len(raw) >= 11

            async def all_came() -> bool:
                return await counted(exporter, page_before) == raw

            await awaited(all_came, lambda: f"{raw} on the monitor")
        assert TAINT not in await libvirt.virsh("dominfo", DOMAIN)


async def provoke(libvirt: Libvirt, guest: Guest, exporter: Exporter) -> None:
    """One trouble after the other, each on the page before the next."""
    await libvirt.virsh("suspend", DOMAIN)
    await exporter.says('qemu_vm_stops_total 1\nqemu_vm_state{state="paused"} 1')
    await libvirt.virsh("resume", DOMAIN)
    await exporter.says('qemu_vm_resumes_total 1\nqemu_vm_state{state="running"} 1')
    await guest.order(Order.READ_BAD)
    read = f'{{device="{BAD_DISK}",operation="read",action="report"}}'
    await exporter.says(f"qemu_block_io_errors_total{read} 1\nqemu_vm_running 1")
    guest.send(Order.WRITE_BAD)
    write = f'{{device="{BAD_DISK}",operation="write",action="stop"}}'
    await exporter.says(f'qemu_block_io_errors_total{write} 1\nqemu_vm_state{{state="io-error"}} 1\nqemu_vm_running 0')
    await libvirt.virsh("reset", DOMAIN)
    await libvirt.virsh("resume", DOMAIN)
    await exporter.says('qemu_vm_resets_total{reason="host-qmp-system-reset"} 1\nqemu_vm_running 1')
    await guest.boots()
    await guest.control.execute("blockdev-open-tray", id="ide0-1-0")
    await exporter.says(
        'qemu_block_tray_moves_total{device="ide0-1-0",to="open"} 1\nqemu_block_tray_open{device="ide0-1-0"} 1'
    )
    await guest.control.execute("blockdev-close-tray", id="ide0-1-0")
    async with rfb.logged_in(libvirt.directory / "vnc.sock"):
        await exporter.says("qemu_vnc_connections_total 1\nqemu_vnc_initializations_total 1")
    await exporter.says("qemu_vnc_disconnections_total 1", absent=["qemu_vnc_clients", "qemu_vnc_sessions"])
    await guest.control.execute("block-stream", device="bad-format", **{"job-id": "stream0"})
    await guest.control.event("BLOCK_JOB_COMPLETED")
    await guest.order(Order.SET_CLOCK)
    await exporter.says("qemu_rtc_changes_total 1")


async def test_how_a_domain_ended_libvirt_tells_and_the_kernel_why(directory, short_path):
    async with (
        Libvirt(directory, knows_us=False) as libvirt,
        exporting(short_path, WEB, libvirt=through(libvirt)) as exporter,
    ):
        page = await exporter.says("qemu_up 1\nqemu_vm_running 1")
        assert page["qemu_process_resident_memory_bytes"] > 1_000_000
        assert page['qemu_vcpu_cpu_seconds_total{vcpu="0"}'] > 0
        os.kill(libvirt.pid(), signal.SIGKILL)
        await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="none"} 1')
        await exporter.says('qemu_monitor_disconnects_total{after="shutdown"} 0\nqemu_monitor_state{state="missing"} 1')
        await libvirt.virsh("start", DOMAIN)
        await exporter.says("qemu_up 1\nqemu_monitor_connects_total 2\nqemu_vm_resumes_total 1")
        await libvirt.virsh("save", DOMAIN, str(directory / "saved"))
        await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="shutdown"} 1')
        await libvirt.virsh("restore", str(directory / "saved"))
        await exporter.says("qemu_up 1\nqemu_vm_running 1\nqemu_monitor_connects_total 3")
        await libvirt.virsh("destroy", DOMAIN)
        await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="shutdown"} 2')
        page = await exporter.page()
        assert page['qemu_vm_shutdowns_total{reason="host-signal"}'] in {
            1,
            2,
        }  # libvirt 11.3 relays that of `save`, too


@pytest.mark.parametrize("commands", [False, True], ids=["events", "commands"])
async def test_a_restart_of_libvirtd_ends_no_vm_and_all_comes_back_by_itself(directory, short_path, commands):
    async with Libvirt(directory, knows_us=False) as libvirt:
        async with exporting(short_path, WEB, libvirt=through(libvirt, commands=commands)) as exporter:
            await exporter.says("qemu_up 1\nqemu_vm_running 1")
            await libvirt.restart()
            await exporter.says("qemu_up 1\nqemu_monitor_connects_total 2\nqemu_vm_running 1")
            page = await exporter.page()
            for after in ("none", "shutdown"):
                assert page[f'qemu_monitor_disconnects_total{{after="{after}"}}'] == 0
            await libvirt.virsh("suspend", DOMAIN)
            await exporter.says('qemu_vm_stops_total 1\nqemu_vm_state{state="paused"} 1')
        assert (TAINT in await libvirt.virsh("dominfo", DOMAIN)) is commands
        assert "End of file while reading data" not in libvirt.said()


def is_complete(page: Page) -> list[str]:
    """-> what is not there yet: QEMU's answers, and what the host says of its process a second later"""
    return [name for name in ("qemu_vcpus", "qemu_block_info", "qemu_vcpu_cpu_seconds_total") if name not in page.kinds]


async def test_with_commands_the_page_is_that_of_a_monitor_of_its_own(directory, short_path):
    """But for what is told by a clock, or of libvirt's own monitor."""
    async with Libvirt(directory) as libvirt:
        async with exporting(short_path, WEB, libvirt=through(libvirt, commands=True)) as exporter:
            relayed = await exporter.shows(is_complete)
        async with exporting(short_path, Vm(DOMAIN, libvirt.monitor)) as exporter:
            own = await exporter.shows(is_complete)
    differ = relayed.kinds.keys() ^ own.kinds.keys()
    assert {name for name in differ if name.startswith("qemu_")} == set()


async def test_qemus_that_hang_leave_libvirt_to_others(directory, short_path):
    """Five hang, four of them while they are asked; `list` and `destroy` work at once."""
    names = [f"vm{number}" for number in range(1, 6)]
    async with Libvirt(directory, knows_us=False) as libvirt:
        for name in names:
            await libvirt.define(name)
        async with exporting(short_path, WEB, libvirt=through(libvirt, commands=True)) as exporter:
            for name in (DOMAIN, *names):
                await exporter.about(Vm(name, "")).says("qemu_up 1")
            pids = [libvirt.pid(name) for name in names]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                hung = [exporter.about(Vm(name, "")) for name in names]

                async def four_hang() -> bool:
                    pages = [await one.page() for one in hung]
                    return sum(page['qemu_monitor_state{state="hung"}'] for page in pages) >= 4

                await awaited(four_hang, exporter.logged, 3 * DEADLINE)
                assert DOMAIN in await libvirt.virsh("list", deadline=2)
                await libvirt.virsh("suspend", DOMAIN, deadline=2)
                await exporter.says("qemu_vm_stops_total 1\nqemu_vm_running 0")
                await libvirt.virsh(
                    "destroy", names[0]
                )  # some 10 s: it waits for SIGTERM, which a stopped QEMU cannot heed
            finally:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            for one in hung[1:]:
                await one.says('qemu_monitor_state{state="connected"} 1\nqemu_up 1')
