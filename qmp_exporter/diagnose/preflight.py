"""A target -> what is wrong with it as far as can be seen without connecting, and what is unwise about it."""

import contextlib
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import psutil

from qmp_exporter.config import Target
from qmp_exporter.daemon.monitor.managed_sockets import ONLY_VISIT, instance, managing_tool
from qmp_exporter.daemon.monitor.ownership import wrong_owner
from qmp_exporter.diagnose.access import Component, User, Walk, barrier, current_user, fixes, open_to_all, walk
from qmp_exporter.diagnose.arguments import PRETTY, QMP, Use, uses, vm_name
from qmp_exporter.diagnose.attach import without_a_restart
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.fixes import second_monitor
from qmp_exporter.diagnose.host import Ends, Host, Process, on_loopback

_HIDDEN = ("/tmp/", "/var/tmp/", "/home/", "/root/")  # noqa: S108  what PrivateTmp and ProtectHome hide from the service
STOPPED = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})
_MANY = 5  # of a kind, in a list for a person
_WORLD = "anybody on this host may connect, and so control the VM"
_MISTAKE = "Look for a mistake in the path."


class View(NamedTuple):
    """From where it is looked at: this host now, and the user whose rights count."""

    host: Host
    user: User


def preflight(target: Target, view: View, *, connecting: bool = False) -> Finding | None:
    """None: the way to the socket is free, and nobody is there already.  `connecting`: for us, too."""
    manager = managing_tool(target.socket)
    if manager and not (target.allow_shared_monitor or (target.visit and manager in ONLY_VISIT)):
        return _foreign(target, manager, view)
    if target.socket.startswith("/"):
        users = (view.user, current_user()) if connecting else (view.user,)
        if finding := _look_along(target, view, users):
            return finding
        if why := wrong_owner(target.socket, target.owner):
            return _not_qemus(target, why)
    ends = view.host.ends(target.socket)
    if ends.clients:
        return held(target, ends, view)
    for process, use in view.host.users(target.socket):
        if use.purpose is not None and use.purpose != QMP:
            return wrong_use(target, process, use)
    return None


def nobody(target: Target, view: View) -> Finding | None:
    """Where no process listens at the socket, as far as the kernel tells: in another network namespace one may."""
    return stale(target, view) if view.host.ends(target.socket).listening is False else None


def unwise(target: Target) -> Iterator[str]:
    """What works, and should not be left as it is."""
    if target.socket.startswith("tcp:") and not on_loopback(target.socket):
        yield "a monitor on TCP knows no password: anyone who reaches that port controls the VM; use a unix socket"
    elif target.socket.startswith("@"):
        yield f"an abstract socket has no permissions: {_WORLD}; use a path"
    elif target.socket.startswith("/"):
        way = walk(target.socket)
        if way.leads_to_a_socket and open_to_all(way.components):
            yield f"{way.components[-1]}: {_WORLD}; put it into a directory of mode 2770"
        if target.socket.startswith(_HIDDEN):
            yield "the unit that is shipped cannot see it (PrivateTmp, ProtectHome); use /run/qmp"


def _foreign(target: Target, manager: str, view: View) -> Finding:
    called = _called_by(manager, target, view)
    return Finding(
        target.socket,
        "foreign",
        f"This is {manager}'s own monitor, which serves one client only: it is left alone.",
        (f"{manager} keeps its monitors at such paths, and needs them.",),
        (
            "Give the VM another monitor, at its next cold start.",
            *second_monitor(called, manager),
            *without_a_restart(called, manager),
        ),
    )


def _called_by(manager: str, target: Target, view: View) -> str:
    """What the manager's own commands call the VM.  libvirt shortens a long name in the path, and tells it to QEMU."""
    names = [instance(target.socket), _named_by_arguments(target, view)]
    if manager == "libvirt":
        names.reverse()
    return next(filter(None, names), target.name)


def _not_qemus(target: Target, why: str) -> Finding:
    return Finding(
        target.socket,
        "denied",
        "The socket is not of the user whom the configuration names as its owner.",
        (f"{target.socket}: {why}.",),
        (
            "If QEMU runs as that user, write so in `owner` of the entry of `discover`.",
            "If not, somebody may pretend to be a VM: look who made it.",
        ),
    )


# --- the way to the socket


def _look_along(target: Target, view: View, users: tuple[User, ...]) -> Finding | None:
    way = walk(target.socket)
    if way.error == errno.EACCES:
        return _denied(target, way.components[-1], current_user(), view)
    if way.error == errno.ENOENT:
        return _missing(target, way, view)
    seen = tuple(str(component) for component in way.components[-1:])
    if way.error:
        word = errno.errorcode.get(way.error, str(way.error))
        return Finding(target.socket, "refused", f"{way.ended_at} is in the way ({word}).", seen, (_MISTAKE,))
    if not way.leads_to_a_socket:
        inside = _sockets_in(target.socket) if way.components[-1].is_directory else ()
        return Finding(target.socket, "refused", "What is there is no socket.", (*seen, *inside), (_MISTAKE,))
    for user in users:
        if closed := barrier(way.components, user):
            return _denied(target, closed, user, view)
    return None


def _sockets_in(directory: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        sockets = sorted(str(path) for path in Path(directory).iterdir() if path.is_socket())
        yield from (f"Sockets in it: {', '.join(sockets[:_MANY])}" for _ in sockets[:1])


def _missing(target: Target, way: Walk, view: View) -> Finding:
    if way.is_parent_missing:
        return Finding(
            target.socket,
            "missing",
            f"The directory {way.ended_at} does not exist.",
            (*(str(component) for component in way.components[-1:]), *_runs_here(target, view.host)),
            (
                "QEMU makes its socket, not the directory. deploy/systemd/tmpfiles.conf makes /run/qmp:",
                "  systemd-tmpfiles --create",
            ),
        )
    closed = barrier(way.components, view.user)
    shut = (f"{closed}: {view.user.name} may not enter (x).",) if closed else ()
    return Finding(
        target.socket,
        "missing",
        "There is no such socket.",
        (str(way.components[-1]), *shut, *_runs_here(target, view.host)),
        (
            *(fixes(closed, view.user) if closed else ()),
            "If the VM is off, nothing is wrong: QEMU makes the socket when it starts.",
            "If it runs, it has no monitor at this path.",
            *second_monitor(target.name, path=target.socket),
        ),
    )


def _denied(target: Target, closed: Component, user: User, view: View) -> Finding:
    seen = [f"{closed}: {user.name} may not {'enter (x)' if closed.is_directory else 'connect (w)'}."]
    if user.uid != view.user.uid:
        seen.append(f"The exporter runs as {view.user.name}, which is another matter.")
        again = f"  sudo qmp-exporter diagnose {quote(target.socket)}"
        return Finding(
            target.socket, "denied", f"You are {user.name}, who may not connect.", tuple(seen), ("As root:", again)
        )
    seen.append(f"{user.name} ({user.of}) has uid {user.uid}, groups {', '.join(map(str, sorted(user.groups)))}.")
    return Finding(
        target.socket, "denied", f"The user {user.name} may not connect.", tuple(seen), tuple(fixes(closed, user))
    )


def _runs_here(target: Target, host: Host) -> Iterator[str]:
    """Whether a QEMU of that name runs, and where it has its monitors: the path may be a mistake."""
    qemus = [process for process in host.qemus if vm_name(process.argv) == target.name]
    for process in qemus:
        monitors = [use.socket for use in uses(process.argv) if use.purpose == QMP and use.listens]
        yield f"But it runs: {process}. Its QMP monitors: {', '.join(monitors) or 'none'}."
    if not qemus:
        yield f"No QEMU that runs here is called {target.name} (-name)."


# --- who is at it


def called(target: Target, view: View) -> str:
    """What QEMU calls the VM, or else what the target is called."""
    return _named_by_arguments(target, view) or target.name


def _named_by_arguments(target: Target, view: View) -> str:
    """What -name says to the process that listens; empty where that is not known."""
    users = [process for process, use in view.host.users(target.socket) if use.listens]
    names = (vm_name(process.argv) for process in (*users, *view.host.ends(target.socket).listeners))
    return next(filter(None, names), "")


def held(target: Target, ends: Ends, view: View) -> Finding:
    """Somebody is served already."""
    holders = [f"held by {client}" if client else "held by a process that only root may see" for client in ends.clients]
    seen = (*holders, *(f"listening: {process}" for process in ends.listeners), *_waiting(ends))
    known = [client for client in ends.clients if client]
    process = str(ends.listeners[0]) if ends.listeners else ""
    if known and all(client.is_exporter for client in known):
        seconds = view.host.unanswered(known[0], target.socket)
        no_answer = f"The exporter has had no answer for {seconds:.0f} s." if seconds is not None else ""
        if silent := silence(ends.listeners, view.host) or no_answer:
            return _hung(target, ends, (*seen, silent))
        return Finding(target.socket, "watched", f"The exporter is connected: {known[0]}.", seen, process=process)
    fix = [
        "A monitor serves one client. Give the VM one more, for the exporter, at its next cold start:",
        *second_monitor(f"{called(target, view)}-exporter")[1:],
    ]
    if not known:
        fix = ["Look who it is:", f"  sudo qmp-exporter diagnose {quote(target.socket)}", *fix]
    elif not any(client.is_manager for client in known):
        fix += ["Or, if that client is not needed, stop what it belongs to:", f"  systemctl status {known[0].pid}"]
    return Finding(target.socket, "busy", "Another client holds the monitor.", seen, tuple(fix), process=process)


def _waiting(ends: Ends) -> Iterator[str]:
    for client in ends.waiting:
        yield f"waiting for it: {client or 'a process that only root may see'}"


def silence(listeners: Iterable[Process], host: Host) -> str:
    """What the kernel says of the process that listens, where that explains that it does not answer; or nothing."""
    for process in listeners:
        if process.status in STOPPED:
            return f"{process} is stopped by a signal."
        if process.pid in host.wait_for_storage:
            return f"{process} waits for storage (state D)."
    return ""


def _hung(target: Target, ends: Ends, seen: tuple[str, ...]) -> Finding:
    return Finding(
        target.socket,
        "hung",
        "The exporter is connected, and QEMU does not answer.",
        seen,
        going_on(ends.listeners),
        process=str(ends.listeners[0]) if ends.listeners else "",
    )


def going_on(listeners: Iterable[Process]) -> tuple[str, ...]:
    stopped = [str(process.pid) for process in listeners if process.is_qemu and process.status in STOPPED]
    if stopped:
        return ("Anyone who stopped it may have a reason. To let it go on:", f"  kill -CONT {' '.join(stopped)}")
    return (
        "Look whether the storage of its disks answers, and whether a thread of it waits for that (D):",
        f"  ps -L -o pid,tid,stat,wchan:30,comm -p {next((str(one.pid) for one in listeners), 'PID')}",
    )


def stale(target: Target, view: View) -> Finding:
    """Nobody listens."""
    seen = ["No process listens at it."]
    if target.socket.startswith("/"):
        seen = ["A socket file stays when its QEMU is killed; no process listens behind this one."]
    return Finding(
        target.socket,
        "refused",
        "Nobody listens at the socket.",
        (*seen, *_runs_here(target, view.host)),
        (
            "If the VM is off, nothing is wrong: at its next start QEMU makes the socket again.",
            "If it runs under another name, its arguments tell where its monitor is:",
            f"  pgrep --list-full --full {quote(f'qemu.*{target.name}')}",
        ),
    )


def wrong_use(target: Target, process: Process, use: Use) -> Finding:
    """QEMU's own arguments say that this is no monitor that can be spoken to."""
    free = [other.socket for other in uses(process.argv) if other.purpose == QMP and not managing_tool(other.socket)]
    if use.purpose == PRETTY:
        fix = ["Take pretty=on away from its -mon (or write -qmp, not -qmp-pretty), at the next cold start."]
    elif free:
        fix = ["Its QMP monitors, of which one may be the exporter's:", *(f"  {one}" for one in free[:_MANY])]
    else:
        fix = [*second_monitor(vm_name(process.argv) or target.name)]
    return Finding(
        target.socket,
        "error",
        f"This is {use.purpose}, not a plain QMP monitor. It was not connected to.",
        (f"The arguments of {process} say so.",),
        tuple(fix),
    )
