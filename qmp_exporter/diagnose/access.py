"""A path and a user -> the first component of the path that keeps the user out, and what would let it in."""

import atexit
import errno
import grp
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from io import BufferedRWPair
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from qmp_exporter.diagnose import as_user

READ, WRITE, ENTER = os.R_OK, os.W_OK, os.X_OK


class User(NamedTuple):
    """`of`: how it is known that this user matters, in words."""

    name: str
    uid: int
    group: int
    groups: frozenset[int]
    of: str


class Component(NamedTuple):
    """A directory on the way to a socket, or the socket."""

    path: str
    mode: int
    owner: int
    group: int
    has_acl: bool = False

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def __str__(self) -> str:
        listed = "+" if self.has_acl else ""
        owner, group = _name_of_user(self.owner), _name_of_group(self.group)
        return f"{self.path} is {stat.filemode(self.mode)}{listed} {owner}:{group}"


class Walk(NamedTuple):
    """The components down to the socket or to where the way ends, and what ended it (an errno; 0: it leads there)."""

    components: tuple[Component, ...]
    ended_at: str
    error: int
    is_parent_missing: bool = False

    @property
    def leads_to_a_socket(self) -> bool:
        return not self.error and stat.S_ISSOCK(self.components[-1].mode)


def walk(path: str) -> Walk:
    """Look at every component of the path as it is when links are followed, which need no rights of their own."""
    real = os.path.realpath(path)
    components: list[Component] = []
    for part in (*(str(parent) for parent in reversed(Path(real).parents)), real):
        try:
            components.append(_component(part))
        except OSError as error:
            missing = error.errno == errno.ENOENT and part != real
            return Walk(tuple(components), part, error.errno or errno.EIO, missing)
        if not components[-1].is_directory and part != real:
            return Walk(tuple(components), part, errno.ENOTDIR)
    return Walk(tuple(components), real, 0)


def barrier(components: tuple[Component, ...], user: User) -> Component | None:
    """The first component that keeps the user out: a directory without x, a socket without w.

    None as well where the kernel cannot be asked; `can_ask` tells.
    """
    if not can_ask(user):
        return None
    for component in components:
        if not may(user, component.path, ENTER if component.is_directory else WRITE):
            return component
    return None


def can_ask(user: User) -> bool:
    """Only root can become another user, to see what the kernel says then."""
    return os.geteuid() in {0, user.uid}


def may(user: User, path: str, wanted: int) -> bool:
    """What the kernel says: it knows access control lists, capabilities and security modules."""
    if user.uid == 0 or os.geteuid() != 0:
        return os.access(path, wanted)
    child = _child(user.uid, user.group, tuple(sorted(user.groups)))
    child.write(json.dumps((wanted, path)).encode() + b"\n")
    child.flush()
    return child.readline() == b"yes\n"


@cache
def _child(uid: int, gid: int, groups: tuple[int, ...]) -> BufferedRWPair:
    """The conversation with a process that has the ids of that user, and ends with this one."""
    ours, its = socket.socketpair()
    command = (sys.executable, "-I", "-S", as_user.__file__, str(uid), str(gid), *map(str, groups))
    with its:
        child = subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno())  # noqa: S603  a file of our own
    atexit.register(child.wait)
    atexit.register(ours.shutdown, socket.SHUT_RDWR)  # the last that is registered is called first
    return ours.makefile("rwb")


def open_to_all(components: tuple[Component, ...]) -> bool:
    """Anyone who has an account on this host may connect."""
    return all(component.mode & (ENTER if component.is_directory else WRITE) for component in components)


def fixes(barrier: Component, user: User) -> Iterator[str]:
    """The commands that let the user in, each after a sentence that says what it does."""
    group = _name_of_group(barrier.group)
    restart = "systemctl restart qmp-exporter"
    path = quote(barrier.path)
    if barrier.is_directory:
        if barrier.mode >> 3 & ENTER and barrier.group != 0:
            yield f"Its group may enter. Make {user.name} a member:"
            yield f"  usermod --append --groups {group} {user.name} && {restart}"
            yield "Or let that user alone pass (setfacl is in the package acl):"
        else:
            yield "Let that user alone pass (setfacl is in the package acl):"
        yield f"  setfacl --modify user:{user.name}:x {path}"
        yield "Best is a directory that is made for it: /run/qmp of deploy/systemd/tmpfiles.conf."
        return
    if barrier.group in user.groups:
        yield f"Until the VM starts again, give its group {group} the right to write, as root:"
        yield f"  chmod g+w {path}"
        yield "For good: UMask=0007 in the unit that starts QEMU, and no -daemonize."
    else:
        yield "Until the VM starts again, let that user connect, as root:"
        yield f"  chgrp {_name_of_group(user.group)} {path} && chmod g+w {path}"
        yield (
            "For good: sockets in a directory with the setgid bit and the group of the exporter, as /run/qmp of "
            "deploy/systemd/tmpfiles.conf. deploy/README.md tells by who starts QEMU."
        )


def user_named(name: str, of: str) -> User:
    """:raise KeyError: there is no such user."""
    entry = pwd.getpwnam(name)
    return User(name, entry.pw_uid, entry.pw_gid, frozenset(os.getgrouplist(name, entry.pw_gid)), of)


def current_user() -> User:
    uid = os.geteuid()
    return User(_name_of_user(uid), uid, os.getegid(), frozenset({os.getegid(), *os.getgroups()}), "who runs this")


def _component(path: str) -> Component:
    found = os.stat(path)  # noqa: PTH116  no Path is needed for it
    return Component(path, found.st_mode, found.st_uid, found.st_gid, _has_acl(path))


def _has_acl(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:  # none, or a file system that has none
        return False


def _name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_of_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
