"""OpenSSL's own configuration as docs/web.md shows it -> the curves that an exporter with TLS agrees to."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import Authority

PAGE = Path(__file__).parents[1] / "docs" / "web.md"
PATIENCE = 30.0  # seconds


def shown(language: str) -> str:
    """The block of the page in that language which is about curves."""
    about = PAGE.read_text().partition("## Other curves")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", about, re.DOTALL)
    return str(block)


@pytest.fixture
def served(directory: Path) -> Iterator[Path]:
    """Give the directory of an exporter that has read both, with the certificate of its authority and its socket."""
    authority = Authority("ours")
    (directory / "ca.pem").write_bytes(authority.cert)
    authority.issue("localhost").write(directory, "server")
    (directory / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    (directory / "config.yaml").write_text("vms: []\n")
    (directory / "openssl.cnf").write_text(shown("ini"))
    name, _, path = shown("sh").strip().partition("=")
    assert path == "/etc/qmp-exporter/openssl.cnf"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        manager.settimeout(PATIENCE)
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "qmp_exporter", f"--config.file={directory}/config.yaml"),
                *(f"--web.config.file={directory}/web.yml", f"--web.listen-address=unix:{directory}/http.sock"),
            ],
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify"), name: str(directory / "openssl.cnf")},
        ) as process:
            assert manager.recv(1000).startswith(b"READY=1")
            yield directory
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def agrees(served: Path, *curves: str) -> bool:
    """Whether a client that offers this curve alone, or what OpenSSL offers by itself, is answered."""
    context = ssl.create_default_context(cafile=str(served / "ca.pem"))
    for curve in curves:
        context.set_ecdh_curve(curve)
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(PATIENCE)
        plain.connect(str(served / "http.sock"))
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
                return b"200 OK" in client.recv(1000)
        except (ssl.SSLError, ConnectionError):
            return False


def test_curves_that_python_cannot_set_are_those_of_openssls_own_configuration(served: Path) -> None:
    assert agrees(served)
    assert agrees(served, "prime256v1")
    assert not agrees(served, "secp384r1")
    assert not agrees(served, "secp521r1")
