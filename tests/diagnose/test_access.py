"""Modes, owners and access control lists -> who may pass, held against what the kernel says."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from parts import need, need_root
from qmp_exporter.diagnose.access import (
    ENTER,
    WRITE,
    Component,
    Entry,
    User,
    barrier,
    current_user,
    may,
    mend,
    open_to_all,
    walk,
)

DIRECTORY, SOCKET = 0o040000, 0o140000
ANN = User("ann", 1001, 1001, frozenset({1001, 50}), "")


@pytest.mark.parametrize(
    ("component", "allowed"),
    [
        (Component("/a", SOCKET | 0o600, 1001, 1), True),
        (Component("/a", SOCKET | 0o060, 1, 50), True),
        (Component("/a", SOCKET | 0o006, 1, 1), True),
        (Component("/a", SOCKET | 0o066, 1001, 50), False),  # the owner's rights are the first that fit, and count
        (Component("/a", SOCKET | 0o606, 1, 50), False),
        (Component("/a", SOCKET | 0o660, 1, 1), False),
        (Component("/a", SOCKET | 0o660, 1, 1, (Entry(1, 6, 0), Entry(2, 6, 1001), Entry(16, 7, 0))), True),
        (Component("/a", SOCKET | 0o660, 1, 1, (Entry(1, 6, 0), Entry(2, 6, 1001), Entry(16, 5, 0))), False),
        (Component("/a", SOCKET | 0o660, 1, 1, (Entry(1, 6, 0), Entry(8, 6, 50), Entry(16, 7, 0))), True),
        (Component("/a", SOCKET | 0o662, 1, 50, (Entry(4, 5, 0), Entry(16, 7, 0), Entry(32, 7, 0))), False),
        (Component("/a", SOCKET | 0o662, 1, 1, (Entry(4, 5, 0), Entry(16, 7, 0), Entry(32, 7, 0))), True),
    ],
    ids=str,
)
def test_who_may_write(component: Component, allowed: bool) -> None:  # noqa: FBT001  a table's column
    assert may(ANN, component, WRITE) is allowed
    assert may(User("root", 0, 0, frozenset(), ""), component, WRITE)


def test_the_first_closed_door_is_named() -> None:
    way = (
        Component("/", DIRECTORY | 0o755, 0, 0),
        Component("/run/qmp", DIRECTORY | 0o750, 0, 0),
        Component("/run/qmp/a.sock", SOCKET | 0o600, 0, 0),
    )
    assert barrier(way, ANN) == way[1]
    assert barrier((way[0], way[2]), ANN) == way[2]
    assert barrier(way[:1], ANN) is None


@pytest.mark.parametrize(
    ("closed", "command"),
    [
        (Component("/run/qmp", DIRECTORY | 0o750, 0, 1), "usermod --append --groups"),
        (Component("/run/qmp", DIRECTORY | 0o700, 0, 0), "setfacl --modify user:ann:x /run/qmp"),
        (Component("/run/qmp/a.sock", SOCKET | 0o750, 0, 50), "chmod g+w /run/qmp/a.sock"),
        (Component("/run/qmp/a.sock", SOCKET | 0o750, 0, 0), "chgrp 1001 /run/qmp/a.sock && chmod g+w"),
    ],
)
def test_what_opens_it(closed: Component, command: str) -> None:
    assert any(line.startswith(f"  {command}") for line in mend(closed, ANN))


@pytest.mark.parametrize("directory_mode", [0o755, 0o711, 0o700])
@pytest.mark.parametrize("socket_mode", [0o777, 0o755, 0o770, 0o702])
def test_the_kernel_agrees(directory: Path, directory_mode: int, socket_mode: int) -> None:
    need_root()
    path = directory / "inner" / "a.sock"
    path.parent.mkdir()
    directory.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(socket_mode)
        path.parent.chmod(directory_mode)
        nobody = User("nobody", 65534, 65534, frozenset({65534}), "")
        program = "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); "
        program += "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, stderr=subprocess.PIPE)
        way = walk(str(path))
        assert (barrier(way.components, nobody) is None) == (done.returncode == 0), done.stderr
        assert open_to_all(way.components) == (done.returncode == 0)


def test_an_access_control_list_is_read(directory: Path) -> None:
    setfacl = need("setfacl")
    subprocess.run([setfacl, "--modify", "user:nobody:x", str(directory)], check=True)
    component = walk(str(directory)).components[-1]
    assert may(User("nobody", 65534, 65534, frozenset(), ""), component, ENTER)
    assert not may(User("somebody", 65533, 65533, frozenset(), ""), component, ENTER)
    assert "+ " in str(component)


def test_a_walk_ends_where_the_way_does(directory: Path) -> None:
    (directory / "file").touch()
    assert walk(f"{directory}/no/a.sock").is_parent_missing
    assert not walk(f"{directory}/a.sock").is_parent_missing
    assert walk(f"{directory}/file/a.sock").ended_at == f"{directory}/file"
    (directory / "link").symlink_to(directory)
    assert walk(f"{directory}/link").components[-1].path == str(directory)


def test_the_current_user_is_the_one_who_asks() -> None:
    assert current_user().uid == os.geteuid()
