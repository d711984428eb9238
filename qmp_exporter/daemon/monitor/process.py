"""The pid behind a monitor and the thread ids of its vCPUs -> what the host's kernel says of them."""

import socket
import struct
from collections.abc import Mapping

import psutil

from qmp_exporter.core.process import ProcessInfo, VcpuInfo


def peer_pid(monitor: socket.socket) -> int | None:
    """The process that made the socket (unix(7), SO_PEERCRED): QEMU, where it listens itself; None over TCP."""
    if monitor.family != socket.AF_UNIX:
        return None
    try:
        credentials = monitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:  # it was closed just now
        return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


def started(pid: int) -> float | None:
    """When a process was started, in seconds since the epoch; None where it is gone or not to be seen."""
    try:
        at: float = psutil.Process(pid).create_time()
    except (psutil.Error, OSError):
        return None
    return at


def read_process(pid: int, threads: Mapping[int, int]) -> ProcessInfo | None:
    """`threads`: thread id by vCPU index.

    None where the process is not on this host or not readable, or is not the VM's: who passes a listening socket to
    QEMU is its peer, too, and in another pid namespace the number is somebody else's.  A vCPU's thread tells.
    """
    vcpus = {index: vcpu for index, thread in threads.items() if (vcpu := _vcpu(pid, thread))}
    if not vcpus:
        return None
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        resident = process.memory_info().rss
    except (psutil.Error, OSError):
        return None
    return ProcessInfo(times.user + times.system, resident, _open_fds(process), vcpus)


def _open_fds(process: psutil.Process) -> int | None:
    """None for another user's process, whose descriptors may not be listed."""
    try:
        count: int = process.num_fds()
    except (psutil.Error, OSError):
        return None
    return count


def _vcpu(pid: int, thread: int) -> VcpuInfo | None:
    """proc(5), schedstat: nanoseconds on a CPU, and ready but waiting for one; None where there is no such thread."""
    try:
        with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:  # noqa: PTH123  half the cost of a Path
            running, waiting, _ = file.read().split()
    except (OSError, ValueError):
        return None
    return VcpuInfo(int(running) / 1e9, int(waiting) / 1e9)
