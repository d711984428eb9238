"""`qmp-exporter diagnose` and `check-config` as they are called: what they print, and how they end."""

import re
import socket
from pathlib import Path

import pytest

from qmp_exporter.cli import main
from qmp_exporter.config import Config, Target
from qmp_exporter.diagnose.command import DETAILED, SHOWN, _examined, _view, is_configuration, socket_target


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


def many(directory: Path, number: int) -> Path:
    """A configuration with so many VMs that are not there."""
    vms = "".join(f"- {{name: vm{n}, socket: /nothing/{n}.sock}}\n" for n in range(number))
    (directory / "config.yaml").write_text(f"vms:\n{vms}")
    return directory / "config.yaml"


def test_warnings_are_bounded(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    _, _, error = run(capsys, "check-config", many(directory, 200))
    lines = error.splitlines()
    assert len(lines) == SHOWN + 1
    assert lines[-1] == f"and {200 - SHOWN} more warnings"


def test_with_strict_a_warning_is_a_failure_and_else_it_is_not(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    config = many(directory, 1)
    assert run(capsys, "check-config", config)[0] == 0
    status, out, error = run(capsys, "check-config", "--strict", config)
    assert (status, out) == (1, "")
    assert "vm0: warning: /nothing/0.sock: " in error
    config.write_text("vms: []\n")
    assert run(capsys, "check-config", "--strict", config)[0] == 0


def test_of_the_syntax_alone_it_is_told_without_a_look_at_this_host(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    config = directory / "config.yaml"
    config.write_text(
        "listen: [{socket: /nothing/dial-in.sock, group: no-such-group}]\n"
        "discover: [{glob: /run/qmp/*.sock, owner: no-such-user}]\n"
        f"files: ['{directory}/*.yaml']\n"  # the configuration is one, and no list
    )
    assert run(capsys, "check-config", config)[0] == 2
    assert run(capsys, "check-config", "--syntax-only", "--strict", config) == (0, f"{config}: good syntax\n", "")
    config.write_text("listen: [{sokcet: /nothing/dial-in.sock}]\n")
    status, out, error = run(capsys, "check-config", "--syntax-only", config)
    assert (status, out) == (2, "")
    assert 'did you mean "socket"?' in error


def test_what_cannot_work_is_an_error_of_check_config_and_of_diagnose(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    (directory / "config.yaml").write_text(f"listen: [{{socket: {directory}/none/dial-in.sock}}]\n")
    status, out, error = run(capsys, "check-config", directory / "config.yaml")
    assert (status, out) == (2, "")
    assert "there is no directory" in error
    status, out, _ = run(capsys, "diagnose", directory / "config.yaml")
    assert status == 1
    assert "It cannot: there is no directory" in out


def test_what_is_discovered_now_is_looked_at_like_what_is_written_down(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{directory}/db01.sock")
    (directory / "not.sock.because-of-its-name").touch()
    (directory / "more.yaml").write_text(f"- {{name: web02, socket: {directory}/web02.sock}}\n")
    (directory / "config").write_text(
        f"vms:\n- {{name: web01, socket: {directory}/web01.sock}}\n"
        f"discover:\n- {{glob: '{directory}/*.sock'}}\nfiles: ['{directory}/*.yaml', '/nothing/*.yaml']\n"
    )
    status, out, error = run(capsys, "diagnose", directory / "config")
    assert (status, error) == (1, "")
    assert re.findall(r"^(\w+) +(missing|refused) ", out, re.MULTILINE) == [
        ("web01", "missing"),
        ("web02", "missing"),
        ("db01", "refused"),
    ]
    status, out, _ = run(capsys, "check-config", directory / "config")
    assert (status, out) == (0, f"{directory}/config: good, with 3 VMs\n")


def test_diagnose_fails_for_a_file_of_targets_with_a_mistake_though_all_others_are_good(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    (directory / "more.yaml").write_text("- {name: web02}\n")
    (directory / "config").write_text(f"files: ['{directory}/*.yaml']\n")
    status, _, error = run(capsys, "diagnose", directory / "config")
    assert status == 1
    assert error.startswith(f"{directory}/more.yaml:1:3: [0].socket: missing")


def test_details_are_bounded_and_the_table_is_not(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    status, text, _ = run(capsys, "diagnose", "--user=root", many(directory, DETAILED + 5))
    assert status == 1
    assert text.count("Problem  ") == DETAILED
    assert "Details of 5 more are left out" in text
    assert text.count(" missing ") == DETAILED + 5


def test_a_name_does_nothing_to_a_terminal_or_a_shell(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    evil = "$(reboot) \x1b[2J'"
    (directory / evil).touch()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{directory}/{evil}.sock")
    for path in (f"{directory}/{evil}.sock", f"{directory}/{evil}-missing.sock"):
        text, *_ = _examined([Target(evil, path)], Config(), _view("nobody"), one_by_one=True)
        assert all(line.isprintable() for line in text.splitlines())
        commands = [line.strip() for line in text.splitlines() if line.startswith(" " * 11)]
        assert commands
        assert [line for line in commands if "reboot" in line and "reboot" in _expanded(line)] == []
    (directory / "config").write_text(f"discover: [{{glob: '{directory}/*.sock', name: '(?P<vm>.*)[.]sock$'}}]\n")
    for command in ("check-config", "diagnose"):
        _, out, error = run(capsys, command, directory / "config")
        assert "reboot" in out + error
        assert all(line.isprintable() for line in (out + error).splitlines())


def _expanded(line: str) -> str:
    """What a shell would run by itself if the line were pasted: all that is in no quotes."""
    return re.sub(r"'[^']*'", "", line)
