"""Monitors that vanish, come back, or are somebody else's -> what the page says of them, and how soon."""

import asyncio
import contextlib

import pytest

import jobs
import provoke
import rfb
from exporter import Vm, exporting
from hung import hung_file_system
from parts import need_exits, need_root
from qmp_exporter.demo.machine import Cdrom, DataDisk, Machine, Vnc
from qmp_exporter.demo.qemu import Qemu
from recorder import recording
from silent import at
from waiting import awaited

pytestmark = pytest.mark.real

DOWN_WITHIN = 2.0  # seconds
UP_WITHIN = 5.0
AT_ONCE = 1.0
AWAY = 10.0  # long enough for the exporter's back-off to have grown


@pytest.mark.parametrize("away", [0.0, AWAY], ids=["at-once", "after-a-while"])
async def test_a_qemu_that_is_killed_and_started_again(qemu_binary, short_path, figure, away):
    monitor = short_path / "monitor.sock"
    clock = asyncio.get_running_loop().time
    async with exporting(short_path, Vm("web01", monitor)) as exporter:
        await exporter.says('qemu_up 0\nqemu_monitor_state{state="missing"} 1\nqemu_monitor_connects_total 0')
        async with Qemu(at(monitor), qemu_binary) as qemu:
            await exporter.says("qemu_up 1\nqemu_monitor_connects_total 1")
            await provoke.io_error(qemu, "write")
            counted = 'qemu_block_io_errors_total{device="drive-virtio1",operation="write",action="report"} 1'
            before = await exporter.says(counted)
            killed = clock()
            qemu.kill()
            page = await exporter.says(
                f"""
                qemu_up 0
                qemu_monitor_state{{state="connected"}} 0
                qemu_monitor_disconnects_total{{after="none"}} 1
                qemu_monitor_disconnects_total{{after="shutdown"}} 0
                {counted}
                """,
                absent=before.gauges(),
                deadline=DOWN_WITHIN,
            )
            noticed = clock() - killed
            await exporter.says('qemu_monitor_state{state="refused"} 1')  # at the next attempt
        assert before.gauges() >= {"qemu_vm_running", "qemu_vm_info", "qemu_block_io_status"}
        reads = 'qemu_block_reads_completed_total{device="drive-virtio0"}'
        assert page[reads] == before[reads]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(away):
                await asyncio.Event().wait()  # time itself is what this test is about
        booted = clock()
        async with Qemu(at(monitor), qemu_binary):
            await exporter.says(
                f"qemu_up 1\nqemu_vm_running 1\nqemu_monitor_connects_total 2\n{counted}", deadline=UP_WITHIN
            )
            figure(f"qemu_up 0 after {noticed:.2f} s; 1 again {clock() - booted:.2f} s after QEMU was started")


async def test_a_qemu_that_is_killed_amid_everything_leaves_no_gauge_behind(boot, watch):
    qemu = await boot(Machine(disk=DataDisk(), cdrom=Cdrom(), vnc=(Vnc(),)))
    exporter = await watch(qemu)
    await jobs.mirror(qemu, "copy0")
    await provoke.open_tray(qemu)
    async with rfb.logged_in(await provoke.vnc_address(qemu)):
        before = await exporter.says("""
            qemu_vnc_sessions 1
            qemu_block_job_status{job_id="copy0",type="mirror",status="running"} 1
            qemu_block_tray_open{device="drive-ide2"} 1
        """)
        await provoke.sigkill(qemu)
    after = await exporter.says("qemu_up 0", absent=before.gauges())
    assert after.gauges() == set()


@pytest.mark.parametrize(
    ("ends", "how", "words"),
    [
        (lambda qemu: qemu.execute("quit"), "exited", "QEMU exited"),
        (provoke.sigkill, "SIGKILL", "QEMU was killed by SIGKILL"),
        (provoke.sigsegv, "SIGSEGV", "QEMU was killed by SIGSEGV"),
    ],
    ids=["quit", "SIGKILL", "SIGSEGV"],
)
async def test_how_a_qemu_ended_is_on_the_page_and_in_the_log(boot, watch, ends, how, words):
    need_exits()
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await exporter.says(f'qemu_process_exits_total{{how="exited"}} 0\nqemu_process_exits_total{{how="{how}"}} 0')
    await ends(qemu)
    page = await exporter.says(f'qemu_up 0\nqemu_process_exits_total{{how="{how}"}} 1')
    assert sum(page.family("qemu_process_exits_total").values()) == 1
    assert words in exporter.logged()
    told = await exporter.target()
    assert words in told["monitor"]["reason"]
    assert {"how": how} in [event["labels"] for event in told["events"] if event["event"] == "exited"]


async def test_a_qemu_that_hangs_is_up_but_does_not_answer(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu, poll="1s")
    stuck = 'qmp_exporter_command_errors_total{command="query-status",reason="timeout"}'
    with provoke.hung(qemu):
        page = await exporter.shows(
            lambda page: [] if "timeout" in str(page.family("qmp_exporter_command_errors_total")) else [f"no {stuck}"]
        )
        assert page["qemu_up"] == 1
    last_reply = page["qemu_monitor_last_reply_timestamp_seconds"]
    await provoke.stop(qemu)
    page = await exporter.says('qemu_vm_state{state="paused"} 1\nqemu_monitor_connects_total 1')
    assert page["qemu_monitor_last_reply_timestamp_seconds"] > last_reply + 4


async def test_a_monitor_that_somebody_else_holds_is_busy_until_he_leaves(boot, short_path, figure):
    qemu = await boot(Machine())
    clock = asyncio.get_running_loop().time
    async with contextlib.AsyncExitStack() as holder:
        await holder.enter_async_context(provoke.held(qemu))
        began = clock()
        async with exporting(short_path, Vm("web01", qemu.monitor)) as exporter:
            await exporter.says("""
                qemu_up 0
                qemu_monitor_state{state="busy"} 1
                qemu_monitor_state{state="connected"} 0
                qemu_monitor_connects_total 0
            """)
            busy = clock() - began
            await holder.aclose()
            left = clock()
            await exporter.says('qemu_up 1\nqemu_monitor_state{state="connected"} 1\nqemu_monitor_connects_total 1')
            figure(f"busy after {busy:.1f} s, connected {clock() - left:.1f} s after the holder had left")
    assert 5 < busy < 8


async def test_an_owner_who_leaves_a_busy_monitor_and_comes_back_is_served_at_once(boot, short_path, figure):
    """After two attempts the exporter stays away for a minute, and leaves nothing behind that waits in QEMU's queue."""
    qemu = await boot(Machine())
    clock = asyncio.get_running_loop().time
    served_after = []
    async with contextlib.AsyncExitStack() as owner, recording(short_path, qemu.monitor) as recorder:
        await owner.enter_async_context(provoke.held(qemu))
        async with exporting(short_path, Vm("web01", recorder.socket)) as exporter:

            async def given_up() -> bool | None:
                return recorder.ended == 2 or None

            await awaited(given_up, lambda: f"{recorder.ended} attempts; {exporter.logged()}")
            for _ in range(5):
                await owner.aclose()
                left = clock()
                await owner.enter_async_context(provoke.held(qemu))
                served_after.append(clock() - left)
            await exporter.says('qemu_monitor_state{state="busy"} 1\nqemu_monitor_connects_total 0')
    assert recorder.sessions == 2
    assert max(served_after) < AT_ONCE
    figure(f"served after {max(served_after) * 1000:.0f} ms at most")


async def test_somebody_else_gets_the_monitor_when_the_exporter_stops(boot, short_path):
    qemu = await boot(Machine())
    async with exporting(short_path, Vm("web01", qemu.monitor)) as exporter:
        await exporter.says("qemu_up 1")
    reader, writer = await asyncio.open_unix_connection(qemu.monitor)
    async with asyncio.timeout(5):
        assert b"QMP" in await reader.readline()
    writer.close()


async def test_a_manager_s_own_monitor_is_not_touched(boot, short_path):
    """Nobody holds this one, and it is left alone all the same; the one who insists gets it."""
    domain = short_path / "libvirt" / "qemu" / "domain-1-web01"
    domain.mkdir(parents=True)
    monitor = domain / "monitor.sock"
    await boot(at(monitor))
    async with exporting(short_path, Vm("web01", monitor)) as exporter:
        await exporter.says('qemu_up 0\nqemu_monitor_state{state="foreign"} 1\nqemu_monitor_connects_total 0')
    async with exporting(short_path, Vm("web01", monitor, allow_shared_monitor=True)) as exporter:
        await exporter.says('qemu_up 1\nqemu_monitor_state{state="connected"} 1')


async def test_a_socket_on_a_storage_that_hangs_is_in_nobodys_way(boot, short_path):
    """Looked for by its path and by a glob; the exporter ends as soon as ever, and another one starts."""
    need_root()
    qemu = await boot(Machine())
    (short_path / "nfs").mkdir()
    hung, well = Vm("db01", short_path / "nfs" / "db01.sock"), Vm("web01", qemu.monitor)
    with hung_file_system(short_path / "nfs"):
        for _ in range(2):
            async with exporting(short_path, hung, well, poll="1s") as exporter:
                await exporter.about(well).says("qemu_up 1\nqemu_vm_running 1")
                page = await exporter.says('qemu_up 0\nqemu_monitor_state{state="error"} 1')
                assert page["qmp_exporter_event_loop_lag_seconds"] < AT_ONCE
                assert (await exporter.target())["monitor"]["reason"] == "the file system does not answer"
