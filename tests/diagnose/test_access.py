"""A path and a user -> what the kernel says, component by component, and what would let the user in."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts import need, need_root
from qmp_exporter.diagnose.access import Component, User, barrier, can_ask, current_user, fixes, open_to_all, walk

DIRECTORY, SOCKET = 0o040000, 0o140000
ANN = User("ann", 1001, 1001, frozenset({1001, 50}), "")
NOBODY = User("nobody", 65534, 65534, frozenset({65534}), "")
ROOT = User("root", 0, 0, frozenset({0}), "")


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
    assert any(line.startswith(f"  {command}") for line in fixes(closed, ANN))


@pytest.fixture
def path(directory: Path) -> Iterator[Path]:
    """A socket that listens, in a directory of its own."""
    need_root()
    directory.chmod(0o755)
    path = directory / "inner" / "a.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


@pytest.mark.parametrize("directory_mode", [0o755, 0o711, 0o700])
@pytest.mark.parametrize("socket_mode", [0o777, 0o755, 0o770, 0o702])
def test_who_is_let_in_is_who_can_connect(path: Path, directory_mode: int, socket_mode: int) -> None:
    path.chmod(socket_mode)
    path.parent.chmod(directory_mode)
    program = "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); "
    program += "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, stderr=subprocess.PIPE)
    way = walk(str(path))
    assert (barrier(way.components, NOBODY) is None) == (done.returncode == 0), done.stderr
    assert open_to_all(way.components) == (done.returncode == 0)
    assert barrier(way.components, ROOT) is None


def test_the_first_component_that_keeps_somebody_out_is_named(path: Path) -> None:
    path.chmod(0o600)
    assert barrier(walk(str(path)).components, NOBODY).path == str(path)
    path.parent.chmod(0o700)
    assert barrier(walk(str(path)).components, NOBODY).path == str(path.parent)


def test_groups_count_those_that_are_not_the_first_too(path: Path) -> None:
    os.chown(path, 0, 50)
    path.chmod(0o660)
    member = User("member", 65534, 65534, frozenset({65534, 50}), "")
    assert barrier(walk(str(path)).components, member) is None
    assert barrier(walk(str(path)).components, NOBODY).path == str(path)


def test_an_access_control_list_counts(path: Path) -> None:
    setfacl = need("setfacl")
    path.chmod(0o600)
    subprocess.run([setfacl, "--modify", "user:nobody:rw", str(path)], check=True)
    way = walk(str(path))
    assert barrier(way.components, NOBODY) is None
    assert barrier(way.components, User("somebody", 65533, 65533, frozenset(), "")) is not None
    assert "+ " in str(way.components[-1])


def test_whoever_is_not_root_can_ask_for_himself_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 65533)
    assert not can_ask(NOBODY)
    assert barrier(walk(str(path)).components, NOBODY) is None
    assert can_ask(User("somebody", 65533, 65533, frozenset(), ""))


def test_a_walk_ends_where_the_way_does(directory: Path) -> None:
    (directory / "file").touch()
    assert walk(f"{directory}/no/a.sock").is_parent_missing
    assert not walk(f"{directory}/a.sock").is_parent_missing
    assert walk(f"{directory}/file/a.sock").ended_at == f"{directory}/file"
    (directory / "link").symlink_to(directory)
    assert walk(f"{directory}/link").components[-1].path == str(directory)


def test_the_current_user_is_the_one_who_asks() -> None:
    assert current_user().uid == os.geteuid()
