"""An entry of `listen` -> whether the exporter listens there or what keeps it from that, and which QEMUs are there."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from qmp_exporter.config import Listener
from qmp_exporter.diagnose.access import ENTER, WRITE, User, barrier, can_ask, may, walk
from qmp_exporter.diagnose.arguments import QMP
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Ends, Host, Process
from qmp_exporter.runtime.own_socket import gid_of

RUNTIME_DIRECTORY = "/run/qmp-exporter"  # which the unit that is shipped makes when it starts


def examine_listener(listener: Listener, host: Host, user: User) -> Finding:
    """Nothing is connected to: the QEMUs' arguments and the kernel tell enough.  `user`: of the exporter."""
    dialling = {process: use for process, use in host.users(listener.socket) if not use.listens}
    ends = host.ends(listener.socket)
    connected = {client for client in ends.clients if client}
    seen = [f"connected: {process}" for process in sorted(connected)]
    seen += ["connected: a process that only root may see"] * ends.clients.count(None)
    absent = [process for process in dialling if process.pid not in {client.pid for client in connected}]
    if not ends.listening or _somebody_else(ends):
        seen += [f"waits: {process}" for process in absent]
        return _deaf(listener, host, user, tuple(seen))
    known = {process: use for process, use in dialling.items() if use.purpose is not None}
    wrong = [f"{process} has {use.purpose} there." for process, use in known.items() if use.purpose != QMP]
    if wrong or (absent and None not in ends.clients):
        for process in absent:
            seen += [f"not connected: {process}", *_kept_out(process, listener.socket, host)]
        fix = (
            "A `mode` and a `group` of the entry let QEMU's user connect; the exporter's log says whom it turned away.",
        )
        return Finding(listener.socket, "denied", "Not every QEMU that dials in is let in.", (*wrong, *seen), fix)
    return Finding(listener.socket, "good", f"VMs that have dialled in: {len(ends.clients)}.", tuple(seen))


def _deaf(listener: Listener, host: Host, user: User, seen: tuple[str, ...]) -> Finding:
    why = tuple(f"It cannot: {text}." for certain, text in obstacles(listener, host, user) if certain)
    start = ("Start it, or let it read its configuration again:", "  systemctl reload-or-restart qmp-exporter")
    fix = ("Fix that, or the entry of `listen`; the exporter tries again every 5 seconds.",) if why else start
    return Finding(listener.socket, "refused", "The exporter does not listen here.", (*why, *seen), fix)


def _kept_out(process: Process, socket: str, host: Host) -> Iterator[str]:
    user = host.user_of(process)
    closed = barrier(walk(socket).components, user) if user else None
    if closed:
        yield f"{closed}: {process.user} may not {'enter (x)' if closed.is_directory else 'connect (w)'}."


# --- what keeps the exporter from listening


def obstacles(listener: Listener, host: Host, user: User) -> Iterator[tuple[bool, str]]:
    """Each with whether it is certain, as far as can be seen without making the socket.  `user`: of the exporter."""
    ends = host.ends(listener.socket)
    if any(process.is_exporter for process in ends.listeners):
        return
    yield from _of_the_group(listener.group, host, user)
    if somebody := _somebody_else(ends):
        yield True, f"{somebody} listens there"
    elif ends.listening and host.exporter is None:
        yield False, "a process that only root may see listens there"
    else:
        yield from _of_the_path(listener.socket, host, user)


def _somebody_else(ends: Ends) -> Process | None:
    """Who listens there and is no exporter, as far as this user may see."""
    listening = ends.listeners if ends.listening and not any(one.is_exporter for one in ends.listeners) else ()
    return next(iter(listening), None)


def _of_the_group(group: str, host: Host, user: User) -> Iterator[tuple[bool, str]]:
    if not group:
        return
    try:
        gid = gid_of(group)
    except OSError as error:
        yield True, str(error.strerror)
        return
    if user.uid and gid not in user.groups:
        member = f"SupplementaryGroups={group} in a drop-in of the unit makes it one"
        yield host.exporter is not None, f"{user.name}, {user.of}, is no member of the group {group} ({member})"


def _of_the_path(socket: str, host: Host, user: User) -> Iterator[tuple[bool, str]]:
    path = Path(socket)
    way = walk(str(path.parent))
    if way.error == errno.ENOENT:
        made = str(path.parent) == RUNTIME_DIRECTORY and host.exporter is None
        yield not made, f"there is no directory {path.parent}" + (", which the unit makes when it starts" * made)
        return
    if way.error or not way.components[-1].is_directory:
        denied = way.error == errno.EACCES
        yield not denied, f"{way.ended_at} " + ("may not be looked at" if denied else "is no directory")
        return
    if closed := barrier(way.components[:-1], user):
        yield True, f"{closed}: {user.name}, {user.of}, may not enter (x)"
    elif _is_read_only(path.parent, host):
        writable = f"ReadWritePaths={path.parent} in a drop-in of the unit lets it write there"
        yield True, f"{path.parent} is read-only for the exporter ({writable})"
    elif can_ask(user) and not may(user, str(path.parent), WRITE | ENTER):
        yield True, f"{way.components[-1]}: {user.name}, {user.of}, may not make a socket in it (w and x)"
    if os.path.lexists(path) and (path.is_symlink() or not path.is_socket()):
        yield True, f"{path} is there and is no socket"


def _is_read_only(directory: Path, host: Host) -> bool:
    """As the exporter sees it, where it runs and we may look: its unit has a view of the file system of its own."""
    inside = Path(f"/proc/{host.exporter.pid}/root{directory}") if host.exporter else directory
    try:
        return bool(os.statvfs(inside).f_flag & os.ST_RDONLY)
    except OSError:
        return False
