"""What a process may still do behind the filter, and what not; each in a process of its own, for it is for good."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ENTER = "import os, socket, sys, threading; from qmp_exporter.web import sandbox; sandbox.enter(); path = sys.argv[1];"
DENIED = {
    "a socket": "socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "socket.socketpair()",
    "another thread's socket": (
        "found = []; one = threading.Thread(target=lambda: found.append(os.strerror(1) if not socket.socket() else 0));"
        "threading.excepthook = lambda args: found.append(args.exc_value); one.start(); one.join(); raise found[0]"
    ),
    "a process": "os.fork()",
    "a program": "os.execv('/bin/true', ['true'])",
    "a signal": "os.kill(os.getppid(), 0)",
    "a descriptor of another process": "import ctypes; os.pidfd_open(os.getppid())",
    "a file": "open(path + '/new', 'w')",
    "a change of a file": "open(path + '/there', 'r+')",
    "the memory of another process": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "the end of a file": "os.truncate(path + '/there', 0)",
    "the removal of a file": "os.unlink(path + '/there')",
    "another name of a file": "os.rename(path + '/there', path + '/here')",
    "other rights of a file": "os.chmod(path + '/there', 0o777)",
    "a limit of another process": "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
}
ALLOWED = {
    "to read a file": "assert open(path + '/there').read() == 'here'",
    "a thread": "one = threading.Thread(target=print); one.start(); one.join()",
    "its own limit": "import resource; resource.prlimit(0, resource.RLIMIT_NOFILE)",
    "the time": "import time; time.sleep(0.001)",
    "a file in memory alone, as OpenSSL needs for a key": "os.write(os.memfd_create('key'), b'x')",
}


def behind_the_filter(work: str, directory: Path) -> str:
    """What the work ended with, "" if it was done."""
    (directory / "there").write_text("here")
    done = subprocess.run(
        [sys.executable, "-c", ENTER + work, directory], capture_output=True, text=True, check=False, timeout=30
    )
    return "" if done.returncode == 0 else done.stderr.splitlines()[-1]


@pytest.mark.parametrize("work", DENIED.values(), ids=DENIED)
def test_it_cannot_have(work: str, tmp_path: Path) -> None:
    assert behind_the_filter(work, tmp_path).startswith("PermissionError: [Errno 1] Operation not permitted")
    assert (tmp_path / "there").read_text() == "here"


@pytest.mark.parametrize("work", ALLOWED.values(), ids=ALLOWED)
def test_it_can_have(work: str, tmp_path: Path) -> None:
    assert behind_the_filter(work, tmp_path) == ""


def test_a_connection_that_waits_at_a_listener_is_taken_but_none_is_made(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "http.sock"))
        listener.listen()
        client.connect(str(tmp_path / "http.sock"))
        work = f"s = socket.socket(fileno={listener.fileno()}); s.accept()[0].send(b'served')"
        subprocess.run(
            [sys.executable, "-c", ENTER + work, tmp_path], check=True, pass_fds=[listener.fileno()], timeout=30
        )
        assert client.recv(10) == b"served"
