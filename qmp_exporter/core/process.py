"""What the host's kernel says of a VM's process, as values that rows can read."""

from collections.abc import Mapping
from typing import NamedTuple


class VcpuInfo(NamedTuple):
    """A vCPU's thread; times in seconds."""

    cpu_seconds: float
    run_delay_seconds: float


class ProcessInfo(NamedTuple):
    """A QEMU process; descriptors None where they may not be listed; vCPUs by their index."""

    cpu_seconds: float
    resident_bytes: int
    open_fds: int | None
    vcpus: Mapping[int, VcpuInfo]
