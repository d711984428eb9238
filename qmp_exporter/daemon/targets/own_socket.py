"""A path, a mode and a group -> a socket of ours that listens there, and whose file goes when it does."""

import contextlib
import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

BACKLOG = 128  # connections that wait until they are accepted; QEMU tries again in a second


@contextlib.contextmanager
def own_socket(path: Path, mode: int, group: str) -> Iterator[socket.socket]:
    """`group`: whose it is to be, by name or number; "": that of the process.

    :raise OSError: it cannot be made; says why.
    """
    _make_way(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)  # noqa: FBT003  the standard library's way
        umask = os.umask(0o777)  # nobody gets in before the mode and the group are right
        try:
            listener.bind(str(path))
        finally:
            os.umask(umask)
        ours = _inode(path)
        try:
            _admit(path, mode, group)
            listener.listen(BACKLOG)
            yield listener
        finally:
            if _inode(path) == ours:
                path.unlink()


def _make_way(path: Path) -> None:
    """Remove what an exporter left that was killed; whatever somebody listens to stays."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, f"{path} is there and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003  the standard library's way
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full
            pass
    raise OSError(errno.EADDRINUSE, f"somebody listens on {path} already")


def _admit(path: Path, mode: int, group: str) -> None:
    if group:
        try:
            os.chown(path, -1, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid)
        except KeyError:
            raise OSError(errno.EINVAL, f"there is no group {group}") from None
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
