"""What the host's kernel says of a VM's process, as values that rows can read, and what the catalog wants of it."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from .block_file import Mount
from .vm_facts import Slice

Part = Literal["process", "threads", "cgroup", "network", "mounts"]  # what is read only where a row wants it


# How a process ended, beside the names of the signals that kill.
EXITED, FAILED, OOM_KILL, UNKNOWN = "exited", "failed", "oom-kill", "unknown"


class ThreadInfo(NamedTuple):
    """A thread; times in seconds."""

    cpu_seconds: float
    run_delay_seconds: float


class CgroupInfo(NamedTuple):
    """A control group (v2) with one VM alone; None and empty where the controller is off.

    `pressure`: seconds by resource and kind (some, full); a limit that is not set is None.
    """

    cpu_quota: float | None  # CPU seconds per second
    throttled_seconds: float | None
    pressure: Mapping[tuple[str, str], float]
    memory_events: Mapping[str, int]
    memory_current: int | None
    memory_max: int | None
    memory_high: int | None


class InterfaceInfo(NamedTuple):
    """A network interface of the host that carries a guest's traffic; counters by name, in the guest's direction."""

    name: str
    netdev: str
    mac: str
    counters: Mapping[str, int]


class ProcessInfo(NamedTuple):
    """A QEMU process; None where it is not to be seen, vCPUs by their index, IOThreads by their id."""

    cpu_seconds: float
    resident_bytes: int
    open_fds: int | None
    vcpus: Mapping[int, ThreadInfo]
    start_time: float | None = None  # seconds since the epoch
    threads: int | None = None
    major_faults: int | None = None
    swap_bytes: int | None = None
    hugetlb_bytes: int | None = None
    max_fds: int | None = None
    iothreads: Mapping[str, ThreadInfo] = {}
    vhost_cpu_seconds: float | None = None
    emulator_cpu_seconds: float | None = None
    cgroup: CgroupInfo | None = None
    interfaces: tuple[InterfaceInfo, ...] = ()
    mounts: tuple[Mount, ...] | None = None  # None: not read this time


class HostWants:
    """What the catalog has learned from QEMU that the reader of /proc needs."""

    def __init__(self) -> None:
        self.vcpus: Mapping[int, int] = {}  # thread ids by index, in QEMU's pid namespace
        self.iothreads: Mapping[str, int] = {}  # thread ids by the id of the IOThread
        self.mounts = False  # the mount table is to be read once


HOST_WANTS = Slice(HostWants)
