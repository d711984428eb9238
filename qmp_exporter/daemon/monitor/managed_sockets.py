"""A socket path -> the manager whose own monitor it is, which must not be touched.

A monitor serves one client.  libvirt kills a VM whose monitor it cannot get back after a restart, and Proxmox' backups
and migrations wait for theirs; each lets a VM have another monitor for us.
"""

import os
import re

_MONITORS = (
    ("libvirt", re.compile(r"/libvirt/qemu/.*monitor\.sock$")),
    ("Proxmox", re.compile(r"/run/qemu-server/[^/]+\.(qmp|qga)$")),
    ("Incus", re.compile(r"/(incus|lxd)/(logs/)?[^/]+/qemu\.monitor$")),  # LXD of a snap: logs
    ("Kata Containers", re.compile(r"/vc/vm/[^/]+/qmp\.sock$")),
    ("Ganeti", re.compile(r"/ganeti/kvm-hypervisor/ctrl/[^/]+\.(qmp|kvmd)$")),
)

# Those that connect to their monitor for a command or a few, and leave: others may come in between.
ONLY_VISIT = frozenset({"Proxmox", "Ganeti"})


# Where a manager's path tells which of its VMs it is, by the name or number that its own commands take.
_INSTANCES = re.compile(
    r"/libvirt/qemu/.*domain-\d+-(?P<libvirt>[^/]+)/monitor\.sock$"
    r"|/run/qemu-server/(?P<proxmox>\d+)\.(?:qmp|qga)$"
    r"|/(?:incus|lxd)/(?:logs/)?(?P<incus>[^/]+)/qemu\.monitor$"
    r"|/ganeti/kvm-hypervisor/ctrl/(?P<ganeti>[^/]+)\.(?:qmp|kvmd)$"
)


def instance(socket: str) -> str:
    """What the manager whose own monitor it is calls the VM; empty where its path does not tell."""
    match = _INSTANCES.search(socket) or _INSTANCES.search(os.path.realpath(socket))
    return next(filter(None, match.groups()), "") if match else ""


def managing_tool(socket: str) -> str | None:
    """The name of the manager, or None if the monitor is nobody's that we know.  A link to it is as good as itself."""
    paths = (socket, os.path.realpath(socket)) if socket.startswith("/") else ()
    return next((name for name, pattern in _MONITORS for path in paths if pattern.search(path)), None)
