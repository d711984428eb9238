"""A SimulatedVm and the path of somebody's socket -> a QMP monitor that connects there, again and again."""

import asyncio
import socket
from pathlib import Path

from qmp_exporter.simulator.monitor import Monitor
from qmp_exporter.simulator.vm import SimulatedVm


class DiallingMonitor(Monitor):
    """That of `-chardev socket,path=PATH,server=off,reconnect=1`: it goes on whether anybody listens or not.

    `reconnect`: seconds from losing the connection, or from getting none, to the next attempt.
    """

    def __init__(self, vm: SimulatedVm, path: Path, *, reconnect: float = 1.0) -> None:
        super().__init__(vm, path)
        self._path = path
        self._reconnect = reconnect
        self._dials = False
        self._next: asyncio.TimerHandle | None = None

    def listen(self) -> None:
        self._dials = True
        self._attach()
        self._dial()

    def _dial(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)  # noqa: FBT003 - the standard library's way
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            self._accept_next()
        else:
            self._serve(sock)

    def _accept_next(self) -> None:
        if self._dials:
            self._next = asyncio.get_running_loop().call_later(self._reconnect, self._dial)

    def _stop_listening(self, *, unlink: bool) -> None:  # noqa: ARG002 - the file is somebody else's
        if self._dials:
            self._dials = False
            self._detach()
        if self._next is not None:
            self._next.cancel()
