"""The process behind a monitor -> how it ended, when it has.

A pidfd (pidfd_open(2)) stands for the process itself: its number may be another's by then.  What its parent learned by
wait() the kernel tells us too, whoever we are, by PIDFD_GET_INFO with PIDFD_INFO_EXIT: from Linux 6.15 on, and once the
parent has waited for it (linux/pidfd.h).
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
from typing import NamedTuple

from qmp_exporter.core.process import EXITED, FAILED, OOM_KILL, UNKNOWN
from qmp_exporter.daemon.host.cgroup import mount_point, own_cgroup
from qmp_exporter.daemon.host.files import keyed
from qmp_exporter.daemon.host.process import peer_pid, started

SO_PEERPIDFD = 77  # asm-generic/socket.h, Linux 6.5
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64): linux/pidfd.h
PIDFD_INFO_EXIT = 1 << 3
INFO = struct.Struct("Q52xi")  # the mask, what we do not want, and the status as wait(2) gives it
ENDED_WITHIN = 60.0  # seconds from the loss of the monitor on; giving back a terabyte of memory takes its time
WAITED_FOR_WITHIN = 5.0  # seconds; a parent that waits for its children does so at once
CHECK_EVERY = 0.05


class Exit(NamedTuple):
    """`how` is one of the values of qemu_process_exits_total."""

    how: str
    words: str


class ProcessExit:
    """Holds one descriptor until it is closed."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self._pidfd = pidfd
        self._cgroup = own_cgroup(pid, mount_point())
        self._may_know = True  # the kernel is new enough to tell the status
        self._oom_kills = 0
        self.check()

    @classmethod
    def of_peer(cls, monitor: socket.socket, connected_at: float) -> "ProcessExit | None":
        """`connected_at`, in seconds since the epoch: a process that was started later is not the peer."""
        pid = peer_pid(monitor)
        if pid is None:
            return None
        try:
            return cls(pid, monitor.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        except OSError:  # an older kernel
            pass
        with contextlib.suppress(OSError):  # it is gone
            ended = cls(pid, os.pidfd_open(pid))
            if (started(pid) or connected_at) <= connected_at:
                return ended
            ended.close()
        return None

    @classmethod
    def of_process(cls, pid: int) -> "ProcessExit | None":
        """Of one that was found by its number just now."""
        try:
            return cls(pid, os.pidfd_open(pid))
        except OSError:  # it is gone
            return None

    def check(self) -> None:
        """Take note of what must be known from before the end."""
        self._oom_kills = self._count_oom_kills() or self._oom_kills

    async def wait(self) -> Exit | None:
        """How the process ended; None where it goes on without this monitor."""
        if not await self._ended():
            return None
        status = await self._status_in_the_end()
        return describe(status, by_oom_killer=(self._count_oom_kills() or 0) > self._oom_kills)

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def _ended(self) -> bool:
        """A pidfd becomes readable when all threads of the process have ended."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._pidfd, over.set)
        try:
            async with asyncio.timeout(ENDED_WITHIN):
                await over.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._pidfd)
        return True

    async def _status_in_the_end(self) -> int | None:
        """When the parent has waited for it, which nothing tells without being polled."""
        for _ in range(int(WAITED_FOR_WITHIN / CHECK_EVERY)):
            status = self._status()
            if status is not None or not self._may_know:
                return status
            await asyncio.sleep(CHECK_EVERY)
        return self._status()

    def _status(self) -> int | None:
        asked = bytearray(INFO.pack(PIDFD_INFO_EXIT, 0))
        try:
            fcntl.ioctl(self._pidfd, PIDFD_GET_INFO, asked)
        except ProcessLookupError:  # ended, and not waited for yet, or told by no kernel before 6.15
            return None
        except OSError:
            self._may_know = False
            return None
        told, status = INFO.unpack(asked)
        return status if told & PIDFD_INFO_EXIT else None

    def _count_oom_kills(self) -> int | None:
        return keyed(f"{self._cgroup}/memory.events").get("oom_kill") if self._cgroup else None


def describe(status: int | None, *, by_oom_killer: bool) -> Exit:
    """A status as of wait(2), None where it is not known -> what became of the process."""
    if by_oom_killer and (status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)):
        return Exit(OOM_KILL, "QEMU was killed by SIGKILL: the kernel's OOM killer")
    if status is None:
        return Exit(UNKNOWN, "QEMU ended, and the kernel does not say how")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return Exit(name, f"QEMU was killed by {name}")
    code = os.waitstatus_to_exitcode(status)
    return Exit(FAILED, f"QEMU failed with exit status {code}") if code else Exit(EXITED, "QEMU exited")
