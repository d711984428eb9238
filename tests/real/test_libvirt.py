"""A real libvirt with a domain that has the documented second monitor -> both look at it, and neither is in the way."""

import shutil
import tempfile
from pathlib import Path

import pytest

from exporter import Vm, exporting
from libvirt import DOMAIN, Libvirt

TARGETS = Path(__file__).parents[2] / "deploy" / "targets.py"

pytestmark = pytest.mark.real


async def test_libvirt_restarts_and_the_exporter_does_not_notice(short_path):
    """Not only that: what the new libvirtd does to the domain is on the page, so both have a monitor that works."""
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        async with Libvirt(Path(directory)) as libvirt:
            own = Vm("own", libvirt.own_monitor)
            async with exporting(short_path, Vm(DOMAIN, libvirt.monitor), own) as exporter:
                await exporter.says("qemu_up 1\nqemu_vm_running 1")
                await libvirt.restart()
                assert await libvirt.virsh("domstate", DOMAIN) == "running"
                await libvirt.virsh("suspend", DOMAIN)
                await exporter.says('qemu_vm_stops_total 1\nqemu_vm_state{state="paused"} 1')
                await libvirt.virsh("resume", DOMAIN)
                page = await exporter.says("qemu_vm_resumes_total 1\nqemu_vm_running 1\nqemu_monitor_connects_total 1")
                assert 'qemu_monitor_state{state="foreign",vm="own"} 1.0' in page.text
                assert 'qemu_monitor_connects_total{vm="own"} 0.0' in page.text
                await libvirt.virsh("destroy", DOMAIN)
                await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="shutdown"} 1')


async def test_its_domain_can_dial_in(short_path):
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        async with Libvirt(Path(directory), dials_in=True) as libvirt:
            listen = {"socket": str(libvirt.dial_in), "mode": "0666"}  # QEMU is nobody's here
            async with exporting(short_path, Vm(DOMAIN, libvirt.dial_in), listen=listen) as exporter:
                await exporter.says("qemu_up 1\nqemu_vm_running 1")
                await libvirt.virsh("destroy", DOMAIN)
                await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="shutdown"} 1')
                await libvirt.virsh("start", DOMAIN)
                await exporter.says("qemu_up 1\nqemu_vm_running 1\nqemu_monitor_connects_total 2")


async def test_the_documented_script_makes_targets_of_its_domains(short_path):
    with tempfile.TemporaryDirectory(prefix="qmp-exporter-") as directory:
        async with Libvirt(Path(directory)) as libvirt:
            await libvirt.virsh("desc", DOMAIN, "--config", "--live", "--title", "Acme's shop")
            file = Path(directory, "libvirt.yaml")
            script = shutil.copy(TARGETS, directory)  # libvirt's user need not see where the tests are
            await libvirt.run("/usr/bin/python3", str(script), "libvirt", str(file), f"--sockets={directory}")
            vm = Vm(DOMAIN, libvirt.monitor, {"title": "Acme's shop"})
            async with exporting(short_path, vm, files=str(file)) as exporter:
                await exporter.says("qemu_up 1\nqemu_vm_running 1")
