"""Which monitors are a manager's own."""

from pathlib import Path

import pytest

from qmp_exporter.daemon.monitor.managed_sockets import managing_tool


@pytest.mark.parametrize(
    ("socket", "manager"),
    [
        ("/var/lib/libvirt/qemu/domain-3-web01/monitor.sock", "libvirt"),
        ("/home/ann/.config/libvirt/qemu/lib/domain-1-web01/monitor.sock", "libvirt"),
        ("/var/run/qemu-server/101.qmp", "Proxmox"),
        ("/run/qemu-server/101.qmp", "Proxmox"),
        ("/run/incus/web01/qemu.monitor", "Incus"),
        ("/var/snap/lxd/common/lxd/logs/web01/qemu.monitor", "Incus"),
        ("/run/vc/vm/9f0a/qmp.sock", "Kata Containers"),
        ("/run/ganeti/kvm-hypervisor/ctrl/web01.qmp", "Ganeti"),
    ],
)
def test_managers_keep_their_own_monitors(socket: str, manager: str) -> None:
    assert managing_tool(socket) == manager


@pytest.mark.parametrize(
    "socket",
    [
        "/run/qmp/web01.sock",
        "/var/lib/libvirt/qemu/exporter-web01.sock",
        "/run/qemu-server/101.exporter",
        "@web01",
        "tcp:localhost:4444",
    ],
)
def test_other_monitors_are_free(socket: str) -> None:
    assert managing_tool(socket) is None


def test_a_link_to_a_managers_monitor_is_a_managers_monitor(tmp_path: Path) -> None:
    link = tmp_path / "web01.sock"
    link.symlink_to("/var/lib/libvirt/qemu/domain-3-web01/monitor.sock")

    assert managing_tool(str(link)) == "libvirt"
