"""A configuration and the files that it names -> what in them does not work, and what may be in the way of a VM."""

import json
import os
import socket
from pathlib import Path

import pytest

from qmp_exporter.config import parse
from qmp_exporter.diagnose.access import User
from qmp_exporter.diagnose.check import Found, find
from qmp_exporter.diagnose.host import Host
from qmp_exporter.diagnose.preflight import View

ROOT = User("root", 0, 0, frozenset({0}), "as a test says")
NOBODY = User("nobody", 65534, 65534, frozenset({65534}), "as a test says")


@pytest.fixture(autouse=True)
def _open(directory: Path) -> None:
    """Let the one who it is come as far as the files in it."""
    directory.chmod(0o755)


def found(directory: Path, user: User = ROOT, **config: object) -> Found:
    host = Host()
    vars(host)["exporter"] = None  # another test's may run on this machine
    return find(parse(json.dumps({"files": [f"{directory}/*.yaml"], **config}), "config"), "config", View(host, user))


def write(directory: Path, name: str, *vms: tuple[str, str]) -> str:
    file = directory / name
    file.write_text("".join(f"- {{name: {vm}, socket: {path}}}\n" for vm, path in vms) or "[]")
    return str(file)


def test_good_files_have_neither(directory: Path) -> None:
    write(directory, "a.yaml", ("web01", "/nothing/1.sock"))
    write(directory, "b.yaml", ("web02", "/nothing/2.sock"))
    seen = found(directory, vms=[{"name": "db01", "socket": "/nothing/3.sock"}])
    assert [target.name for target in seen.targets] == ["db01", "web01", "web02"]
    assert (seen.errors, seen.warnings) == ([], [])


def test_a_file_with_mistakes_is_an_error_with_line_and_column(directory: Path) -> None:
    (directory / "a.yaml").write_text("- {name: web01, sokcet: /a}\n- {name: 5, socket: /b}\n")
    assert found(directory).errors == [
        f'{directory}/a.yaml:1:17: [0].sokcet: unknown key, did you mean "socket"?',
        f'{directory}/a.yaml:2:10: [1].name: found the number 5, wanted text: write it as "5"',
    ]


def test_a_name_in_two_files_is_an_error(directory: Path) -> None:
    a = write(directory, "a.yaml", ("web01", "/nothing/1.sock"))
    b = write(directory, "b.yaml", ("web01", "/nothing/2.sock"))
    assert found(directory).errors == [f'{b}: found the name "web01" as in {a}, wanted a name of its own for every VM']
    assert found(directory, vms=[{"name": "web01", "socket": "/nothing/3.sock"}]).errors == [
        f'{a}: found the name "web01" as in config, wanted a name of its own for every VM',
        f'{b}: found the name "web01" as in config, wanted a name of its own for every VM',
    ]


def test_the_same_vm_in_two_files_is_one_error(directory: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        write(directory, name, ("web01", "/nothing/1.sock"))
    assert len(found(directory).errors) == 1


def test_a_socket_in_two_files_is_an_error_by_whatever_path(directory: Path) -> None:
    (directory / "link").symlink_to(directory)
    a = write(directory, "a.yaml", ("web01", f"{directory}/1.sock"))
    b = write(directory, "b.yaml", ("web02", f"{directory}/link/1.sock"))
    assert found(directory).errors == [
        (
            f'{b}: web02: found the socket {directory}/link/1.sock, which "web01" in {a} has, '
            "wanted a monitor of its own for every VM: it serves one client"
        )
    ]


def test_a_socket_twice_in_one_list_is_an_error_though_a_link_hides_it(directory: Path) -> None:
    (directory / "link").symlink_to(directory)
    paths = (f"{directory}/1.sock", f"{directory}/link/1.sock")
    (error,) = found(directory, vms=[{"name": f"web0{n}", "socket": path} for n, path in enumerate(paths)]).errors
    assert error.startswith(f'config: web01: found the socket {paths[1]}, which "web00" in config has, ')


def test_a_file_that_the_exporter_may_not_read_is_an_error(directory: Path) -> None:
    path = write(directory, "a.yaml", ("web01", "/nothing/1.sock"))
    os.chmod(path, 0o600)  # noqa: PTH101  it is a str
    (error,) = found(directory, NOBODY).errors
    assert error.startswith(f"{path}: {path} is -rw------- ")
    assert error.endswith(": nobody, as a test says, may not read it")
    assert found(directory, ROOT).errors == []


def test_what_is_discovered_and_is_watched_by_another_name_is_a_warning(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/web01.sock")
        vms = [{"name": "web", "socket": f"{directory}/web01.sock"}]
        seen = found(directory, vms=vms, discover=[{"glob": f"{directory}/*.sock"}])
    assert seen.errors == []
    assert seen.warnings == [
        (
            f"config: warning: web01: {directory}/web01.sock is not watched: "
            f"it has the same socket as web, {directory}/web01.sock"
        )
    ]


def test_what_is_discovered_and_is_no_target_is_a_warning(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/qga.sock")
        seen = found(directory, discover=[{"glob": f"{directory}/*.sock", "name": "(?P<vm>web[0-9]+)[.]sock$"}])
    assert seen.errors == []
    (warning,) = seen.warnings
    assert warning.startswith(f"config: warning: {directory}/qga.sock: no target: it does not match ")


def test_a_directory_that_cannot_be_looked_through_is_a_warning(directory: Path) -> None:
    (directory / "file").touch()
    seen = found(directory, files=[f"{directory}/file/*.yaml"], discover=[{"glob": f"{directory}/file/*.sock"}])
    assert seen.errors == []
    assert seen.warnings == [f"config: warning: {directory}/file: Not a directory"] * 2


def test_a_listener_that_cannot_listen_is_an_error(directory: Path) -> None:
    listen = [{"socket": f"{directory}/none/dial-in.sock", "group": "no-such-group"}]
    assert found(directory, listen=listen).errors == [
        f"config: listen {directory}/none/dial-in.sock: there is no group no-such-group",
        f"config: listen {directory}/none/dial-in.sock: there is no directory {directory}/none",
    ]


def test_two_listeners_at_one_socket_are_an_error_by_whatever_path(directory: Path) -> None:
    (directory / "link").symlink_to(directory)
    listen = [{"socket": f"{directory}/dial-in.sock"}, {"socket": f"{directory}/link/dial-in.sock"}]
    assert found(directory, listen=listen).errors == [
        (
            f"config: listen {directory}/link/dial-in.sock: "
            f"found the socket {directory}/dial-in.sock by another path, wanted one of its own"
        )
    ]


def test_a_vm_at_the_exporters_own_socket_is_an_error(directory: Path) -> None:
    path = f"{directory}/dial-in.sock"
    assert found(directory, listen=[{"socket": path}], vms=[{"name": "web01", "socket": path}]).errors == [
        f"config: web01: found {path}, where the exporter listens, wanted a monitor of a VM"
    ]
