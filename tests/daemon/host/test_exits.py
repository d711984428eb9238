"""Processes that end in every way -> what is said of it, on the real kernel."""

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parts import missing
from qmp_exporter.core.process import EXITED, FAILED, OOM_KILL, UNKNOWN
from qmp_exporter.daemon.host import exits
from qmp_exporter.daemon.host.exits import Exit, ProcessExit, describe

LISTENER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
connection, _ = listener.accept()
connection.send(b"!")
exec(connection.recv(1000).decode())
"""


@pytest.fixture(autouse=True)
def _new_kernel() -> None:
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    if (major, minor) < (6, 15):
        missing("Linux before 6.15 does not say how a process ended")


@contextmanager
def peer(socket_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A process that listens and does what it is sent, and our connection to it."""
    with (
        subprocess.Popen([sys.executable, "-c", LISTENER, socket_path]) as process,
        socket.socket(socket.AF_UNIX) as ours,
    ):
        while ours.connect_ex(str(socket_path)):
            time.sleep(0.01)
        assert ours.recv(1) == b"!"
        try:
            yield process, ours
        finally:
            process.kill()


def watched(ours: socket.socket) -> ProcessExit:
    process_exit = ProcessExit.of_peer(ours, time.time())
    assert process_exit is not None
    return process_exit


async def how_it_ends(directory: Path, does: str) -> Exit | None:
    """What is said of a peer that does this, and that its parent has waited for."""
    with peer(directory / "s") as (process, ours), contextlib.closing(watched(ours)) as process_exit:
        ours.send(does.encode())
        process.wait()
        return await process_exit.wait()


@pytest.mark.parametrize(
    ("does", "how", "words"),
    [
        ("sys.exit(0)", EXITED, "QEMU exited"),
        ("sys.exit(3)", FAILED, "QEMU failed with exit status 3"),
        ("import os; os.abort()", "SIGABRT", "QEMU was killed by SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV", "QEMU was killed by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL", "QEMU was killed by SIGKILL"),
    ],
)
async def test_the_kernel_says_how_the_peer_ended(directory, does, how, words):
    assert await how_it_ends(directory, does) == (how, words)


async def test_a_peer_that_goes_on_has_not_ended(directory, monkeypatch):
    monkeypatch.setattr(exits, "ENDED_WITHIN", 0.2)
    with peer(directory / "s") as (_, ours), contextlib.closing(watched(ours)) as process_exit:
        assert await process_exit.wait() is None


async def test_one_that_nobody_waits_for_ended_somehow(directory, monkeypatch):
    monkeypatch.setattr(exits, "WAITED_FOR_WITHIN", 0.2)
    with peer(directory / "s") as (process, ours), contextlib.closing(watched(ours)) as process_exit:
        os.kill(process.pid, signal.SIGKILL)
        told = await process_exit.wait()
    assert told is not None
    assert told.how == UNKNOWN


async def test_on_a_kernel_without_the_pidfd_of_a_peer_its_pid_is_taken(directory, monkeypatch):
    monkeypatch.setattr(exits, "SO_PEERPIDFD", 9999)
    assert await how_it_ends(directory, "sys.exit(0)") == (EXITED, "QEMU exited")


def test_a_process_that_was_started_after_the_connection_is_not_the_peer(directory, monkeypatch):
    monkeypatch.setattr(exits, "SO_PEERPIDFD", 9999)
    with peer(directory / "s") as (_, ours):
        assert ProcessExit.of_peer(ours, time.time() - 3600) is None


async def test_on_a_kernel_that_does_not_tell_it_is_unknown(directory, monkeypatch):
    monkeypatch.setattr(exits, "PIDFD_GET_INFO", 0xC040FF7F)
    told = await how_it_ends(directory, "sys.exit(0)")
    assert told is not None
    assert told.how == UNKNOWN


def test_a_peer_over_tcp_is_no_process_of_ours():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        assert ProcessExit.of_peer(ours, time.time()) is None


@pytest.mark.parametrize(
    ("status", "by_oom_killer", "how"),
    [
        (signal.SIGKILL, True, OOM_KILL),
        (None, True, OOM_KILL),
        (None, False, UNKNOWN),
        (signal.SIGSEGV | 0x80, True, "SIGSEGV"),
        (0, True, EXITED),
        (1 << 8, False, FAILED),
    ],
)
def test_the_oom_killer_is_said_to_have_killed_only_what_was_killed(status, by_oom_killer, how):
    assert describe(status, by_oom_killer=by_oom_killer).how == how
