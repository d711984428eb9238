"""A target -> a connection to its monitor, once it is known that it is one for us.

What looks up a path is done in a thread, for a socket may lie on a storage that hangs.
"""

import os
import resource
import socket
from typing import Final

from qmp_exporter.config import Target
from qmp_exporter.daemon.host.process import peer_process
from qmp_exporter.daemon.host.unix_sockets import UnixSockets
from qmp_exporter.daemon.monitor.link import Unreachable, unreachable
from qmp_exporter.daemon.monitor.managed_sockets import ONLY_VISIT, managing_tool
from qmp_exporter.daemon.monitor.ownership import wrong_owner, wrong_peer
from qmp_exporter.runtime.paths import PathCalls

RESERVE: Final = 600  # descriptors that monitors leave to scrapers, to files that are read and to the log

FileStamp = tuple[int, ...]


class Approach:
    """One attempt to connect.  `seen` is what the socket file was like, None where there was none."""

    def __init__(self, target: Target, sockets: UnixSockets) -> None:
        """`sockets` tells who is at a monitor that is to be visited."""
        self._target = target
        self._sockets = sockets
        self.seen: FileStamp | None = None

    async def connect(self, paths: PathCalls) -> str | socket.socket:
        """A connection, or the address where that is left to the caller: over TCP.

        :raise Unreachable: there is none, or it is not for us.
        """
        target = self._target.socket
        if target.startswith("tcp:"):
            return target
        try:
            if target.startswith("@"):
                if self._target.visit:
                    self._see_that_nobody_is_there(target)
                return self._connect("\0" + target[1:])
            return await paths.run(target, self._check_and_connect, dispose=socket.socket.close)
        except OSError as error:
            raise unreachable(error) from None

    def _check_and_connect(self) -> socket.socket:
        path = self._target.socket
        self.seen = file_stamp(path)
        manager = None if self._target.allow_shared_monitor else managing_tool(path)  # a link may lead elsewhere by now
        if manager is not None and not (self._target.visit and manager in ONLY_VISIT):
            raise Unreachable("foreign", f"it is {manager}'s own monitor, which serves one client only")
        if why := wrong_owner(path, self._target.owner):
            raise Unreachable("denied", why)
        if self._target.visit and self.seen is not None:
            self._see_that_nobody_is_there(path)
        return self._connect(path)

    def _see_that_nobody_is_there(self, path: str) -> None:
        is_free = self._sockets.is_free(path)
        if is_free is None:
            raise Unreachable("refused", "nobody listens on the socket, as far as this network namespace shows")
        if not is_free:
            raise Unreachable("busy", "another client is there, or waits")

    def _connect(self, address: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            _leave_enough(connection)
            connection.connect(address)
            self._check_peer(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_peer(self, connection: socket.socket) -> None:
        if why := wrong_peer(peer_process(connection), self._target.owner):
            raise Unreachable("denied", why)


def file_stamp(path: str) -> FileStamp | None:
    """What tells one socket file from the next at the same path."""
    try:
        stat = os.stat(path)  # noqa: PTH116  no Path is needed for it
    except (OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns


def _leave_enough(connection: socket.socket) -> None:
    """The kernel gives the lowest descriptor that is free: the last ones are not for monitors."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if connection.fileno() >= allowed - min(RESERVE, allowed // 2):
        raise Unreachable("error", "too few open files are allowed: raise LimitNOFILE= or ulimit -Hn")
