"""The kernel's own table -> whether a socket of this host is free."""

import contextlib
import socket
from pathlib import Path

from qmp_exporter.daemon.host.unix_sockets import UnixSockets


def test_a_socket_is_free_until_somebody_comes_be_he_accepted_or_not(directory: Path) -> None:
    path = directory / "web01.qmp"
    link = directory / "link.qmp"
    link.symlink_to(path)
    assert UnixSockets().is_free(str(path)) is None
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        assert UnixSockets().is_free(str(path)) is None
        listener.listen(1)
        assert UnixSockets().is_free(str(path)) is True
        assert UnixSockets().is_free(str(link)) is True
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(str(path))
        assert UnixSockets().is_free(str(path)) is False
        client.close()
        assert UnixSockets().is_free(str(path)) is False, "one that gave up stays in the queue"
        listener.accept()[0].close()
        assert UnixSockets().is_free(str(path)) is True
    assert UnixSockets().is_free(str(path)) is None


def test_it_does_not_matter_by_which_path_the_listener_was_bound(directory: Path) -> None:
    (directory / "run").mkdir()
    (directory / "var").symlink_to(directory / "run")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/var/101.qmp")
        listener.listen(1)
        assert UnixSockets().is_free(f"{directory}/run/101.qmp") is True
        assert UnixSockets().is_free(f"{directory}/var/101.qmp") is True
