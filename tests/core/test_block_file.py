"""What is shown of an image's name, and what the image shares with others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.block_file import UNKNOWN, Mount, block_file, is_block_device, parse_mounts, storage

MOUNTS = (
    Mount("/", "ext4", "/dev/sda1"),
    Mount("/srv", "xfs", "/dev/sdb1"),
    Mount("/srv/nas", "nfs4", "nas:/export/vms"),
    Mount("/tank", "zfs", "tank/data/vms"),
)
SECRET = "hunter2"  # noqa: S105  no password of anything


def nbd_over_tcp(**more: object) -> dict:
    return {"driver": "nbd", "export": "vm1", "server": {"type": "inet", "host": "192.0.2.1", "port": "10809"}, **more}


@pytest.mark.parametrize(
    ("filename", "shown", "shared"),
    [
        ("/var/lib/vm/a.qcow2", "/var/lib/vm/a.qcow2", "/dev/sda1"),
        ("/srv/a.qcow2", "/srv/a.qcow2", "/dev/sdb1"),
        ("/srvx/a.qcow2", "/srvx/a.qcow2", "/dev/sda1"),
        ("/srv/nas/a.qcow2", "/srv/nas/a.qcow2", "nas:/export/vms"),
        ("/tank/a.raw", "/tank/a.raw", "zfs:tank"),
        ("/srv/odd:name@x.qcow2", "/srv/odd:name@x.qcow2", "/dev/sdb1"),
        ("relative.qcow2", "relative.qcow2", UNKNOWN),
        ("/dev/pve/vm-101-disk-0", "/dev/pve/vm-101-disk-0", "lvm:pve"),
        ("/dev/mapper/big--vg-vm--101", "/dev/mapper/big--vg-vm--101", "lvm:big-vg"),
        ("/dev/mapper/mpatha", "/dev/mapper/mpatha", "/dev/mapper/mpatha"),
        ("/dev/mapper/mpatha-part1", "/dev/mapper/mpatha-part1", "/dev/mapper/mpatha-part1"),
        ("/dev/zvol/rpool/data/vm-1", "/dev/zvol/rpool/data/vm-1", "zfs:rpool"),
        ("/dev/rbd/vms/vm-1", "/dev/rbd/vms/vm-1", "rbd:vms"),
        ("/dev/rbd-pve/c0ffee/vms/vm-1", "/dev/rbd-pve/c0ffee/vms/vm-1", "rbd:vms"),
        ("/dev/disk/by-id/wwn-0x5", "/dev/disk/by-id/wwn-0x5", "/dev/disk/by-id/wwn-0x5"),
        ("/dev/sdc", "/dev/sdc", "/dev/sdc"),
        ("/dev/fdset/3", "/dev/fdset/3", UNKNOWN),
        ("rbd:vms/vm-1:id=admin:key=" + SECRET, "rbd:vms/vm-1", "rbd:vms"),
        (f"nbd://u:{SECRET}@192.0.2.1:10809/vm1", "nbd://192.0.2.1:10809/vm1", "nbd://192.0.2.1:10809/vm1"),
        ("nbd://[2001:db8::1]:10809/vm1", "nbd://[2001:db8::1]:10809/vm1", "nbd://[2001:db8::1]:10809/vm1"),
        ("nbd+unix:///vm1?socket=/run/n.sock", "nbd+unix:///vm1?socket=/run/n.sock", "nbd+unix:/run/n.sock"),
        (f"iscsi://u%{SECRET}@san/iqn.2026-01.x:t/1", "iscsi://san/iqn.2026-01.x:t/1", "iscsi://san/iqn.2026-01.x:t"),
        ("nfs://nas/export/vms/a.raw?uid=0", "nfs://nas/export/vms/a.raw", "nfs://nas/export/vms"),
        ("gluster+tcp://g1/vol/a.qcow2?logfile=x", "gluster+tcp://g1/vol/a.qcow2", "gluster+tcp://g1/vol"),
        (f"https://u:{SECRET}@web/iso/a.iso?token={SECRET}", "https://web/iso/a.iso", "https://web"),
        (f"https://u:pa/{SECRET}@web/a.iso", "https:", UNKNOWN),
        (f"odd:{SECRET}", "odd:", UNKNOWN),
    ],
)
def test_a_name_tells_the_place_and_no_secret(filename, shown, shared):
    file = block_file(filename)
    assert file.shown == shown
    assert storage(file, MOUNTS) == shared


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ({"driver": "file", "filename": "/srv/a.raw"}, "/srv/a.raw"),
        ({"driver": "raw", "file": {"driver": "host_device", "filename": "/dev/sdc"}}, "/dev/sdc"),
        (
            {
                "driver": "throttle",
                "throttle-group": "t",
                "file": {"driver": "raw", "file": {"filename": "/a", "driver": "file"}},
            },
            "/a",
        ),
        ({"driver": "raw", "file": {"driver": "blkdebug", "image": {"driver": "file", "filename": "/a"}}}, "/a"),
        ({"driver": "rbd", "pool": "vms", "image": "vm-1", "user": SECRET, "key-secret": SECRET}, "rbd:vms/vm-1"),
        ({"driver": "rbd", "pool": "vms", "namespace": "n", "image": "vm-1"}, "rbd:vms/n/vm-1"),
        (nbd_over_tcp(**{"tls-creds": SECRET}), "nbd://192.0.2.1:10809/vm1"),
        ({"driver": "nbd", "export": "", "server": {"type": "unix", "path": "/run/n"}}, "nbd+unix:///?socket=/run/n"),
        (
            {"driver": "iscsi", "portal": "san", "target": "iqn.x:t", "lun": 1, "password-secret": SECRET},
            "iscsi://san/iqn.x:t/1",
        ),
        ({"driver": "nfs", "server": {"type": "inet", "host": "nas"}, "path": "/vms/a", "user": 0}, "nfs://nas/vms/a"),
        ({"driver": "ssh", "server": {"host": "h", "port": "22"}, "path": "/a", "user": SECRET}, "ssh://h:22/a"),
        (
            {"driver": "gluster", "volume": "v", "path": "a", "server": [{"type": "inet", "host": "g", "port": "1"}]},
            "gluster://g:1/v/a",
        ),
        ({"driver": "https", "url": f"https://u:{SECRET}@web/a", "cookie": SECRET}, "https://web/a"),
        ({"driver": "quorum", "children": [{"driver": "file", "filename": "/a"}]}, "quorum:"),
    ],
)
def test_a_json_name_is_told_by_the_members_that_name_the_place(node, shown):
    assert block_file(f"json:{json.dumps(node)}").shown == shown


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"file": ' * 5000, '{"file": {"file": 1}}'])
def test_json_that_is_none_of_qemus_shows_nothing(text):
    assert block_file(f"json:{text}").shown in {"json:", ":"}


@given(st.text(max_size=300))
def test_any_name_is_taken(name):
    assert len(block_file(name).shown) <= 128
    storage(block_file(name), MOUNTS)
    assert SECRET not in block_file(f"nbd://user:{SECRET}@{name}").shown


def test_of_a_long_path_the_end_is_shown():
    shown = block_file("/srv/" + "x" * 200 + "/disk.qcow2").shown
    assert len(shown) == 128
    assert shown.startswith("…")
    assert shown.endswith("x/disk.qcow2")


def test_a_mount_that_covers_another_is_the_one_that_counts():
    covered = (*MOUNTS, Mount("/srv", "ext4", "/dev/sdz1"))
    assert storage(block_file("/srv/a"), covered) == "/dev/sdz1"


def test_without_a_mount_table_nothing_is_made_up():
    assert storage(block_file("/srv/a"), ()) == UNKNOWN


def test_a_block_device_is_known_by_its_directory():
    assert is_block_device(block_file("/dev/pve/a"))
    assert not is_block_device(block_file("/dev/shm/a"))  # noqa: S108  nothing is made there
    assert not is_block_device(block_file("/srv/a"))


def test_the_mount_table_is_that_of_proc():
    text = (
        rb"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw" + b"\n"
        rb"40 21 0:33 / /mnt/my\040disks rw shared:20 master:2 - nfs4 nas:/a\134b rw,addr=192.0.2.9" + b"\n"
        b"nonsense\n"
    )
    assert parse_mounts(text) == (Mount("/", "ext4", "/dev/sda1"), Mount("/mnt/my disks", "nfs4", r"nas:/a\b"))
