"""Serial ports, network backends, SCSI reservations, and devices that would not be unplugged."""

import pytest

from play import Story
from qmp_exporter.catalog.device import MAX_NETDEVS, MAX_PORTS, NETDEVS, PORTS

MONITOR = {"label": "charmonitor", "frontend-open": True, "filename": "unix:/run/monitor.sock,server=on"}
UART = {"label": "charserial0", "frontend-open": True, "filename": "pty:/dev/pts/1"}
AGENT = {"label": "charchannel0", "frontend-open": False, "filename": "disconnected:unix:/run/agent.sock,server=on"}


def port(name: str) -> str:
    return f'qemu_serial_port_open{{port="{name}"}}'


# --- serial ports


def test_a_port_is_what_its_event_says():
    story = Story()
    story.happens("VSERPORT_CHANGE", id="agent", open=True)
    story.says(port("agent"), 1)
    story.happens("VSERPORT_CHANGE", id="agent", open=False)
    story.says(port("agent"), 0)


@pytest.mark.parametrize("is_open", [True, False])
def test_at_connect_a_chardev_that_libvirt_named_after_its_port_tells_of_it(is_open):
    story = Story()
    story.answers("query-chardev", [MONITOR, UART, AGENT | {"frontend-open": is_open}])
    story.says(port("channel0"), int(is_open))


def test_of_the_port_that_proxmox_gives_no_id_the_chardev_alone_tells():
    story = Story()
    story.answers("query-chardev", [{"label": "qga0", "frontend-open": True}, {"label": "qmp", "frontend-open": True}])
    story.says_only("qemu_serial_port_open", port("qga0"))
    story.wants()
    assert "query-chardev" in story.wants_within_a_minute()


@pytest.mark.parametrize(
    "label", ["charmonitor", "charserial0", "charconsole0", "serial0", "channel0", "compat_monitor0"]
)
def test_other_chardevs_are_open_without_anybody_there(label):
    story = Story()
    story.answers("query-chardev", [{"label": label, "frontend-open": True}])
    story.says_nothing_of("qemu_serial_port_open")


def test_before_2_1_no_chardev_said_whether_it_is_open():
    story = Story(version="2.0.0")
    story.answers("query-chardev", [{"label": "charchannel0"}])
    story.says_nothing_of("qemu_serial_port_open")


def test_the_event_and_the_query_mean_one_port():
    story = Story()
    story.answers("query-chardev", [AGENT])
    story.happens("VSERPORT_CHANGE", id="channel0", open=True)
    story.says(port("channel0"), 1)
    assert "query-chardev" in story.wants()
    story.answers("query-chardev", [AGENT | {"frontend-open": True}])
    story.says_only("qemu_serial_port_open", port("channel0"))


def test_a_port_that_the_query_cannot_tell_stays_as_its_event_said():
    story = Story()
    story.happens("VSERPORT_CHANGE", id="console0", open=False)
    story.answers("query-chardev", [{"label": "charconsole0", "frontend-open": True}])
    story.says(port("console0"), 0)


def test_a_port_that_was_unplugged_is_gone():
    story = Story()
    story.happens("VSERPORT_CHANGE", id="agent", open=True)
    story.happens("DEVICE_DELETED", device="agent", path="/machine/peripheral/agent")
    assert "query-chardev" in story.wants()
    story.answers("query-chardev", [])
    story.says_nothing_of("qemu_serial_port_open")


def test_ports_are_forgotten_with_the_monitor():
    story = Story()
    story.happens("VSERPORT_CHANGE", id="agent", open=True)
    story.disconnects()
    story.connects()
    story.answers("query-chardev", [])
    story.says_nothing_of("qemu_serial_port_open")


def test_ports_without_end_are_bounded():
    story = Story()
    for number in range(1000):
        story.happens("VSERPORT_CHANGE", id=f"port{number}", open=True)
    assert len(story.vm.facts[PORTS].open) == MAX_PORTS


# --- SCSI reservations


def test_the_helper_for_reservations_is_connected_or_not():
    story = Story()
    story.answers("query-pr-managers", [{"id": "pr0", "connected": True}])
    story.says('qemu_pr_manager_connected{manager="pr0"}', 1)
    story.happens("PR_MANAGER_STATUS_CHANGED", id="pr0", connected=False)
    story.says('qemu_pr_manager_connected{manager="pr0"}', 0)
    assert "query-pr-managers" in story.wants()
    story.answers("query-pr-managers", [])
    story.says_nothing_of("qemu_pr_manager_connected")


# --- network backends


@pytest.mark.parametrize("kind", ["STREAM", "VHOST_USER"])
def test_a_network_backend_comes_and_goes(kind):
    story = Story()
    story.says_nothing_of("qemu_netdev_connected")
    story.happens(f"NETDEV_{kind}_CONNECTED", netdev_id="hostnet0", addr={"type": "unix", "path": "/run/net.sock"})
    story.says('qemu_netdev_connected{netdev="hostnet0"}', 1)
    story.happens(f"NETDEV_{kind}_DISCONNECTED", netdev_id="hostnet0")
    story.says('qemu_netdev_connected{netdev="hostnet0"}', 0)
    story.disconnects()
    story.says_nothing_of("qemu_netdev_connected")


CONNECTION = {"type": "unix", "path": "/run/net.sock"}


@pytest.mark.parametrize(
    ("netdev", "device"), [("hostnet1", "net1"), ("net1", "net1"), ("n1", "n1"), ("n1", "nic7"), ("n1", "")]
)
def test_a_network_backend_ends_with_its_device(netdev, device):
    story = Story()
    story.happens("NETDEV_STREAM_CONNECTED", netdev_id=netdev, addr=CONNECTION)
    name = {"device": device} if device else {}
    story.happens("DEVICE_DELETED", path=f"/machine/peripheral/{device or 'nic7/virtio-backend'}", **name)
    story.says_nothing_of("qemu_netdev_connected")


@pytest.mark.parametrize(
    ("netdev", "device"), [("hostnet1", "net2"), ("net1", "net11"), ("hostnet1", "dimm0"), ("n1", "ide0-1-0")]
)
def test_a_network_backend_does_not_end_with_a_device_that_is_not_its_own(netdev, device):
    story = Story()
    story.answers("query-block", [{"device": "", "qdev": "ide0-1-0", "removable": True, "tray_open": True}])
    story.happens("NETDEV_STREAM_CONNECTED", netdev_id=netdev, addr=CONNECTION)
    story.happens("DEVICE_DELETED", device=device, path=f"/machine/peripheral/{device}")
    story.says(f'qemu_netdev_connected{{netdev="{netdev}"}}', 1)


def test_network_backends_without_end_are_bounded():
    story = Story()
    for number in range(1000):
        story.happens("NETDEV_STREAM_CONNECTED", netdev_id=f"n{number}", addr=CONNECTION)
    assert len(story.vm.facts[NETDEVS]) == MAX_NETDEVS


# --- unplugging


def test_a_device_that_would_not_be_unplugged_is_counted():
    story = Story()
    story.says("qemu_device_unplug_errors_total", 0)
    story.happens("DEVICE_UNPLUG_GUEST_ERROR", device="nic0", path="/machine/peripheral/nic0")
    story.says("qemu_device_unplug_errors_total", 1)


@pytest.mark.parametrize("version", ["6.2.0", "7.2.22", "9.0.0", "10.0.2"])
def test_one_error_of_a_memory_device_counts_once_though_two_events_tell_it(version):
    story = Story(version=version)
    story.happens("MEM_UNPLUG_ERROR", device="dimm0", msg="busy")
    story.happens("DEVICE_UNPLUG_GUEST_ERROR", device="dimm0", path="/machine/peripheral/dimm0")
    story.says("qemu_device_unplug_errors_total", 1)


@pytest.mark.parametrize("version", ["2.4.0", "5.2.0", "6.1.1"])
def test_before_6_2_only_memory_devices_told(version):
    story = Story(version=version)
    story.happens("MEM_UNPLUG_ERROR", device="dimm0", msg="busy")
    story.says("qemu_device_unplug_errors_total", 1)
