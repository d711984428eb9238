"""QEMUs that were started to dial in, some of which are connected -> what is told of the socket."""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from parts import need, need_root
from qmp_exporter.config import Listener, parse
from qmp_exporter.diagnose import dial_in
from qmp_exporter.diagnose.access import User
from qmp_exporter.diagnose.dial_in import examine_listener, obstacles
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host, Process

ROOT = User("root", 0, 0, frozenset({0}), "as a test says")
NOBODY = User("nobody", 65534, 65534, frozenset({65534}), "as a test says")


@contextlib.asynccontextmanager
async def qemu(path: Path, *mon: str, connects: bool = True) -> AsyncIterator[asyncio.subprocess.Process]:
    """What looks like one from outside: a shell with its arguments and its connection."""
    chardev = f"socket,id=exporter,path={path},server=off,reconnect=1"
    with socket.socket(socket.AF_UNIX) as line:
        if connects:
            line.connect(str(path))
        process = await asyncio.create_subprocess_exec(
            *("qemu-system-x86_64", "-c", "read wait", "-name", "web77", "-chardev", chardev, *mon),
            executable="/bin/sh",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[line.fileno()],
        )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


QMP = ("-mon", "chardev=exporter,mode=control")


def listen(path: Path, **more: str) -> Listener:
    entry = {"socket": str(path), **more}
    return parse(json.dumps({"listen": [entry]}), "config").listen[0]


def examined(path: Path, **more: str) -> Finding:
    return examine_listener(listen(path, **more), Host(), ROOT)


@pytest.fixture
def somebody(directory: Path) -> Iterator[socket.socket]:
    """Listens where the exporter is to, and is not it."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{directory}/dial-in.sock")
        listening.listen()
        yield listening


@pytest.fixture
async def listener(somebody: socket.socket) -> AsyncIterator[socket.socket]:
    """What looks from outside like an exporter that listens there: a shell with its arguments and its socket."""
    process = await asyncio.create_subprocess_exec(
        *("qmp-exporter", "-c", "read wait", "--config.file=/nothing"),
        executable="/bin/sh",
        stdin=asyncio.subprocess.PIPE,
        pass_fds=[somebody.fileno()],
    )
    try:
        yield somebody
    finally:
        process.kill()
        await process.wait()


async def test_a_vm_that_is_connected_is_good(directory: Path, listener: socket.socket) -> None:
    async with qemu(directory / "dial-in.sock", *QMP) as process:
        connection, _ = listener.accept()
        with connection:
            finding = examined(directory / "dial-in.sock")
    assert (finding.verdict, finding.problem) == ("good", "VMs that have dialled in: 1.")
    assert f"connected: pid {process.pid} (" in finding.seen[0]


@pytest.mark.usefixtures("listener")
async def test_a_vm_that_should_be_connected_and_is_not_is_told(directory: Path) -> None:
    async with qemu(directory / "dial-in.sock", *QMP, connects=False) as process:
        finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "denied"
    assert f"not connected: pid {process.pid} (" in finding.seen[0]


async def test_a_human_monitor_that_dials_in_is_told(directory: Path, listener: socket.socket) -> None:
    async with qemu(directory / "dial-in.sock", "-mon", "chardev=exporter"):
        connection, _ = listener.accept()
        with connection:
            finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "denied"
    assert "has a human monitor (HMP) there" in finding.seen[0]


async def test_a_vm_whose_arguments_do_not_tell_what_dials_in_is_not_called_wrong(
    directory: Path, listener: socket.socket
) -> None:
    async with qemu(directory / "dial-in.sock"):
        connection, _ = listener.accept()
        with connection:
            finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "good"


async def test_an_exporter_that_does_not_listen_is_told_with_those_who_wait(directory: Path) -> None:
    async with qemu(directory / "dial-in.sock", *QMP, connects=False) as process:
        finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "refused"
    assert f"waits: pid {process.pid} (" in finding.seen[0]


@pytest.mark.usefixtures("somebody")
def test_somebody_else_who_listens_there_is_told(directory: Path) -> None:
    finding = examined(directory / "dial-in.sock")
    assert finding.verdict == "refused"
    assert f"It cannot: pid {os.getpid()} (" in finding.seen[0]
    assert finding.seen[0].endswith(" listens there.")


# --- what keeps the exporter from listening


def kept(path: Path, user: User = ROOT, **more: str) -> list[tuple[bool, str]]:
    """Each obstacle, and whether it is certain; with no exporter that runs."""
    host = Host()
    vars(host)["exporter"] = None  # another test's may run on this machine
    return list(obstacles(listen(path, **more), host, user))


def test_nothing_keeps_it_from_a_path_that_is_free_or_was_left_behind(directory: Path) -> None:
    path = directory / "dial-in.sock"
    assert kept(path) == []
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert kept(path) == []
    assert kept(path, group=str(os.getgid())) == []


@pytest.mark.usefixtures("listener")
async def test_nothing_keeps_an_exporter_that_listens_already(directory: Path) -> None:
    assert list(obstacles(listen(directory / "dial-in.sock", group="no-such-group"), Host(), NOBODY)) == []


def test_a_group_that_there_is_not_keeps_it(directory: Path) -> None:
    assert kept(directory / "dial-in.sock", group="no-such-group") == [(True, "there is no group no-such-group")]


def test_a_group_of_which_it_is_no_member_may_keep_it(directory: Path) -> None:
    directory.chmod(0o777)
    ((certain, why),) = kept(directory / "dial-in.sock", NOBODY, group="daemon")
    assert not certain  # its unit may make it one
    assert why == (
        "nobody, as a test says, is no member of the group daemon "
        "(SupplementaryGroups=daemon in a drop-in of the unit makes it one)"
    )


def test_a_directory_that_there_is_not_keeps_it(directory: Path) -> None:
    missing = directory / "none" / "deeper"
    assert kept(missing / "dial-in.sock") == [(True, f"there is no directory {missing}")]


def test_the_directory_that_the_unit_makes_may_be_missing_before_it_starts(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = directory / "qmp-exporter"
    monkeypatch.setattr(dial_in, "RUNTIME_DIRECTORY", str(made))
    assert kept(made / "dial-in.sock") == [
        (False, f"there is no directory {made}, which the unit makes when it starts")
    ]


def test_it_is_the_directory_of_the_unit_that_is_shipped() -> None:
    unit = Path(__file__).parents[2] / "deploy" / "systemd" / "qmp-exporter.service"
    assert f"RuntimeDirectory={Path(dial_in.RUNTIME_DIRECTORY).name}\n" in unit.read_text()
    assert Path(dial_in.RUNTIME_DIRECTORY).parent == Path("/run")


def test_something_else_on_the_way_or_in_its_place_keeps_it(directory: Path) -> None:
    (directory / "file").touch()
    (directory / "link").symlink_to(directory / "nothing")
    assert kept(directory / "file" / "dial-in.sock") == [(True, f"{directory}/file is no directory")]
    for name in ("file", "link"):
        assert kept(directory / name) == [(True, f"{directory}/{name} is there and is no socket")]
    assert kept(directory) == [(True, f"{directory} is there and is no socket")]


def test_a_directory_that_its_user_may_not_write_or_enter_keeps_it(directory: Path) -> None:
    inside = directory / "inside"
    inside.mkdir()
    directory.chmod(0o755)
    inside.chmod(0o755)
    mode = stat.filemode(inside.stat().st_mode)
    ((certain, why),) = kept(inside / "dial-in.sock", NOBODY)
    assert certain
    assert why.startswith(f"{inside} is {mode} ")
    assert why.endswith(": nobody, as a test says, may not make a socket in it (w and x)")
    directory.chmod(0o700)
    ((certain, why),) = kept(inside / "dial-in.sock", NOBODY)
    assert certain
    assert why.startswith(f"{directory} is drwx------ ")
    assert why.endswith(": nobody, as a test says, may not enter (x)")


async def test_a_directory_that_its_unit_shows_it_read_only_keeps_it(directory: Path) -> None:
    need_root()
    shell = f'mount --bind --options ro "{directory}" "{directory}" && echo there && read wait'
    process = await asyncio.create_subprocess_exec(
        *(need("unshare"), "--mount", "/bin/sh", "-c", shell),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"there\n"
        host = Host()
        vars(host)["exporter"] = Process(process.pid, "qmp-exporter", "root")
        assert list(obstacles(listen(directory / "dial-in.sock"), host, ROOT)) == [
            (
                True,
                (
                    f"{directory} is read-only for the exporter "
                    f"(ReadWritePaths={directory} in a drop-in of the unit lets it write there)"
                ),
            )
        ]
    finally:
        process.kill()
        await process.wait()
    assert kept(directory / "dial-in.sock") == []
