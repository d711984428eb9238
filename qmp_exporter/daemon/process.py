"""The pid behind a monitor and the thread ids of its vCPUs -> what the host's kernel says of them."""

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

import psutil

from qmp_exporter.core.process import ProcessInfo, VcpuInfo


def peer_pid(monitor: socket.socket) -> int | None:
    """The process that made the socket (unix(7), SO_PEERCRED): QEMU, where it listens itself; None over TCP."""
    if monitor.family != socket.AF_UNIX:
        return None
    credentials = monitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


def read_process(pid: int, threads: Mapping[int, int]) -> ProcessInfo | None:
    """`threads`: thread id by vCPU index.

    None where the process is not on this host or not readable, or is not the VM's: whoever passes a listening socket
    to QEMU is its peer, too, and in another pid namespace the number is somebody else's.  A vCPU's thread tells.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            resident = process.memory_info().rss
            by_thread = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
    except (psutil.Error, OSError):
        return None
    if not by_thread.keys() & set(threads.values()):
        return None
    vcpus = {
        index: VcpuInfo(by_thread[thread], _run_delay(pid, thread))
        for index, thread in threads.items()
        if thread in by_thread
    }
    return ProcessInfo(times.user + times.system, resident, _open_fds(process), vcpus)


def _open_fds(process: psutil.Process) -> int | None:
    """None for another user's process, whose descriptors may not be listed."""
    try:
        count: int = process.num_fds()
    except (psutil.Error, OSError):
        return None
    return count


def _run_delay(pid: int, thread: int) -> float | None:
    """Seconds that a thread was ready and waited for a CPU (proc(5), schedstat): steal, as the guest feels it."""
    try:
        text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii")
        return int(text.split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
