#!/usr/bin/python3
"""What a manager knows of its VMs -> a file of targets for `files`, with the manager's words as labels.

    targets.py proxmox /etc/qmp-exporter/targets.d/proxmox.yaml
    targets.py libvirt /etc/qmp-exporter/targets.d/libvirt.yaml

Run it by cron.  Each VM's monitor is taken to be /run/qmp/NAME.sock, or for Proxmox /run/qmp/NUMBER.sock.  Nothing is
sent to a VM: Proxmox' configuration files are read, and libvirt is asked through its read-only socket.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

NOVA = "{http://openstack.org/xmlns/libvirt/nova/1.1}"


def proxmox(directory: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """-> each VM: its name, its socket's name, its labels"""
    for path in sorted(directory.glob("[0-9]*.conf"), key=lambda path: int(path.stem)):
        settings, _, _snapshots = path.read_text().partition("\n[")
        keys = dict(line.split(": ", 1) for line in settings.splitlines() if ": " in line and line[0] != "#")
        yield keys.get("name", path.stem), path.stem, {"vmid": path.stem, "tags": keys.get("tags", "")}


def libvirt() -> Iterator[tuple[str, str, dict[str, str]]]:
    """-> each domain: its name, its socket's name, its labels"""
    for domain in filter(None, virsh("list", "--all", "--name").splitlines()):
        tree = ET.fromstring(virsh("dumpxml", domain))  # noqa: S314  libvirt writes it
        labels = {
            "title": tree.findtext("title", ""),
            "project": tree.findtext(f".//{NOVA}project", ""),
            "flavor": next((flavor.get("name", "") for flavor in tree.iter(f"{NOVA}flavor")), ""),
        }
        yield domain, domain, labels


def virsh(*words: str) -> str:
    command = ("virsh", "--readonly", *words)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603  no shell takes it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manager", choices=("proxmox", "libvirt"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--sockets", default="/run/qmp", help="the directory of the monitors' sockets")
    parser.add_argument("--pve", type=Path, default="/etc/pve/qemu-server", help="Proxmox' configuration files")
    arguments = parser.parse_args()
    vms = proxmox(arguments.pve) if arguments.manager == "proxmox" else libvirt()
    targets = [
        {"name": name, "socket": f"{arguments.sockets}/{socket}.sock", "labels": {k: v for k, v in labels.items() if v}}
        for name, socket, labels in vms
    ]
    new = arguments.file.with_suffix(".new")
    new.write_text(json.dumps(targets, indent=1) + "\n")  # JSON is YAML
    new.replace(arguments.file)  # at once, so that nobody reads half of it


if __name__ == "__main__":
    main()
