"""Sockets that a service manager opened and passed -> the exporter answers on them, or says why it cannot."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from exporter import free_port
from parts import need

EXPORTER = (sys.executable, "-m", "qmp_exporter", "--web.systemd-socket")
# Becomes the exporter, with what is its standard input here as descriptor 3, where the service manager passes it.
PASSING = 'exec 3<&0 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=metrics "$@"'
PATIENCE = 30.0  # seconds


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qe-") as name:
        yield Path(name)


@pytest.fixture
def config(directory: Path) -> str:
    (directory / "config.yaml").write_text("vms: []\n")
    return f"--config.file={directory}/config.yaml"


def answer(address: tuple[str, int] | str) -> str:
    """What is answered there, once somebody accepts."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: client.recv(1000), b"")).decode()


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


def test_systemd_starts_it_with_the_first_connection(directory: Path, config: str) -> None:
    path = directory / "metrics.sock"
    port = free_port()
    activate = need("systemd-socket-activate")
    with subprocess.Popen(
        [activate, f"--listen={path}", f"--listen=127.0.0.1:{port}", "--fdname=unix:tcp", *EXPORTER, config],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "Listening on" in process.stderr.readline()
        assert "200 OK" in answer(str(path))
        said = ended(process)
    assert f'addresses="unix:{path} 127.0.0.1:{port}"' in said


def test_a_socket_that_was_passed_is_answered_on_and_outlives_the_exporter(config: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for exporter in (EXPORTER, EXPORTER[:-1]):  # the second one, as after a restart, does not ask for it
            with subprocess.Popen(
                ["/bin/sh", "-c", PASSING, "sh", *exporter, config],
                stdin=listener,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                assert "200 OK" in answer(listener.getsockname())
                said = ended(process)
            assert f"addresses=127.0.0.1:{listener.getsockname()[1]}" in said


def test_an_address_that_is_asked_for_is_taken_and_not_the_socket_that_was_passed(directory: Path, config: str) -> None:
    path = directory / "http.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen(
            ["/bin/sh", "-c", PASSING, "sh", *EXPORTER[:-1], config, f"--web.listen-address=unix:{path}"],
            stdin=listener,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            while not path.is_socket():
                assert process.poll() is None
            assert "200 OK" in answer(str(path))
            assert f"addresses=unix:{path}" in ended(process)
        finally:
            process.kill()


def refused(passed: IO[str] | socket.socket, config: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", PASSING, "sh", *EXPORTER, config],
        stdin=passed,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("listen", "kind"),
    [(False, socket.SOCK_STREAM), (False, socket.SOCK_DGRAM), (True, socket.SOCK_SEQPACKET)],
)
def test_what_cannot_be_listened_on_is_told(
    directory: Path, config: str, kind: socket.SocketKind, *, listen: bool
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as passed:
        passed.bind(str(directory / "passed.sock"))
        if listen:
            passed.listen()
        done = refused(passed, config)
    assert done.returncode == 2
    assert "--web.systemd-socket: descriptor 3 (metrics) is no listening stream" in done.stderr


def test_a_file_is_no_socket(config: str) -> None:
    with Path("/dev/null").open() as passed:
        done = refused(passed, config)
    assert done.returncode == 2
    assert "descriptor 3 (metrics) is no socket" in done.stderr


@pytest.mark.parametrize("environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}])
def test_without_a_socket_that_is_meant_for_it_it_does_not_start(config: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*EXPORTER, config],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "qmp-exporter: --web.systemd-socket: no sockets were passed: wanted to be started by a .socket unit\n"
    )
