"""The program as it is called: what it prints, where, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmp_exporter import __version__
from qmp_exporter.catalog.reference import reference
from qmp_exporter.revision import revision

TRACE = Path(__file__).parent / "traces" / "qemu-7.2" / "reset.jsonl"


def exporter(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qmp_exporter", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_is_for_people() -> None:
    done = exporter("--help")
    assert done.returncode == 0
    for word in ("--config.file", "--web.listen-address", "check-config", "replay", "demo", "full control of its VM"):
        assert word in done.stdout


def test_the_version_and_the_revision_are_told() -> None:
    assert exporter("--version").stdout == f"qmp-exporter {__version__} (revision {revision()})\n"


@pytest.mark.parametrize(
    "arguments",
    [(), ("--config.fil=x",), ("replay",), ("no-such-command",), ("--log.level=loud",)],
    ids=str,
)
def test_wrong_usage_is_told_in_one_line_with_status_2(arguments: tuple[str, ...]) -> None:
    done = exporter(*arguments)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_good_configuration_is_good(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("vms:\n  - {name: web01, socket: /nothing/web01.sock}\n")
    done = exporter("check-config", tmp_path / "config.yaml")
    assert done.returncode == 0
    assert "error" not in done.stderr
    assert "good, with 1 VMs\n" in done.stdout


def test_a_configuration_of_callers_alone_says_where_they_are_waited_for(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"listen: [{{socket: {tmp_path}/dial-in.sock}}]\n")
    done = exporter("check-config", config)
    assert done.returncode == 0
    assert f"good, with 0 VMs, and those that dial in at {tmp_path}/dial-in.sock\n" in done.stdout


def test_every_error_of_a_bad_configuration_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "config.yaml"
    bad.write_text("vms:\n  - {name: no, sokcet: /run/qmp/web01.sock}\n")
    for arguments in (("check-config", bad), (f"--config.file={bad}",)):
        done = exporter(*arguments)
        assert done.returncode == 2
        assert f"{bad}:2:" in done.stderr
        assert 'did you mean "socket"' in done.stderr
        assert len(done.stderr.splitlines()) >= 2
        assert "Traceback" not in done.stderr


def test_a_label_that_the_catalog_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("vms:\n  - {name: a, socket: /run/a.sock, labels: {device: x}}\n")
    done = exporter("check-config", tmp_path / "config.yaml")
    assert done.returncode == 2
    assert "device" in done.stderr


def test_a_managers_own_monitor_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "vms:\n  - {name: a, socket: /var/lib/libvirt/qemu/domain-1-a/monitor.sock}\n"
    )
    done = exporter("check-config", tmp_path / "config.yaml")
    assert done.returncode == 0
    assert "libvirt's own monitor" in done.stderr


def test_the_reference_is_printed() -> None:
    assert exporter("metrics").stdout == reference()


def test_a_recorded_session_becomes_a_page() -> None:
    done = exporter("replay", TRACE)
    assert done.returncode == 0
    assert 'qemu_vm_resets_total{reason="guest-reset",vm="reset"} 6.0\n' in done.stdout
    ended = exporter("replay", "--ended", TRACE).stdout
    assert 'qemu_up{vm="reset"} 0.0\n' in ended
    assert "qemu_vm_state{" not in ended


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"t": 1, "from": "nobody", "msg": {}}\n', "line 1: Invalid enum value 'nobody'"),
        ("SSH-2.0\n", "line 1: JSON is malformed"),
    ],
)
def test_what_is_no_recorded_session_is_told(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "bad.jsonl").write_text(content)
    done = exporter("replay", tmp_path / "bad.jsonl")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_message_in_a_recorded_session_is_told_and_the_rest_replayed(tmp_path: Path) -> None:
    trace = tmp_path / "odd.jsonl"
    trace.write_text('{"t": 1, "from": "qemu", "msg": {}}\n{"t": 2, "from": "qemu", "msg": {"event": "STOP"}}\n')
    done = exporter("replay", trace)
    assert done.returncode == 0
    assert "line 1: shape: neither event, return, error nor greeting" in done.stderr
    assert 'qemu_vm_stops_total{vm="odd"} 1.0\n' in done.stdout


def test_a_missing_file_is_told() -> None:
    done = exporter("replay", "/nothing.jsonl")
    assert (done.returncode, done.stderr) == (1, "qmp-exporter: /nothing.jsonl: No such file or directory\n")


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qe-") as name:
        yield Path(name)


@pytest.fixture
def config(directory: Path) -> Path:
    file = directory / "config.yaml"
    file.write_text(f"vms:\n  - {{name: web01, socket: {directory}/nothing.sock}}\n")
    return file


def test_it_runs_until_sigterm_and_tells_the_service_manager(directory: Path, config: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        manager.settimeout(30)
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "qmp_exporter", f"--config.file={config}", "--log.format=json"),
                *(f"--web.listen-address=unix:{directory}/a.sock", f"--web.listen-address=unix:{directory}/b.sock"),
            ],
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "3000000"},
        ) as process:
            assert manager.recv(1000).startswith(b"READY=1\nSTATUS=0 of 1 monitors connected")
            for name in ("a.sock", "b.sock"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(directory / name))
            assert manager.recv(1000) == b"WATCHDOG=1"
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            while manager.recv(1000) != b"STOPPING=1":
                pass
            assert process.wait(10) == 0
            assert time.monotonic() - asked < 5
            lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert sorted(line["msg"] for line in lines) == ["listening", "monitor unreachable", "stopped"]


def test_a_reload_that_is_asked_for_while_it_starts_is_done_once_it_runs(directory: Path, config: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        manager.settimeout(30)
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "qmp_exporter", f"--config.file={config}", "--log.format=json"),
                f"--web.listen-address=unix:{directory}/a.sock",
            ],
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
        ) as process:
            while not blocks(process.pid, signal.SIGHUP):
                assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            while not manager.recv(1000).startswith(b"RELOADING=1"):
                pass
            while not manager.recv(1000).startswith(b"READY=1"):
                pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def blocks(pid: int, number: signal.Signals) -> bool:
    """proc_pid_status(5), SigBlk"""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigBlk:\t")[2].partition("\n")[0], 16) >> (number - 1) & 1)


def test_an_address_in_use_is_told(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = exporter(f"--config.file={config}", f"--web.listen-address={address}")
    assert done.returncode == 1
    assert done.stderr == f"qmp-exporter: cannot listen on {address}: Address already in use\n"


def test_an_address_that_is_none_is_told(config: Path) -> None:
    done = exporter(f"--config.file={config}", "--web.listen-address=nowhere")
    assert done.returncode == 2
    assert "'nowhere': wanted :PORT" in done.stderr


def test_a_good_web_configuration_is_good(config: Path) -> None:
    config.with_name("web.yml").write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
    done = exporter("check-config", config, f"--web.config.file={config.with_name('web.yml')}")
    assert done.returncode == 0


@pytest.mark.parametrize("how", ["--config.file={}", "check-config {}"])
def test_every_error_of_a_bad_web_configuration_is_told(config: Path, how: str) -> None:
    called = how.format(config).split()
    web = config.with_name("web.yml")
    web.write_text("tls_server_config: {cert_file: a, kye_file: b}\nbasic_auth_users: {alice: secret}\n")
    done = exporter(*called, f"--web.config.file={web}")
    assert done.returncode == 2
    told = [line.partition(": ")[0] for line in done.stderr.splitlines() if not line.startswith("ts=")]
    assert told == [f"{web}:1:35", f"{web}:2:27"]


@pytest.mark.parametrize("path", ["metrics", "/-/healthy", "/{x}", "/a b"])
def test_a_telemetry_path_that_cannot_be_served_is_told(config: Path, path: str) -> None:
    done = exporter(f"--config.file={config}", f"--web.telemetry-path={path}")
    assert done.returncode == 2
    assert "--web.telemetry-path" in done.stderr
    assert "Traceback" not in done.stderr
