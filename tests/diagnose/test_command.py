"""`qmp-exporter diagnose` and `check-config` as they are called: what they print, and how they end."""

import re
import socket
from pathlib import Path

import pytest

from qmp_exporter.cli import main
from qmp_exporter.config import Target, parse
from qmp_exporter.diagnose.command import (
    DETAILED,
    WARNINGS,
    diagnose,
    is_configuration,
    socket_target,
    targets_of,
    warnings,
)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("what", "target"),
    [
        ("/run/qmp/web01.sock", Target("web01", "/run/qmp/web01.sock")),
        ("unix:/run/qmp/web01.sock", Target("web01", "/run/qmp/web01.sock")),
        ("@web01", Target("web01", "@web01")),
        ("/run/vms/db07/qmp.sock", Target("db07", "/run/vms/db07/qmp.sock")),
        ("/run/vms/db08/monitor.sock", Target("db08", "/run/vms/db08/monitor.sock")),
        ("/var/lib/libvirt/qemu/domain-3-a/monitor.sock", Target("a", "/var/lib/libvirt/qemu/domain-3-a/monitor.sock")),
        ("/var/run/qemu-server/101.qmp", Target("101", "/var/run/qemu-server/101.qmp")),
        ("tcp:127.0.0.1:4444", Target("4444", "tcp:127.0.0.1:4444")),
    ],
)
def test_a_socket_is_named_as_in_a_configuration(what: str, target: Target) -> None:
    assert socket_target(what, None) == target
    assert socket_target(what, "db01").name == "db01"


def test_a_path_may_be_relative(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.chdir(directory)
    assert socket_target("web01.sock", None).socket == f"{directory}/web01.sock"


def test_a_configuration_is_told_from_a_socket(directory: Path) -> None:
    (directory / "targets").touch()
    assert is_configuration(f"{directory}/targets")
    assert is_configuration("/nothing/config.yaml")
    assert not is_configuration(f"{directory}/web01.sock")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/" + "x" * 200,), "wanted at most 107"),
        (("tcp:nowhere",), "wanted tcp:host:port"),
        (("/nothing/config.yaml",), "cannot be read"),
        (("@x", "--user=no-such-user"), "no user is called no-such-user"),
    ],
)
def test_wrong_usage_is_told_with_status_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    status, _, error = run(capsys, "diagnose", *arguments)
    assert status == 2
    assert said in error


def test_a_vm_that_a_configuration_does_not_have_is_told(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    (directory / "config.yaml").write_text("vms:\n- {name: web01, socket: /run/qmp/web01.sock}\n")
    status, _, error = run(capsys, "diagnose", directory / "config.yaml", "--vm=web02")
    assert (status, "no VM is called web02" in error) == (2, True)


def test_check_config_warns_of_what_is_seen_without_connecting(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    directory.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as stale, socket.socket(socket.AF_UNIX) as listener:
        stale.bind(f"{directory}/stale.sock")
        listener.bind(f"{directory}/open.sock")
        listener.listen()
        listener.setblocking(False)  # noqa: FBT003  the standard library's way
        (directory / "open.sock").chmod(0o777)
        (directory / "config.yaml").write_text(
            "vms:\n"
            f"- {{name: missing, socket: {directory}/missing.sock}}\n"
            f"- {{name: stale, socket: {directory}/stale.sock}}\n"
            f"- {{name: open, socket: {directory}/open.sock}}\n"
            "- {name: abstract, socket: '@qmp-exporter-test'}\n"
            "- {name: remote, socket: 'tcp:0.0.0.0:4444'}\n"
            "- {name: theirs, socket: /run/qemu-server/101.qmp}\n"
        )
        status, out, error = run(capsys, "check-config", directory / "config.yaml")
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert status == 0
    assert "good, with 6 VMs" in out
    for name, words in {
        "missing": "There is no such socket.",
        "stale": "Nobody listens at the socket.",
        "open": "anybody on this host may connect",
        "abstract": "an abstract socket has no permissions",
        "remote": "a monitor on TCP knows no password",
        "theirs": "Proxmox's own monitor",
    }.items():
        assert any(f"{name}: warning: " in line and words in line for line in error.splitlines()), name


def test_warnings_are_bounded() -> None:
    lines = list(warnings([Target(f"vm{number}", f"/nothing/{number}.sock") for number in range(200)]))
    assert len(lines) == WARNINGS + 1
    assert lines[-1] == f"and {200 - WARNINGS} more warnings"


def test_what_is_discovered_now_is_looked_at_like_what_is_written_down(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{directory}/db01.sock")
    (directory / "not.sock.because-of-its-name").touch()
    (directory / "more.yaml").write_text(f"- {{name: web02, socket: {directory}/web02.sock}}\n")
    text = f"vms:\n- {{name: web01, socket: {directory}/web01.sock}}\n"
    text += f"discover:\n- {{glob: '{directory}/*.sock'}}\nfiles: ['{directory}/*.yaml', '/nothing/*.yaml']\n"
    targets, refused = targets_of(parse(text, "config"))
    assert [target.name for target in targets] == ["web01", "db01", "web02"]
    assert refused == []


def test_a_file_of_targets_with_a_mistake_is_told(directory: Path) -> None:
    (directory / "more.yaml").write_text("- {name: web02}\n")
    _, refused = targets_of(parse(f"files: ['{directory}/*.yaml']\n", "config"))
    assert len(refused) == 1
    assert "more.yaml: warning: no target: " in refused[0]
    assert "socket: missing" in refused[0]


def test_details_are_bounded_and_the_table_is_not() -> None:
    targets = [Target(f"vm{number}", f"/nothing/{number}.sock") for number in range(DETAILED + 5)]
    text, good = diagnose(targets, "root", one_by_one=False)
    assert not good
    assert text.count("Problem  ") == DETAILED
    assert "Details of 5 more are left out" in text
    assert text.count(" missing ") == len(targets)


def test_a_name_does_nothing_to_a_terminal_or_a_shell(directory: Path) -> None:
    evil = "$(reboot) \x1b[2J'"
    (directory / evil).touch()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{directory}/{evil}.sock")
    for path in (f"{directory}/{evil}.sock", f"{directory}/{evil}-missing.sock"):
        text, _ = diagnose([Target(evil, path)], "nobody", one_by_one=True)
        assert all(line.isprintable() for line in text.splitlines())
        commands = [line.strip() for line in text.splitlines() if line.startswith(" " * 11)]
        assert commands
        assert [line for line in commands if "reboot" in line and "reboot" in _expanded(line)] == []
    assert all(line.isprintable() for line in warnings([Target(evil, f"{directory}/{evil}.sock")]))


def _expanded(line: str) -> str:
    """What a shell would run by itself if the line were pasted: all that is in no quotes."""
    return re.sub(r"'[^']*'", "", line)
