"""The guest and the process around it -> they start, say why if they cannot, and leave nothing behind."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import sys

import pytest

import provoke
from qmp_exporter.demo.control import CommandError, Control
from qmp_exporter.demo.machine import Machine, Vnc
from qmp_exporter.demo.qemu import GUEST, Qemu

pytestmark = pytest.mark.real


def test_the_committed_guest_is_the_assembled_source(nasm, tmp_path):
    out = tmp_path / "guest.bin"
    subprocess.run([nasm, "-f", "bin", "-o", out, GUEST.with_suffix(".asm")], check=True)
    assert out.read_bytes() == GUEST.read_bytes()
    assert len(out.read_bytes()) == 512


async def test_a_stopped_machine_leaves_nothing_behind(qemu_binary):
    async with Qemu(Machine(vnc=(Vnc(unix=True),)), qemu_binary) as qemu:
        directory = qemu.directory
        assert qemu.monitor.is_socket()
    assert not directory.exists()
    assert qemu.process.returncode == -signal.SIGKILL


async def test_a_start_that_is_cancelled_leaves_nothing_behind(qemu_binary):
    qemu = Qemu(Machine(extra=("-S",)), qemu_binary)  # so the guest is never ready
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await qemu.start()
    assert qemu.process.returncode == -signal.SIGKILL


async def test_a_machine_that_cannot_start_says_why(qemu_binary):
    qemu = Qemu(Machine(extra=("-device", "no-such-device")), qemu_binary)
    with pytest.raises(ConnectionError) as failure:
        await qemu.start()
    assert "no-such-device" in failure.value.__notes__[0]


OWNER = """
import asyncio, os, signal
from qmp_exporter.demo.qemu import Qemu

async def main():
    qemu = await Qemu().start()
    print(qemu.process.pid, qemu.directory, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.usefixtures("qemu_binary")
def test_a_machine_dies_with_an_owner_that_had_no_time_to_stop_it():
    owner = subprocess.run([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, check=False, timeout=30)
    pid, directory = owner.stdout.split()
    shutil.rmtree(directory)
    try:
        process = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    ended, _, _ = select.select([process], [], [], 10)
    os.close(process)
    assert ended


async def test_the_exporter_s_monitor_sees_what_the_owner_s_sees(boot):
    qemu = await boot(Machine())
    _, monitor = await asyncio.get_running_loop().create_unix_connection(Control, str(qemu.monitor))
    assert await monitor.negotiate() == qemu.greeting
    await provoke.stop(qemu)
    await monitor.event("STOP")
    monitor.close()


async def test_a_refused_command_says_why(boot):
    qemu = await boot(Machine())
    with pytest.raises(CommandError, match="query-nonsense") as refused:
        await qemu.execute("query-nonsense")
    assert refused.value.error_class == "CommandNotFound"


async def test_an_event_that_does_not_come_is_given_up(boot):
    qemu = await boot(Machine())
    with pytest.raises(TimeoutError, match="no STOP"):
        await qemu.event("STOP", deadline=0.01)


async def test_a_paused_start_is_prelaunch_until_it_is_resumed(boot):
    qemu = await boot(Machine(paused=True))
    assert (await qemu.execute("query-status"))["status"] == "prelaunch"
    await provoke.resume(qemu)
    await qemu.ready()
