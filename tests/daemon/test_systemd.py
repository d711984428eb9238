"""What the service manager hears."""

import os
import socket
from pathlib import Path

import pytest

from qmp_exporter.daemon.systemd import notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told_over_its_socket(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    name = "@qmp-exporter-test-notify" if abstract else str(directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1", "STATUS=Watching")
        assert manager.recv(100) == b"READY=1\nSTATUS=Watching"
        notify("STATUS=libvirt says: no\nSTOPPING=1")
        assert manager.recv(100) == b"STATUS=libvirt says: no STOPPING=1"


def test_without_a_manager_nothing_happens(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "gone"))
    notify("READY=1")


def test_the_watchdog_is_fed_only_if_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog_interval() is None


def test_a_manager_that_reads_nothing_does_not_hold_us(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
        taken = [notify("WATCHDOG=1") for _ in range(10_000)]
        assert False in taken
        manager.recv(100)
        assert notify("WATCHDOG=1")
