"""What the host says of a process: this one, whose threads are known."""

import ctypes
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from parts import need_root
from qmp_exporter.core.process import HostWants, Part, ProcessInfo
from qmp_exporter.daemon.host.network import NetworkReader
from qmp_exporter.daemon.host.process import SEEN_AGAIN, ProcessReader, peer_pid
from qmp_exporter.simulator import Monitor
from taps import make_tap
from watching import Start, eventually


def reader(pid: int, *parts: Part) -> ProcessReader:
    return ProcessReader(pid, parts or ["process"], NetworkReader())


def wanting(vcpus: dict[int, int], iothreads: dict[str, int] | None = None) -> HostWants:
    wants = HostWants()
    wants.vcpus, wants.iothreads = vcpus, iothreads or {}
    return wants


def read(pid: int, vcpus: dict[int, int]) -> ProcessInfo | None:
    return reader(pid).read(wanting(vcpus), 0.0)


def test_a_process_is_known_by_a_thread_of_its_own() -> None:
    info = read(os.getpid(), {0: threading.get_native_id()})
    assert info is not None
    assert info.cpu_seconds > 0
    assert info.resident_bytes > 1_000_000
    assert info.open_fds is not None
    assert info.open_fds > 2
    assert info.vcpus[0].cpu_seconds > 0
    assert info.vcpus[0].run_delay_seconds >= 0


def test_a_process_without_such_a_thread_is_somebody_elses() -> None:
    """The one who passed QEMU its socket, or the same number in another namespace."""
    assert read(os.getpid(), {0: 1}) is None
    assert read(os.getpid(), {}) is None


def test_a_thread_that_is_gone_is_left_out() -> None:
    info = read(os.getpid(), {0: threading.get_native_id(), 1: 1})
    assert info is not None
    assert list(info.vcpus) == [0]


def test_a_process_that_is_gone_says_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert read(gone.pid, {0: gone.pid}) is None


def test_the_process_is_told_as_other_programs_see_it() -> None:
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    info = read(os.getpid(), {0: threading.get_native_id()})
    us = psutil.Process()
    assert info is not None
    assert info.cpu_seconds == pytest.approx(sum(us.cpu_times()[:2]), abs=0.5)
    assert info.resident_bytes == pytest.approx(us.memory_info().rss, rel=0.1)
    assert info.start_time == pytest.approx(us.create_time(), abs=1)
    assert info.threads == us.num_threads()
    assert info.max_fds == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert faults <= info.major_faults <= resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    assert info.swap_bytes == 0
    assert info.hugetlb_bytes == 0


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Thread(threading.Thread):
    """It works when it is told to, until it is told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.work, self.worked, self.goes_on = threading.Semaphore(0), threading.Semaphore(0), True
        self.start()

    def run(self) -> None:
        while self.work.acquire() and self.goes_on:
            busy(0.2)
            self.worked.release()

    def works(self) -> None:
        self.work.release()
        self.worked.acquire()

    def ends(self) -> None:
        self.goes_on = False
        self.work.release()
        self.join()
        while Path(f"/proc/self/task/{self.native_id}").exists():  # the kernel is done with it a moment later
            time.sleep(0.001)


def test_what_no_thread_with_a_name_took_is_the_emulators() -> None:
    iothread, pid = Thread(), os.getpid()
    assert iothread.native_id is not None
    ours = reader(pid, "threads")
    wants = wanting({0: threading.get_native_id()}, {"iothread0": iothread.native_id})

    def told() -> ProcessInfo:
        info = ours.read(wants, 0.0)
        assert info is not None
        assert info.emulator_cpu_seconds is not None
        return info

    before = told()
    iothread.works()
    after = told()
    took = after.iothreads["iothread0"].cpu_seconds - before.iothreads["iothread0"].cpu_seconds
    assert took == pytest.approx(0.2, abs=0.05)
    assert after.emulator_cpu_seconds == pytest.approx(before.emulator_cpu_seconds, abs=0.05)
    iothread.ends()
    ended = told()
    assert ended.iothreads == {}
    assert ended.emulator_cpu_seconds == pytest.approx(before.emulator_cpu_seconds, abs=0.05)
    other = Thread()
    other.works()
    assert told().emulator_cpu_seconds - ended.emulator_cpu_seconds == pytest.approx(0.2, abs=0.05)
    other.ends()


def test_threads_of_vhost_are_known_by_their_name() -> None:
    named = ctypes.CDLL(None, use_errno=True).pthread_setname_np
    thread = Thread()
    pid, wants = os.getpid(), wanting({0: threading.get_native_id()})
    named.argtypes = ctypes.c_ulong, ctypes.c_char_p
    info = reader(pid, "threads").read(wants, 0.0)
    assert info is not None
    assert info.vhost_cpu_seconds is None
    named(thread.ident, b"vhost-1234")
    thread.works()
    info = reader(pid, "threads").read(wants, 0.0)
    thread.ends()
    assert info is not None
    assert info.vhost_cpu_seconds == pytest.approx(0.2, abs=0.05)


def test_a_process_in_another_pid_namespace_is_known_by_its_numbers_there() -> None:
    need_root()
    inside = "import threading; print(threading.get_native_id(), flush=True); input()"
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", inside]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        thread = int(process.stdout.readline())
        pid = psutil.Process(process.pid).children()[0].pid
        info = reader(pid).read(wanting({0: thread, 1: thread + 1}), 0.0)
        process.communicate("\n")
    assert thread == 1
    assert info is not None
    assert list(info.vcpus) == [0]


def test_an_interface_that_is_plugged_in_is_found_within_a_minute() -> None:
    need_root()
    ours, wants = reader(os.getpid(), "network"), wanting({0: threading.get_native_id()})

    def names(now: float) -> list[str]:
        info = ours.read(wants, now)
        assert info is not None
        return [interface.name for interface in info.interfaces]

    assert names(0.0) == []
    tap = make_tap("qmptap4", "fe:54:00:00:00:04")
    try:
        assert names(SEEN_AGAIN / 2) == []
        assert names(SEEN_AGAIN) == ["qmptap4"]
    finally:
        os.close(tap)
    assert names(2 * SEEN_AGAIN) == []


def test_only_what_is_wanted_is_read() -> None:
    wants = wanting({0: threading.get_native_id()})
    wants.mounts = True
    info = reader(os.getpid(), "process").read(wants, 0.0)
    assert info is not None
    assert info.mounts is None
    info = reader(os.getpid(), "mounts").read(wants, 0.0)
    assert info is not None
    assert info.mounts is not None
    assert "/proc" in {mount.point for mount in info.mounts}
    assert info.max_fds is info.emulator_cpu_seconds is None
    assert not wants.mounts


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
