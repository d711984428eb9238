"""An entry of `libvirt` -> whether the exporter hears its domains, or what keeps it from that."""

import asyncio
import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qmp_exporter.config import Libvirt
from qmp_exporter.daemon.libvirt.connection import Connection
from qmp_exporter.daemon.libvirt.daemon_socket import connected, find
from qmp_exporter.daemon.monitor.link import Unreachable, unreachable
from qmp_exporter.diagnose.access import WRITE, User, barrier, can_ask, may, walk
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host

GROUP: Final = "libvirt"  # whom the rule of polkit that Debian and Fedora ship lets in
DROP_IN: Final = (
    "A drop-in of the unit gives the exporter what it needs (docs/quickstart-libvirt.md):",
    "  systemctl edit qmp-exporter",
)
MANY: Final = 10  # names in a list for a person


async def examine_libvirt(entry: Libvirt, host: Host, user: User) -> Finding:
    """It is connected to as the one who asks, nothing is sent to a QEMU.  `user`: of the exporter."""
    where = entry.socket or entry.uri
    why = tuple(f"{line}." for _, line in obstacles(entry, host, user))
    try:
        path = entry.socket or find(entry.uri)
        there = await asyncio.to_thread(connected, path, activate=entry.activate)
        connection = Connection(path, entry.uri, lambda _: None)
        await connection.open(there)
    except (Unreachable, OSError) as error:
        failure = error if isinstance(error, Unreachable) else unreachable(error)
        return Finding(where, failure.state, "Its domains are not heard.", (f"{failure}.", *why), _next(failure.state))
    names = sorted(domain.name for domain in connection.conversation.domains or ())
    await connection.close()
    if why:
        return Finding(where, "denied", "The exporter may not hear its domains.", why, DROP_IN)
    more = f", and {len(names) - MANY} more" if len(names) > MANY else ""
    seen = (f"{', '.join(names[:MANY])}{more}.",) if names else ()
    return Finding(where, "good", f"Domains that run: {len(names)}.", seen)


def _next(state: str) -> tuple[str, ...]:
    if state == "denied":
        return DROP_IN
    return ("Look whether libvirt runs:", "  systemctl status libvirtd virtqemud")


def obstacles(entry: Libvirt, host: Host, user: User) -> Iterator[tuple[bool, str]]:
    """Each with whether it is certain, as far as can be seen without connecting.  `user`: of the exporter."""
    try:
        path = entry.socket or find(entry.uri)
    except OSError as error:
        yield False, f"{error.strerror}: {error.filename}"
        return
    way = walk(path)
    if way.error:
        yield False, f"there is no socket {path}"
        return
    if _is_hidden(path, host):
        yield True, f"the unit hides {os.path.dirname(path)} from the exporter (InaccessiblePaths=)"  # noqa: PTH120  a str as the others
    if closed := barrier(way.components[:-1], user):
        yield True, f"{closed}: {user.name}, {user.of}, may not enter (x)"
    elif can_ask(user) and not may(user, path, WRITE):
        yield True, f"{way.components[-1]}: {user.name}, {user.of}, may not connect (w)"
    elif user.uid and entry.uri.endswith("/system") and not _is_member(user):
        member = f"SupplementaryGroups={GROUP} in a drop-in of the unit makes it one"
        yield host.exporter is not None, f"{user.name}, {user.of}, is no member of the group {GROUP} ({member})"


def _is_member(user: User) -> bool:
    """True where there is no such group: then another rule of polkit says who may."""
    try:
        return grp.getgrnam(GROUP).gr_gid in user.groups
    except KeyError:
        return True


def _is_hidden(path: str, host: Host) -> bool:
    """As the exporter sees it, where it runs and we may look: a path that its unit hides has no permissions at all."""
    if host.exporter is None:
        return False
    inside = Path(f"/proc/{host.exporter.pid}/root{path}").parent
    try:
        return stat.S_IMODE(inside.stat().st_mode) == 0
    except OSError:
        return False
