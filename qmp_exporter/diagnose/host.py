"""The host at one moment -> the processes at both ends of a socket, and the monitors that its QEMUs have."""

import contextlib
import ipaddress
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil

from qmp_exporter.daemon.monitor.link import address
from qmp_exporter.diagnose.access import User, current_user, user_named
from qmp_exporter.diagnose.arguments import Use, uses, vm_name
from qmp_exporter.diagnose.sockdiag import File, UnixSocket, file_of, unix_sockets
from qmp_exporter.diagnose.watching import unanswered

CHECKS = 5  # in one second, at a process that may wait for storage
SERVICE_USER = "qmp-exporter"  # of the unit that is shipped
_QEMU = re.compile(
    r"qemu|kvm"
)  # qemu-system-x86_64, qemu-kvm, kvm, qemu-storage-daemon; "qemu:web01" with debug-threads


class Process(NamedTuple):
    pid: int
    name: str
    user: str
    argv: tuple[str, ...] = ()
    status: str = ""  # psutil's word: "stopped", "disk-sleep" ...

    def __str__(self) -> str:
        """`pid 812 (python3 poll.py), user root`, with no more of its arguments than a line has room for."""
        program, *arguments = self.argv or (self.name,)
        words = " ".join((os.path.basename(program), *arguments))  # noqa: PTH119  a name, not a path
        shown = vm_name(self.argv) and f"{self.name}, VM {vm_name(self.argv)}"
        return f"pid {self.pid} ({shown or _short(words)}), user {self.user}"

    @property
    def is_qemu(self) -> bool:
        return bool(self.argv) and _QEMU.search(os.path.basename(self.argv[0])) is not None  # noqa: PTH119  as above

    @property
    def is_exporter(self) -> bool:
        """A qmp-exporter that watches, and does not only look, as this one does."""
        names = {os.path.basename(word) for word in self.argv[:3]}  # noqa: PTH119  as above
        watches = any(word.startswith(("--config.file", "demo")) for word in self.argv)
        return watches and bool(names & {"qmp-exporter", "qmp_exporter"})

    @property
    def is_manager(self) -> bool:
        """Something that VMs are run by, and that nobody should be told to kill."""
        return any(word in self.name for word in ("libvirt", "virtqemud", "incus", "lxd", "pve", "qmeventd", "ganeti"))


def _in_disk_sleep(pids: Iterable[int]) -> set[int]:
    """Those of them that are in state D now."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            if psutil.Process(pid).status() == psutil.STATUS_DISK_SLEEP:
                found.add(pid)
    return found


class Ends(NamedTuple):
    """Who is at a socket.  None: there is somebody whom the kernel does not show to this user.

    `listening`: None where that cannot be known.
    """

    listening: bool | None
    listeners: tuple[Process, ...] = ()
    clients: tuple[Process | None, ...] = ()
    waiting: tuple[Process | None, ...] = ()


UNKNOWN = Ends(None)


class Host:
    """Everything is read once, when it is first asked for: some 0.3 s with 2,000 VMs."""

    def ends(self, target: str) -> Ends:
        """`target`: a socket as it stands in the configuration."""
        return self._tcp_ends(target) if target.startswith("tcp:") else self._unix_ends(target)

    def process(self, pid: int) -> Process | None:
        """None if there is none."""
        try:
            one = psutil.Process(pid)
            with one.oneshot():
                return Process(pid, one.name(), one.username(), tuple(_argv(one)), one.status())
        except (psutil.Error, OSError, KeyError):
            return None

    def users(self, socket: str) -> list[tuple[Process, Use]]:
        """The QEMUs whose arguments name a socket, and what for."""
        file = file_of(socket)
        return (self._uses_by_file.get(file, []) if file else []) or self._uses.get(socket, [])

    @cached_property
    def _uses(self) -> dict[str, list[tuple[Process, Use]]]:
        by_socket: dict[str, list[tuple[Process, Use]]] = defaultdict(list)
        for qemu in self.qemus:
            for use in uses(qemu.argv):
                by_socket[use.socket].append((qemu, use))
        return by_socket

    @cached_property
    def _uses_by_file(self) -> dict[File, list[tuple[Process, Use]]]:
        """The same by the file, which QEMU may call by another path: relative, through a link, in a chroot."""
        by_file: dict[File, list[tuple[Process, Use]]] = defaultdict(list)
        for users in self._uses.values():
            for qemu, use in users:
                base = f"/proc/{qemu.pid}/{'root' if use.socket.startswith('/') else 'cwd'}"
                if file := file_of(f"{base}/{use.socket}"):
                    by_file[file].append((qemu, use))
        return by_file

    @cached_property
    def qemus(self) -> tuple[Process, ...]:
        return tuple(process for process in self._processes if process.is_qemu)

    @cached_property
    def wait_for_storage(self) -> frozenset[int]:
        """The processes in state D that still are a second later: for a moment each is when it reads a disk itself.

        All at once, since a storage that hangs has them all.
        """
        waiting = {process.pid for process in self._processes if process.status == psutil.STATUS_DISK_SLEEP}
        for _ in range(CHECKS if waiting else 0):
            time.sleep(1.0 / CHECKS)
            waiting = _in_disk_sleep(waiting)
        return frozenset(waiting)

    def unanswered(self, exporter: Process, socket: str) -> float | None:
        """For how many seconds that exporter has had no answer on a monitor, as far as it tells; None: it has one."""
        if exporter.pid not in self._unanswered:
            self._unanswered[exporter.pid] = unanswered(exporter.pid)
        return self._unanswered[exporter.pid].get(socket)

    @cached_property
    def _unanswered(self) -> dict[int, dict[str, float]]:
        return {}

    @cached_property
    def exporter(self) -> Process | None:
        """The daemon, if it runs."""
        return next((process for process in self._processes if process.is_exporter and _is_of_this_host(process)), None)

    def exporters_user(self, name: str = "") -> User:
        """Whose rights matter: those of the named user, of the running daemon, of the unit's user, or ours.

        :raise KeyError: there is no user of that name.
        """
        if name:
            return user_named(name, "as --user says")
        if self.exporter is not None and (user := _user_of(self.exporter)):
            return user
        try:
            return user_named(SERVICE_USER, "the user of the unit that is shipped")
        except KeyError:
            return current_user()

    def user_of(self, process: Process) -> User | None:
        """None if the process has ended."""
        return _user_of(process)

    # --- unix sockets

    def _unix_ends(self, target: str) -> Ends:
        if self._unix is None:
            return UNKNOWN
        bound = self._bound(target)
        listeners = {pid for one in bound if one.listening for pid in self._holders(one.inode)}
        named = (process for process, use in self.users(target) if use.listens)
        seen = tuple(filter(None, map(self.process, sorted(listeners)))) or tuple(named)
        served = [one.peer for one in bound if one.peer]
        waiting = [client for one in bound for client in one.waiting]
        return Ends(any(one.listening for one in bound), seen, self._clients(served), self._clients(waiting))

    def _bound(self, target: str) -> list[UnixSocket]:
        """By the file, whatever path it was bound by; by the name alone where the file may not be looked at.

        btrfs and overlayfs tell us other devices than the kernel has inside: there it takes the name and the inode.
        """
        named = self._by_name.get(target, []) or self._by_name.get(os.path.realpath(target), [])
        file = file_of(target)
        if file is None:
            return named
        return self._by_file.get(file, []) or [one for one in named if one.file and one.file.inode == file.inode]

    def _clients(self, inodes: list[int]) -> tuple[Process | None, ...]:
        clients: list[Process | None] = []
        for inode in inodes:
            pids = self._holders(inode)
            clients += [self.process(pid) for pid in pids] or [None]
        return tuple(clients)

    def _holders(self, inode: int) -> list[int]:
        return self._pids.get(inode, [])

    @cached_property
    def _by_file(self) -> dict[File, list[UnixSocket]]:
        by_file: dict[File, list[UnixSocket]] = defaultdict(list)
        for one in self._unix or ():
            if one.file:
                by_file[one.file].append(one)
        return by_file

    @cached_property
    def _by_name(self) -> dict[str, list[UnixSocket]]:
        by_name: dict[str, list[UnixSocket]] = defaultdict(list)
        for one in self._unix or ():
            by_name[one.name].append(one)
        return by_name

    @cached_property
    def _unix(self) -> tuple[UnixSocket, ...] | None:
        try:
            return unix_sockets()
        except OSError:
            return None

    @cached_property
    def _pids(self) -> dict[int, list[int]]:
        """Socket inode -> the processes that have it open, as far as they may be looked at."""
        pids: dict[int, list[int]] = defaultdict(list)
        for pid in psutil.pids():
            try:
                files = os.scandir(f"/proc/{pid}/fd")
            except OSError:
                continue
            with files:
                for file in files:
                    inode = _socket_inode(file.path)
                    if inode is not None and pid not in pids[inode]:
                        pids[inode].append(pid)
        return pids

    @cached_property
    def _processes(self) -> tuple[Process, ...]:
        return tuple(filter(None, (self.process(pid) for pid in psutil.pids())))

    # --- TCP

    def _tcp_ends(self, target: str) -> Ends:
        """Of a loopback address; what is on another host is not seen from here."""
        if not on_loopback(target):
            return UNKNOWN
        _, port = _host_and_port(target)
        ours = [one for one in self._tcp if one.laddr and one.laddr.port == port]
        listening = any(one.status == psutil.CONN_LISTEN for one in ours)
        served = {one.raddr.port for one in ours if one.status == psutil.CONN_ESTABLISHED and one.raddr}
        clients = [one.pid for one in self._tcp if one.laddr and one.laddr.port in served and one.raddr.port == port]
        listeners = {one.pid for one in ours if one.status == psutil.CONN_LISTEN and one.pid}
        return Ends(
            listening,
            tuple(filter(None, map(self.process, sorted(listeners)))),
            tuple(self.process(pid) if pid else None for pid in clients),
        )

    @cached_property
    def _tcp(self) -> list[Any]:
        try:
            return psutil.net_connections("tcp")
        except (psutil.Error, OSError):
            return []


def on_loopback(target: str) -> bool:
    """A tcp: target that only this host can reach."""
    host, _ = _host_and_port(target)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_and_port(target: str) -> tuple[str, int]:
    return cast("tuple[str, int]", address(target))


def _argv(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.Error, OSError):
        return []


def _socket_inode(link: str) -> int | None:
    try:
        match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))  # noqa: PTH115  a Path for each of 100,000 is slow
    except OSError:
        return None
    return int(match[1]) if match else None


def _user_of(process: Process) -> User | None:
    """With the groups that the process really has: a drop-in of its unit may have added some."""
    try:
        one = psutil.Process(process.pid)
        groups_of = frozenset({one.gids().effective, *_status(process, "Groups")})
        return User(
            process.user, one.uids().effective, one.gids().effective, groups_of, f"as it runs, pid {process.pid}"
        )
    except (psutil.Error, OSError):
        return None


def _is_of_this_host(process: Process) -> bool:
    """Not one of a container, whose users are others."""
    try:
        return len(_status(process, "NSpid")) == 1
    except OSError:
        return False


def _status(process: Process, field: str) -> list[int]:
    """The numbers in a line of /proc/PID/status."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
    match = re.search(rf"^{field}:(.*)$", text, re.MULTILINE)
    return [int(number) for number in match[1].split()] if match else []


def _short(text: str) -> str:
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean if len(clean) <= 60 else clean[:59] + "…"
