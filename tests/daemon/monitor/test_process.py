"""What the host says of a process: this one, whose threads are known."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from qmp_exporter.daemon.monitor.process import peer_pid, read_process
from qmp_exporter.simulator import Monitor
from watching import Start, eventually


def test_a_process_is_known_by_a_thread_of_its_own() -> None:
    info = read_process(os.getpid(), {0: threading.get_native_id()})
    assert info is not None
    assert info.cpu_seconds > 0
    assert info.resident_bytes > 1_000_000
    assert info.open_fds is not None
    assert info.open_fds > 2
    assert info.vcpus[0].cpu_seconds > 0
    assert info.vcpus[0].run_delay_seconds >= 0


def test_a_process_without_such_a_thread_is_somebody_elses() -> None:
    """The one who passed QEMU its socket, or the same number in another namespace."""
    assert read_process(os.getpid(), {0: 1}) is None
    assert read_process(os.getpid(), {}) is None


def test_a_thread_that_is_gone_is_left_out() -> None:
    info = read_process(os.getpid(), {0: threading.get_native_id(), 1: 1})
    assert info is not None
    assert list(info.vcpus) == [0]


def test_a_process_that_is_gone_says_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert read_process(gone.pid, {0: gone.pid}) is None


def test_the_peer_of_a_unix_socket_is_known_and_of_tcp_not(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(directory / "s"))
        listener.listen()
        client.connect(str(directory / "s"))
        assert peer_pid(client) == os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert peer_pid(client) is None


def test_a_connection_that_was_closed_just_now_has_no_peer() -> None:
    one, other = socket.socketpair()
    other.close()
    one.close()
    assert peer_pid(one) is None


async def test_a_simulated_vm_has_no_process_on_the_page(monitor: Monitor, watch: Start) -> None:
    """Its vCPUs have no threads: nothing is claimed of the process that the socket belongs to."""
    page = watch(poll=0.05)
    await page.says("qemu_up")
    await eventually(lambda: "query-cpus-fast" in [request.execute for request in monitor.received])
    assert not [sample for sample in page.lines() if sample.startswith("qemu_process_")]
