"""What Proxmox keeps of its VMs -> the file of targets that deploy/targets.py writes, as the exporter takes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG, OPTIONAL
from qmp_exporter.config import Known, Target, parse_targets

TARGETS = Path(__file__).parents[2] / "deploy" / "targets.py"
KNOWN = Known({label.name for family in CATALOG.families for label in family.labels}, OPTIONAL)
WEB01 = """#web server%3A not to be touched
#name: not this one
agent: 1
args: -chardev socket,id=qmp-exporter,path=/run/qmp/101.sock,server=on,wait=off
cores: 2
memory: 2048
name: web01
scsi0: local-lvm:vm-101-disk-0,iothread=1,size=32G
tags: acme;prod
vmgenid: 1d2d8e5c-0000-4000-8000-000000000001

[before-upgrade]
#a snapshot
name: web00
tags: old
"""


@pytest.fixture
def pve(tmp_path: Path) -> Path:
    directory = tmp_path / "qemu-server"
    directory.mkdir()
    (directory / "101.conf").write_text(WEB01)
    (directory / "9.conf").write_text("memory: 512\n")
    return directory


def write(file: Path, pve: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, TARGETS, "proxmox", file, "--pve", pve], stderr=subprocess.PIPE, text=True, check=False
    )


def test_a_vm_of_proxmox_has_its_name_its_number_and_its_tags(tmp_path: Path, pve: Path) -> None:
    file = tmp_path / "proxmox.yaml"
    assert write(file, pve).returncode == 0
    nine, web01 = parse_targets(file.read_text(), str(file), Target("", ""), KNOWN)
    assert (nine.name, nine.socket, dict(nine.labels)) == ("9", "/run/qmp/9.sock", {"vmid": "9"})
    assert (web01.name, web01.socket) == ("web01", "/run/qmp/101.sock")
    assert dict(web01.labels) == {"vmid": "101", "tags": "acme;prod"}


def test_a_file_is_there_as_it_was_when_proxmox_cannot_be_read(tmp_path: Path, pve: Path) -> None:
    file = tmp_path / "proxmox.yaml"
    write(file, pve)
    before = file.read_text()
    (pve / "102.conf").write_bytes(b"name: \xff\n")
    assert write(file, pve).returncode != 0
    assert file.read_text() == before
