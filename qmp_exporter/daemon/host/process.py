"""The pid behind a monitor and the thread ids of its vCPUs -> what the host's kernel says of them."""

import os
import re
import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

import psutil

from qmp_exporter.core.block_file import parse_mounts
from qmp_exporter.core.process import CgroupInfo, HostWants, InterfaceInfo, Part, ProcessInfo, ThreadInfo
from qmp_exporter.daemon.host.cgroup import mount_point, own_cgroup, read_cgroup
from qmp_exporter.daemon.host.files import content
from qmp_exporter.daemon.host.network import Interface, NetworkReader

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SEEN_AGAIN = 60.0  # seconds, for what may have changed without a word
FOUND_AGAIN = (
    600.0  # seconds between two searches for interfaces that cost a millisecond, where nothing tells of a change
)
SO_PEERSEC: Final = 31  # asm-generic/socket.h; Python's socket has no name for it
MAX_SECURITY_LABEL: Final = 256  # bytes
VHOST = b"vhost-"  # what its threads are called; since Linux 6.4 they are QEMU's own


class PeerProcess(NamedTuple):
    """The process that made a socket (unix(7)), as the kernel tells it: nobody can say it is another's."""

    pid: int | None  # None where it is not in sight of this one
    uid: int
    label: str  # of AppArmor or SELinux (SO_PEERSEC); empty where there is neither


def peer_process(monitor: socket.socket) -> PeerProcess | None:
    """QEMU, where it listens or connects itself; None over TCP."""
    if monitor.family != socket.AF_UNIX:
        return None
    try:
        credentials = monitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:  # it was closed just now
        return None
    pid, uid, _ = struct.unpack("3i", credentials)
    try:
        label = monitor.getsockopt(socket.SOL_SOCKET, SO_PEERSEC, MAX_SECURITY_LABEL)
    except OSError:
        label = b""
    return PeerProcess(pid or None, uid, label.rstrip(b"\0").decode(errors="replace"))


def peer_pid(monitor: socket.socket) -> int | None:
    peer = peer_process(monitor)
    return None if peer is None else peer.pid


def started(pid: int) -> float | None:
    """When a process was started, in seconds since the epoch; None where it is gone or not to be seen."""
    try:
        at: float = psutil.Process(pid).create_time()
    except (psutil.Error, OSError):
        return None
    return at


class ProcessReader:
    """Reads one process again and again: what hardly changes, or must never go back, is remembered.

    `parts`: what is wanted of it.  Times are seconds on a clock that never jumps.
    """

    def __init__(self, pid: int, parts: Iterable[Part | None], network: NetworkReader) -> None:
        self.pid = pid
        self.was_found = False  # for the one who reads
        self._parts = frozenset(parts)
        self._network = network
        self._start_time = started(pid)
        self._has_namespace = len(_ids(content(f"/proc/{pid}/status"))) > 1
        self._tids: dict[int, int] = {}  # by the number in the process' own pid namespace
        self._is_vhost: dict[int, bool] = {}
        self._told: dict[int, ThreadInfo | None] = {}  # by this reading
        self._cpu: dict[int, float] = {}  # seconds of the threads that have a name, by the last reading
        self._gone = 0.0
        self._emulator = 0.0
        self._seen_at = float("-inf")
        self._max_fds: int | None = None
        self._found_at = float("-inf")
        self._fds: int | None = -1  # open when interfaces were searched for last
        self._interfaces: tuple[Interface, ...] = ()
        self._cgroup: str | None = None

    def read(self, wants: HostWants, now: float) -> ProcessInfo | None:
        """None where the process is not on this host or not readable, or is not the VM's.

        Who passes a listening socket to QEMU is its peer, too, and in another pid namespace the number may be somebody
        else's.  A vCPU's thread tells.
        """
        self._told = {}
        vcpus = {index: told for index, thread in wants.vcpus.items() if (told := self._thread(thread))}
        stat = _stat(self.pid)
        if not vcpus or stat is None:
            return None
        open_fds = _open_fds(self.pid)
        self._refresh(now, open_fds)
        info = ProcessInfo(
            cpu_seconds=(int(stat[11]) + int(stat[12])) / TICKS,
            resident_bytes=int(stat[21]) * PAGE,
            open_fds=open_fds,
            vcpus=vcpus,
            start_time=self._start_time,
            threads=int(stat[17]),
            major_faults=int(stat[9]),
            cgroup=self._read_cgroup(),
            interfaces=self._read_network(now),
        )
        if "process" in self._parts:
            swap, hugetlb = _sizes(self.pid)
            info = info._replace(swap_bytes=swap, hugetlb_bytes=hugetlb, max_fds=self._max_fds)
        if "threads" in self._parts:
            info = self._with_threads(info, wants)
        if "mounts" in self._parts and wants.mounts:
            wants.mounts = False
            info = info._replace(mounts=parse_mounts(content(f"/proc/{self.pid}/mountinfo") or b""))
        return info

    def _refresh(self, now: float, open_fds: int | None) -> None:
        """For what is plugged in, which takes descriptors, where the process was moved to, and what its limits are."""
        if now - self._seen_at < SEEN_AGAIN:
            return
        self._seen_at = now
        self._max_fds = _max_fds(self.pid)
        if "network" in self._parts and (open_fds != self._fds or now - self._found_at >= FOUND_AGAIN):
            self._fds, self._found_at = open_fds, now
            self._interfaces = self._network.find(self.pid, now)
        if "cgroup" in self._parts:
            self._cgroup = own_cgroup(self.pid, mount_point())

    def _read_cgroup(self) -> CgroupInfo | None:
        return read_cgroup(self._cgroup) if self._cgroup else None

    def _read_network(self, now: float) -> tuple[InterfaceInfo, ...]:
        return tuple(self._network.read(self.pid, self._interfaces, now)) if self._interfaces else ()

    def _with_threads(self, info: ProcessInfo, wants: HostWants) -> ProcessInfo:
        """The rest of the process is what no thread with a name took."""
        iothreads = {name: told for name, thread in wants.iothreads.items() if (told := self._thread(thread))}
        vhost = {tid: told.cpu_seconds for tid in self._vhost_threads() if (told := self._read_thread(tid))}
        cpu = {tid: told.cpu_seconds for tid, told in self._told.items() if told}
        self._gone += sum(seconds for tid, seconds in self._cpu.items() if tid not in cpu)
        self._cpu = cpu
        self._emulator = max(self._emulator, info.cpu_seconds - sum(cpu.values()) - self._gone)
        return info._replace(
            iothreads=iothreads,
            vhost_cpu_seconds=sum(vhost.values()) if vhost else None,
            emulator_cpu_seconds=self._emulator,
        )

    def _vhost_threads(self) -> list[int]:
        tids = _tids(self.pid)
        self._is_vhost = {tid: known for tid in tids if (known := self._is_vhost.get(tid)) is not None}
        for tid in tids:
            if tid not in self._is_vhost:
                name = content(f"/proc/{self.pid}/task/{tid}/comm") or b""
                self._is_vhost[tid] = name.startswith(VHOST)
        return [tid for tid, is_vhost in self._is_vhost.items() if is_vhost]

    def _thread(self, thread: int) -> ThreadInfo | None:
        tid = self._tid(thread)
        return self._read_thread(tid) if tid else None

    def _read_thread(self, tid: int) -> ThreadInfo | None:
        self._told[tid] = told = _thread(self.pid, tid)
        return told

    def _tid(self, thread: int) -> int | None:
        """The number that we see for the thread that QEMU calls so: not the same where it is in a container."""
        if not self._has_namespace:
            return thread
        if thread not in self._tids:
            statuses = ((tid, content(f"/proc/{self.pid}/task/{tid}/status")) for tid in _tids(self.pid))
            self._tids = {ids[-1]: tid for tid, status in statuses if (ids := _ids(status))}
        return self._tids.get(thread)


def _thread(pid: int, tid: int) -> ThreadInfo | None:
    """proc(5), schedstat: nanoseconds on a CPU, and ready but waiting for one; None where there is no such thread."""
    try:
        running, waiting, _ = (content(f"/proc/{pid}/task/{tid}/schedstat") or b"").split()
        return ThreadInfo(int(running) / 1e9, int(waiting) / 1e9)
    except ValueError:
        return None


def _stat(pid: int) -> list[bytes] | None:
    """proc(5), stat: from the third field on, for the second is a name that may hold anything."""
    fields = (content(f"/proc/{pid}/stat") or b"").rpartition(b")")[2].split()
    return fields if len(fields) > 21 else None


def _sizes(pid: int) -> tuple[int | None, int | None]:
    """proc(5), status: bytes that are swapped out, and of huge pages."""
    status = content(f"/proc/{pid}/status") or b""
    return _kilobytes(status, b"\nVmSwap:"), _kilobytes(status, b"\nHugetlbPages:")


def _kilobytes(status: bytes, name: bytes) -> int | None:
    """Without a regular expression, which would look at every line: this is on the way of each poll of each VM."""
    _, found, rest = status.partition(name)
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else None


def _max_fds(pid: int) -> int | None:
    """proc(5), limits: the soft one; None where it is unlimited."""
    limit = re.search(rb"^Max open files\s+(\d+)", content(f"/proc/{pid}/limits") or b"", re.MULTILINE)
    return int(limit[1]) if limit else None


def _ids(status: bytes | None) -> list[int]:
    """proc(5), NSpid of a status: the number in each pid namespace, from ours to its own."""
    ids = re.search(rb"^NSpid:\s+([\d\s]+?)$", status or b"", re.MULTILINE)
    return [int(one) for one in ids[1].split()] if ids else []


def _open_fds(pid: int) -> int | None:
    """None for another user's process, whose descriptors may not be listed."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  names are enough
    except OSError:
        return None


def _tids(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208  names are enough
    except OSError:
        return []
