"""A path and a user -> the first component of the path that keeps the user out, and what would let it in."""

import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import NamedTuple

READ, WRITE, ENTER = 4, 2, 1  # as in a mode
_ACL = "system.posix_acl_access"
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32  # posix_acl_xattr.h
_ENTRY = struct.Struct("<HHI")  # after a version of four bytes


class User(NamedTuple):
    """`of`: how it is known that this user matters, in words."""

    name: str
    uid: int
    group: int
    groups: frozenset[int]
    of: str


class Entry(NamedTuple):
    """An entry of an access control list: which kind, its rights, and of whom."""

    tag: int
    rights: int
    of: int


class Component(NamedTuple):
    """A directory on the way to a socket, or the socket."""

    path: str
    mode: int
    owner: int
    group: int
    acl: tuple[Entry, ...] = ()

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def __str__(self) -> str:
        listed = "+" if self.acl else ""
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
    """The first component that keeps the user out: a directory without x, a socket without w."""
    for component in components:
        wanted = ENTER if component.is_directory else WRITE
        if not may(user, component, wanted):
            return component
    return None


def may(user: User, component: Component, wanted: int) -> bool:
    """As the kernel decides it: acl(5), without security modules."""
    if user.uid == 0:
        return True
    if component.acl:
        return _listed(user, component, wanted)
    if user.uid == component.owner:
        return bool(component.mode >> 6 & wanted)
    if component.group in user.groups:
        return bool(component.mode >> 3 & wanted)
    return bool(component.mode & wanted)


def _listed(user: User, component: Component, wanted: int) -> bool:
    rights = {tag: rights for tag, rights, _ in component.acl}
    if user.uid == component.owner:
        return bool(rights.get(_USER_OBJ, 0) & wanted)
    mask = rights.get(_MASK, 7)
    for tag, right, of in component.acl:
        if tag == _USER and of == user.uid:
            return bool(right & mask & wanted)
    groups = [
        right
        for tag, right, of in component.acl
        if (tag == _GROUP and of in user.groups) or (tag == _GROUP_OBJ and component.group in user.groups)
    ]
    if groups:
        return any(right & mask & wanted for right in groups)
    return bool(rights.get(_OTHER, 0) & wanted)


def open_to_all(components: tuple[Component, ...]) -> bool:
    """Whoever has an account on this host may connect."""
    nobody = User("anybody", -1, -1, frozenset(), "")
    return barrier(components, nobody) is None


def mend(barrier: Component, user: User) -> Iterator[str]:
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
    return Component(path, found.st_mode, found.st_uid, found.st_gid, _acl(path))


def _acl(path: str) -> tuple[Entry, ...]:
    try:
        raw = os.getxattr(path, _ACL)
    except OSError:  # none, or a file system that has none
        return ()
    return tuple(Entry(*entry) for entry in _ENTRY.iter_unpack(raw[4:]))


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
