"""A path, a mode and a group -> a socket of ours that listens there, and whose file goes when it does."""

import errno
import grp
import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple

from qmp_exporter.runtime.unix_tables import unix_tables

BACKLOG = 128  # connections that wait until they are accepted; QEMU tries again in a second
ACCEPTS = b"00010000"  # proc(5): the flag of a socket in /proc/net/unix that is listened to


class OwnSocket(NamedTuple):
    """Its methods look up the path, as does the making of it: for a thread, since a storage may hang behind it."""

    listener: socket.socket
    path: Path
    inode: tuple[int, int] | None

    def is_there(self) -> bool:
        """Whether its path still leads to it: the one who tidies up may have removed it."""
        return _inode(self.path) == self.inode

    def remove(self) -> None:
        """The socket, and its file if it is still this one's."""
        try:
            if self.is_there():
                self.path.unlink()
        finally:
            self.listener.close()


def own_socket(path: Path, mode: int, group: str) -> OwnSocket:
    """`group`: whose it is to be, by name or number; "": that of the process.

    :raise OSError: it cannot be made; says why.
    """
    make_way(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.setblocking(False)  # noqa: FBT003  the standard library's way
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise _explained(error, path) from None
    own = OwnSocket(listener, path, _inode(path))
    try:
        _admit(path, mode, group)
        listener.listen(BACKLOG)  # only now: nobody gets in before the mode and the group are right
    except OSError:
        own.remove()
        raise
    return own


def gid_of(group: str) -> int:
    """Of a name or a number.

    :raise OSError: there is no such group; says which.
    """
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f"there is no group {group}") from None


def make_way(path: Path) -> None:
    """Remove what an exporter left that was killed; whatever somebody listens to stays.

    :raise OSError: something else is there; says what.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, f"{path} is there and is no socket")
    if _is_listened_to(path):
        raise _taken(path)
    with socket.socket(socket.AF_UNIX) as probe:  # the one who listens may live in another network namespace
        probe.setblocking(False)  # noqa: FBT003  the standard library's way
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full
            pass
    raise _taken(path)


def _explained(error: OSError, path: Path) -> OSError:
    """What the kernel says of a path that is not there yet, with what it says it of."""
    match error.errno:
        case errno.ENOENT:
            return FileNotFoundError(errno.ENOENT, f"there is no directory {path.parent}")
        case errno.EROFS:
            writable = f"ReadWritePaths={path.parent} in a drop-in of the unit lets the exporter write there"
            return OSError(errno.EROFS, f"{path.parent} is read-only ({writable})")
        case errno.EACCES:
            return PermissionError(errno.EACCES, f"no permission to make a socket in {path.parent}")
    return error


def _is_listened_to(path: Path) -> bool:
    """Without a connection, which would take a turn from a client of QEMU if this is its monitor."""
    sockets = (line for table in unix_tables() for line in table.splitlines())
    return any(line.endswith(b" " + os.fsencode(path)) and line.split()[3] == ACCEPTS for line in sockets)


def _taken(path: Path) -> OSError:
    return OSError(errno.EADDRINUSE, f"somebody listens on {path} already")


def _admit(path: Path, mode: int, group: str) -> None:
    if group:
        try:
            os.chown(path, -1, gid_of(group))
        except PermissionError:
            raise PermissionError(
                errno.EPERM,
                f"cannot give {path} to the group {group}, of which this process is no member "
                f"(SupplementaryGroups={group} in a drop-in of the unit makes it one)",
            ) from None
    path.chmod(mode)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
