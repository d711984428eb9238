"""`qmp-exporter diagnose` at a real QEMU in trouble; five of its reports are those of docs/diagnose.md."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import provoke
from exporter import PROGRAM, Vm, exporting, free_port
from parts import need_root
from qmp_exporter.demo.machine import Cdrom, DataDisk, Machine, Style
from qmp_exporter.demo.qemu import Qemu
from qmp_exporter.simulator import Monitor, SimulatedVm
from qmp_exporter.simulator.faults import Stall
from trouble import channel

pytestmark = pytest.mark.real

DOCUMENT = Path(__file__).parents[2] / "docs" / "diagnose.md"
AS_NOBODY = """
import os, sys
import qmp_exporter.diagnose.command  # while it may be read
from qmp_exporter.cli import main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
main(sys.argv[1:])
"""
HOLDER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as monitor:
    monitor.connect(sys.argv[1])
    print(monitor.recv(1), flush=True)
    while monitor.recv(9999):
        pass
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a service may have its sockets: not below /tmp, which a unit with PrivateTmp does not see."""
    need_root()
    with tempfile.TemporaryDirectory(prefix="qmp-", dir="/run") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def qemu(boot: Callable[[Machine], Awaitable[Qemu]], directory: Path) -> Qemu:
    """A VM with all kinds of sockets; its name is not that of other tests' VMs on this host."""
    extra = [*channel(Style.LIBVIRT, directory / "agent.sock")]
    for name, mon in (("db07", ",mode=control"), ("human", "")):
        extra += ["-chardev", f"socket,id={name},path={directory}/{name}.sock,server=on,wait=off"]
        extra += ["-mon", f"chardev={name}{mon}"]
    return await boot(Machine("db07", style=Style.LIBVIRT, disk=DataDisk(), cdrom=Cdrom(), extra=tuple(extra)))


async def diagnose(*arguments: object, program: tuple[str, ...] = (str(PROGRAM),)) -> tuple[int, str]:
    """-> exit status, and what is printed"""
    process = await asyncio.create_subprocess_exec(
        *program, "diagnose", *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


def assert_as_documented(title: str, directory: Path, arguments: str, said: str) -> None:
    """Numbers differ from run to run, so they only have to be there; UPDATE_GOLDEN=1 writes what was seen."""
    text = DOCUMENT.read_text()
    seen = f"$ qmp-exporter diagnose {arguments}\n{said}".replace(str(directory), "/run/qmp")
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, title
    if os.environ.get("UPDATE_GOLDEN"):
        text = text[: section.start(1)] + f"\n```console\n{seen.rstrip()}\n```\n\n" + text[section.end() :]
        DOCUMENT.write_text(text.rstrip() + "\n")
        return
    assert without_numbers(seen) in without_numbers(section[1])


def without_numbers(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)*", "N", text)).strip()


async def test_a_healthy_monitor_is_good(qemu: Qemu, directory: Path) -> None:
    status, said = await diagnose("--user=root", directory / "db07.sock")
    assert status == 0
    assert_as_documented("Healthy", directory, "/run/qmp/db07.sock", said)
    assert f"pid {qemu.process.pid} " in said


async def test_it_leaves_the_monitor_free(qemu: Qemu, directory: Path) -> None:
    for _ in range(3):
        assert (await diagnose("--user=root", directory / "db07.sock"))[0] == 0
    asked = [event.name for event in qemu.events]
    assert not {"STOP", "RESUME"} & set(asked)


async def test_a_held_monitor_names_the_process_that_holds_it(qemu: Qemu, directory: Path) -> None:
    (directory / "poll.py").write_text(HOLDER)
    holder = await asyncio.create_subprocess_exec(
        *("python3", "poll.py", "db07.sock"),
        executable=sys.executable,
        cwd=directory,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        await holder.stdout.readline()
        status, said = await diagnose("--user=root", directory / "db07.sock")
    finally:
        holder.kill()
        await holder.wait()
    assert status == 1
    assert f"held by pid {holder.pid} (python3 poll.py db07.sock), user root" in said
    assert f"systemctl status {holder.pid}\n" in said
    assert "kill" not in said
    assert f"listening: pid {qemu.process.pid} " in said
    assert_as_documented("Held by somebody else", directory, "/run/qmp/db07.sock", said)


async def test_a_user_without_permission_is_told_which_and_what_mends_it(qemu: Qemu, directory: Path) -> None:  # noqa: ARG001  it is there
    path = directory / "db07.sock"
    path.chmod(0o755)
    status, said = await diagnose("--user=nobody", path)
    assert status == 1
    assert_as_documented("No permission", directory, "--user=nobody /run/qmp/db07.sock", said)
    as_nobody = sys.executable, "-c", AS_NOBODY
    status, said = await diagnose(path, "--user=nobody", program=as_nobody)
    assert (status, said.splitlines()[0]) == (1, f"{path}: denied")
    fix = re.search(r"^ +(chgrp .*)$", said, re.MULTILINE)
    assert fix is not None
    fixing = await asyncio.create_subprocess_shell(fix[1])
    assert await fixing.wait() == 0
    status, said = await diagnose(path, "--user=nobody", program=as_nobody)
    assert (status, said.splitlines()[0]) == (0, f"{path}: good")


async def test_a_socket_file_that_a_killed_qemu_left_is_told(qemu: Qemu, directory: Path) -> None:
    qemu.process.send_signal(signal.SIGKILL)
    await qemu.process.wait()
    status, said = await diagnose("--user=root", directory / "db07.sock")
    assert status == 1
    assert_as_documented("A socket file without a QEMU", directory, "/run/qmp/db07.sock", said)


async def test_a_human_monitor_is_told_by_the_arguments_of_its_qemu(qemu: Qemu, directory: Path) -> None:
    status, said = await diagnose("--user=root", directory / "human.sock")
    assert status == 1
    assert f"{directory}/db07.sock" in said
    shown = said.replace(f"{qemu.monitor}", "/run/qmp/db07-spare.sock")
    assert_as_documented("Not a QMP monitor", directory, "/run/qmp/human.sock", shown)


async def test_a_human_monitor_is_told_under_another_name_too(qemu: Qemu, directory: Path) -> None:  # noqa: ARG001  it is there
    (directory / "link.sock").symlink_to(directory / "human.sock")
    status, said = await diagnose("--user=root", directory / "link.sock")
    assert status == 1
    assert "This is a human monitor (HMP), not a plain QMP monitor. It was not connected to." in " ".join(said.split())


async def test_a_monitor_that_is_watched_under_another_name_is_watched(qemu: Qemu, directory: Path) -> None:
    (directory / "link.sock").symlink_to(qemu.monitor)
    async with exporting(directory, Vm("db07", qemu.monitor)) as exporter:
        await exporter.says("qemu_up 1")
        status, said = await diagnose("--user=root", directory / "link.sock")
        assert (status, said.splitlines()[0]) == (0, f"{directory}/link.sock: watched"), said


async def test_a_qemu_that_is_stopped_by_a_signal_is_not_good_because_it_is_watched(
    qemu: Qemu, directory: Path
) -> None:
    async with exporting(directory, Vm("db07", qemu.monitor)) as exporter:
        await exporter.says("qemu_up 1")
        with provoke.hung(qemu):
            status, said = await diagnose("--user=root", qemu.monitor)
    assert (status, said.splitlines()[0]) == (1, f"{qemu.monitor}: hung"), said
    assert f"kill -CONT {qemu.process.pid}" in said


async def test_a_monitor_that_does_not_answer_the_exporter_is_not_good(directory: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with Monitor(SimulatedVm("db08"), directory / "db08.sock") as monitor:
        monitor.inject(Stall("query-status"))
        async with exporting(directory, Vm("db08", directory / "db08.sock"), address=address) as exporter:
            await exporter.says('qemu_monitor_state{state="hung"} 1')
            status, said = await diagnose("--user=root", directory / "db08.sock")
    assert (status, said.splitlines()[0]) == (1, f"{directory}/db08.sock: hung"), said
    assert "The exporter has had no answer for" in said


async def test_a_guest_agents_channel_is_told_and_not_connected_to(qemu: Qemu, directory: Path) -> None:  # noqa: ARG001  it is there
    status, said = await diagnose("--user=root", directory / "agent.sock")
    assert status == 1
    assert "a virtio serial port, such as the guest agent's" in said
    with socket.socket(socket.AF_UNIX) as agent:  # nobody has been there before: it is free
        agent.connect(str(directory / "agent.sock"))


async def test_an_http_server_is_told() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b"", "something was sent to a stranger"
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        status, said = await diagnose("--user=root", f"tcp:127.0.0.1:{port}")
    assert status == 1
    assert "Not QEMU" in said
    assert f"pid {os.getpid()} " in said


async def test_a_stopped_qemu_is_told_from_a_held_monitor(qemu: Qemu, directory: Path) -> None:
    qemu.process.send_signal(signal.SIGSTOP)
    try:
        status, said = await diagnose("--user=root", directory / "db07.sock")
    finally:
        qemu.process.send_signal(signal.SIGCONT)
    assert status == 1
    assert "QEMU is stopped by a signal" in said
    assert f"kill -CONT {qemu.process.pid}" in said


async def test_a_configuration_becomes_a_table_and_details_of_what_is_in_trouble(qemu: Qemu, directory: Path) -> None:  # noqa: ARG001  it is there
    config = directory / "config.yaml"
    config.write_text(
        f"vms:\n- {{name: db07, socket: {directory}/db07.sock}}\n- {{name: db08, socket: {directory}/db08.sock}}\n"
    )
    status, said = await diagnose("--user=root", config)
    assert status == 1
    assert re.search(r"^db07  good     QEMU [\d.]+, \d+ series, slowest answer [\d.]+ ms$", said, re.MULTILINE)
    assert re.search(r"^db08  missing  There is no such socket\.$", said, re.MULTILINE)
    assert f"{directory}/db08.sock: missing\n" in said
    assert f"{directory}/db07.sock: good\n" not in said
    assert said.endswith("2 targets: 1 good, 1 in trouble\n")
    assert (await diagnose("--user=root", config, "--vm=db07"))[0] == 0
