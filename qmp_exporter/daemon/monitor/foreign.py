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


def owner(socket: str) -> str | None:
    """The name of the manager, or None if the monitor is nobody's that we know.  A link to it is as good as itself."""
    paths = (socket, os.path.realpath(socket)) if socket.startswith("/") else ()
    return next((name for name, pattern in _MONITORS for path in paths if pattern.search(path)), None)
