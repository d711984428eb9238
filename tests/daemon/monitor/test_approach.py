"""A target and what lies at its path -> a connection that is for us, or why there is none."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parts import need_root
from qmp_exporter.config import Target
from qmp_exporter.daemon.host.unix_sockets import UnixSockets
from qmp_exporter.daemon.monitor import approach as approach_module
from qmp_exporter.daemon.monitor.approach import Approach
from qmp_exporter.daemon.monitor.link import Unreachable
from qmp_exporter.runtime.paths import PathCalls

OWNER, OTHER = 4711, 4712


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listener(stack: ExitStack, address: str | Path, uid: int) -> None:
    """A process of this user that listens there; the file, if there is one, is OWNER's."""
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    made.bind(str(address) if isinstance(address, Path) else address)
    os.seteuid(uid)
    try:
        made.listen()
    finally:
        os.seteuid(0)
    if isinstance(address, Path):
        os.chown(address, OWNER, -1)


async def connect(target: Target) -> str:
    """-> what came of it"""
    try:
        connection = await Approach(target, UnixSockets()).connect(PathCalls())
    except Unreachable as failure:
        return f"{failure.state}: {failure}"
    assert isinstance(connection, socket.socket)
    connection.close()
    return "connected"


@pytest.mark.parametrize(
    ("uid", "outcome"),
    [
        (OWNER, "connected"),
        (0, "connected"),
        (OTHER, f"denied: a process of the user {OTHER} listens there, wanted {OWNER}"),
    ],
)
async def test_who_listens_has_to_be_the_owner_whatever_the_file_says(
    directory: Path, stack: ExitStack, uid: int, outcome: str
) -> None:
    """It may have been put there after a look at it."""
    need_root()
    listener(stack, directory / "web01.sock", uid)
    assert await connect(Target("web01", f"{directory}/web01.sock", owner=OWNER)) == outcome


@pytest.mark.parametrize(("uid", "connected"), [(OWNER, True), (OTHER, False)])
async def test_an_abstract_name_has_an_owner_too(stack: ExitStack, uid: int, *, connected: bool) -> None:
    need_root()
    listener(stack, f"\0qmp-exporter-test-{os.getpid()}", uid)
    outcome = await connect(Target("web01", f"@qmp-exporter-test-{os.getpid()}", owner=OWNER))
    assert (outcome == "connected") is connected


async def test_the_last_descriptors_are_not_for_monitors(
    directory: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    listener(stack, directory / "web01.sock", 0)
    monkeypatch.setattr(approach_module.resource, "getrlimit", lambda _which: (8, 8))
    held = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
    assert max(one.fileno() for one in held) >= 4
    assert await connect(Target("web01", f"{directory}/web01.sock")) == (
        "error: too few open files are allowed: raise LimitNOFILE= or ulimit -Hn"
    )


async def test_it_is_remembered_which_file_was_there(directory: Path, stack: ExitStack) -> None:
    need_root()
    approach = Approach(Target("web01", f"{directory}/web01.sock"), UnixSockets())
    with pytest.raises(Unreachable, match="no socket there"):
        await approach.connect(PathCalls())
    assert approach.seen is None
    listener(stack, directory / "web01.sock", 0)
    connection = await approach.connect(PathCalls())
    assert isinstance(connection, socket.socket)
    connection.close()
    assert approach.seen == approach_module.file_stamp(f"{directory}/web01.sock")
