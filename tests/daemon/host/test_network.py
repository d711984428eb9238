"""Taps of the real kernel, and command lines -> whose interfaces they are, and what they counted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parts import need_root
from qmp_exporter.daemon.host.network import FRESH, Interface, Netdev, NetworkReader, netdevs_of, parse_counters
from taps import TAP, arp_request, make_tap

GUEST_MAC, TAP_MAC = "52:54:00:aa:bb:cc", "fe:54:00:aa:bb:cc"
TAPS = Path(__file__).parents[2] / "taps.py"
# It does what QEMU does with a tap: takes what comes, and sends what it is told.
GUEST = """
import os, sys
print("ready", flush=True)
for line in sys.stdin:
    if line == "send\\n":
        os.write(9, bytes(60))
    else:
        os.read(9, 2000)
    print("done", flush=True)
"""


@contextmanager
def guest(
    *arguments: str, name: str = "qmptap0", mac: str = TAP_MAC, apart: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """A process with a tap and these arguments; `apart`: in a network namespace of its own."""
    need_root()
    namespace = ["unshare", "--net"] if apart else []
    command = [*namespace, sys.executable, TAPS, name, mac, sys.executable, "-c", GUEST, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def does(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    print(what, file=process.stdin, flush=True)
    assert process.stdout.readline() == "done\n"


def sends_into(process: subprocess.Popen[str], frames: int) -> None:
    enter = ["nsenter", "--net", f"--target={process.pid}"]
    subprocess.run([*enter, sys.executable, TAPS, "send", "qmptap0", str(frames)], check=True)


DEVICE = ("-device", f"virtio-net-pci,netdev=net0,mac={GUEST_MAC.upper()}")


def test_a_tap_is_found_by_the_descriptor_that_the_command_line_names():
    with guest("-netdev", f"tap,id=net0,fd={TAP}", *DEVICE) as process:
        assert NetworkReader().find(process.pid, 0.0) == (Interface("qmptap0", "net0", GUEST_MAC, is_tap=True),)


def test_a_tap_that_was_plugged_in_is_found_though_the_command_line_does_not_name_it():
    with guest() as process:
        assert NetworkReader().find(process.pid, 0.0) == (Interface("qmptap0", "", "", is_tap=True),)


def test_a_tap_of_the_bridge_helper_is_that_of_the_one_netdev_that_has_none():
    with guest("-netdev", "bridge,br=br0,id=net0", *DEVICE) as process:
        assert NetworkReader().find(process.pid, 0.0) == (Interface("qmptap0", "net0", GUEST_MAC, is_tap=True),)


def as_another_user(pid: int, now: float = 0.0) -> tuple[Interface, ...]:
    """Who may not read the descriptors of the process."""
    os.seteuid(65534)
    try:
        return NetworkReader().find(pid, now)
    finally:
        os.seteuid(0)


def test_another_users_tap_is_found_by_its_name_on_the_command_line():
    with guest("-netdev", "tap,id=net0,ifname=qmptap0,script=no", *DEVICE) as process:
        assert as_another_user(process.pid) == (Interface("qmptap0", "net0", GUEST_MAC, is_tap=True),)


def test_another_users_tap_is_found_by_the_address_that_libvirt_gives_it():
    with guest("-netdev", '{"type":"tap","fd":"31","id":"net0"}', *DEVICE, name="qmptap1", apart=False) as process:
        assert as_another_user(process.pid) == (Interface("qmptap1", "net0", GUEST_MAC, is_tap=True),)


def test_an_interface_with_the_guests_own_address_is_a_macvtap():
    netdev = '{"type":"tap","fd":"31","id":"net0"}'
    device = f'{{"driver":"virtio-net-pci","netdev":"net0","mac":"{GUEST_MAC}"}}'
    with guest("-netdev", netdev, "-device", device, name="qmptap2", mac=GUEST_MAC, apart=False) as process:
        assert as_another_user(process.pid) == (Interface("qmptap2", "net0", GUEST_MAC, is_tap=False),)


def test_in_another_namespace_an_address_of_ours_finds_nothing():
    need_root()
    tap = make_tap("qmptap3", TAP_MAC)
    try:
        with guest("-netdev", '{"type":"tap","fd":"31","id":"net0"}', *DEVICE) as process:
            assert as_another_user(process.pid) == ()
    finally:
        os.close(tap)


def counted(process: subprocess.Popen[str], reader: NetworkReader, now: float) -> dict[str, int]:
    interfaces = [Interface("qmptap0", "net0", GUEST_MAC, is_tap=True)]
    return dict(next(iter(reader.read(process.pid, interfaces, now))).counters)


def test_what_goes_in_is_received_and_what_the_guest_sends_is_transmitted():
    with guest() as process:
        reader = NetworkReader()
        before = counted(process, reader, 0.0)
        for _ in range(3):
            does(process, "send")
        sent = counted(process, reader, FRESH)
        assert sent["transmit_packets"] - before["transmit_packets"] == 3
        assert sent["transmit_bytes"] - before["transmit_bytes"] == 180
        assert sent["receive_packets"] == before["receive_packets"]
        sends_into(process, 5)
        for _ in range(5):
            does(process, "take")
        took = counted(process, reader, 2 * FRESH)
        assert took["receive_packets"] - sent["receive_packets"] == 5
        assert took["transmit_packets"] == sent["transmit_packets"]
        assert took["receive_errors"] == took["transmit_errors"] == 0


def test_what_a_guest_does_not_take_is_dropped_at_last():
    with guest() as process:
        sends_into(process, 2000)
        assert counted(process, NetworkReader(), 0.0)["receive_drops"] > 500


def test_one_reading_serves_all_vms_of_a_namespace_for_a_moment():
    with guest() as process:
        reader = NetworkReader()
        before = counted(process, reader, 0.0)
        does(process, "send")
        assert counted(process, reader, FRESH / 2) == before
        assert counted(process, reader, FRESH) != before


def test_the_same_name_in_two_namespaces_is_two_interfaces():
    reader = NetworkReader()
    with guest() as one, guest() as other:
        does(one, "send")
        assert counted(one, reader, 0.0)["transmit_packets"] == 1
        assert counted(other, reader, 0.0)["transmit_packets"] == 0


def test_a_process_that_is_gone_has_no_interfaces():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    reader = NetworkReader()
    assert reader.find(gone.pid, 0.0) == ()
    assert list(reader.read(gone.pid, [Interface("lo", "", "", is_tap=True)], 0.0)) == []


@pytest.mark.parametrize(
    ("command", "netdevs"),
    [
        ("-netdev tap,id=n,ifname=tap0,vhost=on", [Netdev("n", "tap0")]),
        ("--netdev type=tap,id=n,fds=31:32", [Netdev("n", "", (31, 32))]),
        ('-netdev {"type":"tap","fds":"31:32","id":"n","vhost":true}', [Netdev("n", "", (31, 32))]),
        ("-nic tap,ifname=tap0,mac=52:54:00:00:00:01", [Netdev("", "tap0", (), "52:54:00:00:00:01")]),
        ("-net nic -net tap,ifname=tap0", [Netdev("", "tap0")]),
        ("-netdev tap,id=n,ifname=a,,b", [Netdev("n", "a,b")]),
        ("-netdev user,id=n", []),
        ("-netdev {broken", []),
        ("-netdev [1]", []),
        ("-netdev", []),
        (
            "-netdev tap,id=a,ifname=t0 -netdev tap,id=b,ifname=t1 -device e1000,netdev=b,mac=52:54:00:00:00:0B",
            [Netdev("a", "t0"), Netdev("b", "t1", (), "52:54:00:00:00:0b")],
        ),
    ],
)
def test_a_command_line_names_the_backends(command, netdevs):
    assert list(netdevs_of(["qemu-system-x86_64", *command.split(" ")])) == netdevs


def test_the_kernels_table_has_a_line_for_each_interface():
    text = b"Inter-|\n face |bytes\n  lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\nvm0: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\nx: 1\n"
    assert parse_counters(text)["lo"][:4] == [1, 2, 3, 4]
    assert "x" not in parse_counters(text)


def test_a_frame_is_as_long_as_ethernet_wants_it():
    assert len(arp_request("10.0.2.2")) == 60
