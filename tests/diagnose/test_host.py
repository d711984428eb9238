"""Sockets that are held and waited for -> by whom, as the kernel tells."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from qmp_exporter.daemon.monitor.link import address
from qmp_exporter.diagnose.host import Host, Process, on_loopback


def pids(processes: tuple[Process | None, ...]) -> list[int | None]:
    return [process and process.pid for process in processes]


@pytest.mark.parametrize("target", ["/path", "@qmp-exporter-test-host", "tcp:127.0.0.1:0"])
def test_who_listens_who_is_served_and_who_waits(directory: Path, target: str) -> None:
    me = os.getpid()
    is_tcp = target.startswith("tcp:")
    if target == "/path":
        target = f"{directory}/a.sock"
    family = socket.AF_INET if is_tcp else socket.AF_UNIX
    with socket.socket(family) as listener, socket.socket(family) as client, socket.socket(family) as other:
        listener.bind(address(target))
        listener.listen()
        if is_tcp:
            target = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        free = Host().ends(target)
        assert (free.listening, pids(free.listeners), free.clients) == (True, [me], ())
        client.connect(address(target))
        served, _ = listener.accept()
        with served:
            held = Host().ends(target)
            assert (held.listening, pids(held.listeners), pids(held.clients)) == (True, [me], [me])
            if not is_tcp:  # there, who waits looks like who is served
                other.connect(address(target))
                assert pids(Host().ends(target).waiting) == [me]
    assert Host().ends(target).listening is False


def test_a_socket_is_known_by_its_file_where_a_link_leads_to_it(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/a.sock")
        listener.listen()
        (directory / "b").symlink_to(directory / "a.sock")
        assert Host().ends(f"{directory}/b").listening


@pytest.mark.parametrize("bound", ["a.sock", "../{name}/a.sock", "{link}/a.sock"])
def test_a_socket_is_known_by_its_file_whatever_it_was_bound_by(
    directory: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """As QEMU does where /var/run is a link to /run, or where it was started in the directory."""
    link = directory.with_name(f"{directory.name}-link")
    link.symlink_to(directory)
    monkeypatch.chdir(directory)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(bound.format(name=directory.name, link=link))
            listener.listen()
            ends = Host().ends(f"{directory}/a.sock")
            assert (ends.listening, pids(ends.listeners)) == (True, [os.getpid()])
    finally:
        link.unlink()


def test_a_socket_file_in_the_place_of_another_has_nobody_behind_it(directory: Path) -> None:
    path = directory / "a.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as newer:
        listener.bind(str(path))
        listener.listen()
        path.unlink()
        newer.bind(str(path))
        assert Host().ends(str(path)).listening is False


async def test_a_qemu_is_known_by_its_arguments(directory: Path) -> None:
    command = ("-name", "web77", "-qmp", f"unix:{directory}/a.sock,server=on")
    process = await asyncio.create_subprocess_exec(
        *("qemu-system-x86_64", "-c", "read wait", *command), executable="/bin/sh", stdin=asyncio.subprocess.PIPE
    )
    try:
        ((found, use),) = Host().users(f"{directory}/a.sock")
    finally:
        process.kill()
        await process.wait()
    assert (found.pid, use.listens) == (process.pid, True)
    assert "VM web77" in str(found)


@pytest.mark.parametrize(
    ("argv", "is_exporter"),
    [
        (("/usr/bin/python3", "/usr/bin/qmp-exporter", "--config.file=/etc/a.yaml"), True),
        (("python", "-m", "qmp_exporter", "--config.file", "a.yaml"), True),
        (("qmp-exporter", "diagnose", "/run/qmp/a.sock"), False),
        (("python3", "poll.py", "--config.file=a"), False),
    ],
)
def test_the_exporter_is_told_from_others(argv: tuple[str, ...], is_exporter: bool) -> None:  # noqa: FBT001  a table
    assert Process(1, argv[0], "root", argv).is_exporter is is_exporter


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("tcp:127.0.0.1:1", True),
        ("tcp:localhost:1", True),
        ("tcp:[::1]:1", True),
        ("tcp:0.0.0.0:1", False),
        ("tcp:host.example:1", False),
    ],
)
def test_what_only_this_host_can_reach(target: str, expected: bool) -> None:  # noqa: FBT001  a table
    assert on_loopback(target) is expected


def test_another_users_rights_are_those_of_that_user() -> None:
    assert Host().exporters_user("nobody").uid == 65534
    with pytest.raises(KeyError):
        Host().exporters_user("no-such-user")
