"""A configuration -> its targets now, what in it does not work (errors), and what may be in the way of a VM (warnings).

An error stays until somebody fixes a file or this host: the exporter leaves out what it is about and goes on. A warning
may be right, as for a VM that is off.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from qmp_exporter.config import Config, Target
from qmp_exporter.daemon.targets import discovery
from qmp_exporter.daemon.targets.reconciler import KNOWN
from qmp_exporter.daemon.targets.source_poller import ScanResult
from qmp_exporter.daemon.targets.sources import DISCOVER, FILES, STATIC, Sources
from qmp_exporter.daemon.targets.target_files import TargetFiles
from qmp_exporter.diagnose import libvirt
from qmp_exporter.diagnose.access import READ, User, barrier, can_ask, may, walk
from qmp_exporter.diagnose.dial_in import obstacles
from qmp_exporter.diagnose.preflight import View


class Found(NamedTuple):
    """Each error and warning begins with the file that it is about."""

    targets: Sequence[Target]
    errors: Sequence[str]
    warnings: Sequence[str]


class Written(NamedTuple):
    """A target that stands in a file."""

    file: str
    target: Target


def find(config: Config, file: str, view: View) -> Found:
    """`file`: in which the configuration stands."""
    files = TargetFiles(KNOWN)
    seen, warnings = _looked(lambda: files.scan(config.files, config.defaults))
    errors = [why for _, reason, why in seen.refused if reason == "mistake"]
    warnings += [f"{path}: {why}" for path, reason, why in seen.refused if reason != "mistake"]
    errors += [line for path in files.by_file if (line := _closed(path, view.user))]
    written = [Written(file, target) for target in config.vms]
    written += [Written(path, target) for path, targets in files.by_file.items() for target in targets]
    errors += _repeated(written)
    discovered, more = _discovered(config, seen.targets)
    warnings += more
    targets = [*(one.target for one in written), *discovered]
    for certain, line in (*_of_listeners(config, targets, view), *_of_daemons(config, view)):
        (errors if certain else warnings).append(f"{file}: {line}" if certain else line)
    return Found(targets, errors, [f"{file}: warning: {line}" for line in warnings])


def _looked(scan: Callable[[], ScanResult]) -> tuple[ScanResult, list[str]]:
    try:
        return scan(), []
    except OSError as error:
        return ScanResult((), ()), [f"{error.filename}: {error.strerror}"]


def _closed(path: str, user: User) -> str:
    """Why the exporter cannot read a file of targets, which the one who runs this can; empty if it can."""
    way = walk(path)
    if way.error or not can_ask(user):
        return ""
    *directories, found = way.components
    closed = barrier(tuple(directories), user) or (None if may(user, path, READ) else found)
    return f"{path}: {closed}: {user.name}, {user.of}, may not read it" if closed else ""


def _repeated(written: Iterable[Written]) -> Iterator[str]:
    """What stands twice; within one list the configuration has refused it already, unless links are in between."""
    names: dict[str, Written] = {}
    sockets: dict[str, Written] = {}
    for one in written:
        file, target = one
        named, held = names.setdefault(target.name, one), sockets.setdefault(_real(target.socket), one)
        if named is not one:
            yield f'{file}: found the name "{target.name}" as in {named.file}, wanted a name of its own for every VM'
        elif held is not one:
            what = f'{file}: {target.name}: found the socket {target.socket}, which "{held.target.name}"'
            yield f"{what} in {held.file} has, wanted a monitor of its own for every VM: it serves one client"


def _real(socket: str) -> str:
    """/run and /var/run are one directory."""
    return os.path.realpath(socket) if socket.startswith("/") else socket


def _discovered(config: Config, of_files: Sequence[Target]) -> tuple[list[Target], list[str]]:
    """What is found now, and what of it is no target or is not watched."""
    sources = Sources()
    sources.want(STATIC, config.vms, 0.0, 0.0)
    sources.want(FILES, of_files, 0.0, 0.0)
    found: list[Target] = []
    warnings: list[str] = []
    for entry in config.discover:
        seen, more = _looked(partial(discovery.scan, entry))
        warnings += [*more, *(f"{path}: no target: {why}" for path, _, why in seen.refused)]
        sources.want(discovery.discovered(entry), seen.targets, 0.0, 0.0)
        found += seen.targets
    for source, target, same, other in sources.collisions:
        if source.rank == DISCOVER:
            warnings.append(
                f"{target.name}: {target.socket} is not watched: it has the same {same} as {other.name}, {other.socket}"
            )
    return found, warnings


def _of_listeners(config: Config, targets: Sequence[Target], view: View) -> Iterator[tuple[bool, str]]:
    """What keeps the exporter from listening where VMs dial in, and whether that is certain."""
    at: dict[str, str] = {}
    for listener in config.listen:
        where = f"listen {listener.socket}"
        if at.setdefault(_real(listener.socket), listener.socket) != listener.socket:
            yield True, f"{where}: found the socket {at[_real(listener.socket)]} by another path, wanted one of its own"
        for certain, why in obstacles(listener, view.host, view.user):
            yield certain, f"{where}: {why}"
    for target in targets:
        if _real(target.socket) in at:
            yield True, f"{target.name}: found {target.socket}, where the exporter listens, wanted a monitor of a VM"


def _of_daemons(config: Config, view: View) -> Iterator[tuple[bool, str]]:
    """What keeps the exporter from hearing the domains of a libvirt, and whether that is certain."""
    for daemon in config.libvirt:
        for certain, why in libvirt.obstacles(daemon, view.host, view.user):
            yield certain, f"libvirt {daemon.socket or daemon.uri}: {why}"
