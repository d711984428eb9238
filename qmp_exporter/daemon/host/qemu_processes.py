"""The processes of this host -> the QEMU of each UUID, by its command line, which everybody may read."""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from qmp_exporter.core.command_line import Disk, disks, uuid
from qmp_exporter.daemon.host.files import content

NAMES: Final = (b"qemu", b"kvm")  # what its programs are called: qemu-system-x86_64, qemu-kvm, kvm
MAX_COMMAND_LINE: Final = 1024 * 1024  # bytes; with hundreds of disks it has some 200 KiB


class QemuProcess(NamedTuple):
    pid: int
    disks: tuple[Disk, ...]


def qemu_processes() -> Mapping[str, QemuProcess]:
    """By -uuid.  One that several processes have is left out: anybody may start a program that says it is a QEMU.

    Not for the event loop: some 10 ms for 2,000 processes, and a command line lies in memory that may be swapped out.
    """
    found: dict[str, QemuProcess] = {}
    repeated = set()
    for name in os.listdir("/proc"):  # noqa: PTH208  names are enough
        if not name.isdigit() or not (content(f"/proc/{name}/comm") or b"").startswith(NAMES):
            continue
        line = content(f"/proc/{name}/cmdline") or b""
        argv = line[:MAX_COMMAND_LINE].decode(errors="replace").split("\0")
        if key := uuid(argv):
            repeated |= {key} & found.keys()
            found[key] = QemuProcess(int(name), tuple(disks(argv)))
    return {key: process for key, process in found.items() if key not in repeated}


def vcpus(pid: int) -> Mapping[int, int]:
    """Thread ids by the index of the vCPU: with -name debug-threads=on, as libvirt has it, a thread is `CPU 0/KVM`."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  names are enough
    except OSError:
        return {}
    names = ((thread, content(f"/proc/{pid}/task/{thread}/comm") or b"") for thread in threads)
    parts = ((thread, *name.partition(b"/")[0].partition(b" ")[::2]) for thread, name in names)
    return {int(index): int(thread) for thread, word, index in parts if word == b"CPU" and index.isdigit()}
