"""Every byte that the exporter sends to a real QEMU, whatever happens there -> queries of a fixed list, one by one."""

import asyncio
from collections import Counter

import pytest

import jobs
import provoke
from exporter import Vm, exporting
from page import Page
from qmp_exporter.catalog import CATALOG
from qmp_exporter.demo.control import Control
from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Vnc
from recorder import recording

pytestmark = pytest.mark.real

# Written out, not taken from the catalog: the one who makes that longer shall have to say so here, too.
ALLOWED = {
    "query-balloon",
    "query-block",
    "query-block-jobs",
    "query-blockstats",
    "query-chardev",
    "query-commands",
    "query-cpus-fast",
    "query-iothreads",
    "query-memory-size-summary",
    "query-migrate",
    "query-name",
    "query-pr-managers",
    "query-spice",
    "query-status",
    "query-uuid",
    "query-vnc-servers",
}
WITH_ARGUMENTS = {
    "('qom-list', {'path': '/machine/peripheral'})",
    "('qom-get', {'path': '/machine/peripheral/balloon0', 'property': 'guest-stats'})",
}
FLAT = "('query-block', {'flat': True})"  # from QEMU 11.1 on
FOUNDING_EVENTS = (
    "BLOCK_IO_ERROR",
    "BLOCK_JOB_CANCELLED",
    "BLOCK_JOB_COMPLETED",
    "DEVICE_TRAY_MOVED",
    "RESET",
    "RESUME",
    "RTC_CHANGE",
    "SHUTDOWN",
    "SPICE_CONNECTED",
    "SPICE_DISCONNECTED",
    "SPICE_INITIALIZED",
    "STOP",
    "VNC_CONNECTED",
    "VNC_DISCONNECTED",
    "VNC_INITIALIZED",
    "WATCHDOG",
)
EVERYTHING = Machine(
    disk=DataDisk((Fault("write"),), werror="report"),
    cdrom=Cdrom(),
    vnc=(Vnc(),),
    spice=True,
    watchdog="none",
    extra=("-device", "virtio-balloon-pci,id=balloon0"),
)


@pytest.mark.usefixtures("spice_client")
async def test_sixteen_events_make_it_ask_and_never_do(boot, short_path):
    qemu = await boot(EVERYTHING)
    async with (
        recording(short_path, qemu.monitor) as recorder,
        exporting(short_path, Vm("web01", recorder.socket), poll="1s") as exporter,
    ):
        await exporter.says("qemu_up 1")
        await exporter.shows(lambda _: [] if "qom-get" in recorder.commands else ["the balloon was not found yet"])
        await everything_happens(qemu)
        counted = await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="shutdown"} 1')
    for event in FOUNDING_EVENTS:
        seen = sum(past.name == event for past in qemu.events)
        assert counted[f'qemu_events_total{{event="{event}"}}'] == seen > 0
    first, *rest = recorder.messages
    assert (first["execute"], first.get("arguments", {})) == ("qmp_capabilities", {})
    arguments = {str((command["execute"], command.get("arguments"))) for command in rest}
    version = qemu.greeting["version"]["qemu"]
    flat = {FLAT} if (version["major"], version["minor"]) >= (11, 1) else set()
    plain = ALLOWED - ({"query-block"} if flat else set())
    assert arguments == {str((command, None)) for command in plain} | WITH_ARGUMENTS | flat
    assert {key for command in recorder.messages for key in command} == {"execute", "id", "arguments"}
    assert recorder.most_in_flight == 1
    assert recorder.sessions == 1


async def everything_happens(qemu):
    """The sixteen founding events, the end of the machine last."""
    await provoke.io_error(qemu, "write")
    await provoke.stop(qemu)
    await provoke.resume(qemu)
    await provoke.open_tray(qemu)
    await provoke.set_clock(qemu)
    await provoke.watchdog(qemu, "none")
    async with provoke.vnc_session(qemu), provoke.spice_session(qemu):
        await jobs.mirror(qemu, "copy0")
        await jobs.moved(qemu, "copy0", beyond=1 << 20)
        await jobs.cancelled(qemu, "copy0")
    await jobs.mirror(qemu, "copy1", speed=0)
    await jobs.mirror_completed(qemu, "copy1")
    await provoke.system_reset(qemu)
    await provoke.quit_(qemu)


async def test_polls_ask_only_what_may_have_changed_and_touches_no_image(boot, short_path):
    qemu = await boot(EVERYTHING)
    async with (
        recording(short_path, qemu.monitor) as recorder,
        exporting(short_path, Vm("web01", recorder.socket), poll="1s") as exporter,
    ):
        await exporter.says("qemu_up 1")
        reads = 'qemu_block_reads_completed_total{device="drive-virtio1"}'
        for before in range(3):
            await provoke.traffic(qemu, "read", 1)
            await exporter.says(f"{reads} {before + 1}")
    wanted = ALLOWED | {"qmp_capabilities"}
    at_connect = Counter(message["execute"] for message in recorder.messages[: len(wanted)])
    assert at_connect == dict.fromkeys(wanted, 1)
    asked = recorder.commands - at_connect
    slow = {query.command for query in CATALOG.queries if query.every in {"slow", "rare"}}
    assert all(asked[command] <= 1 for command in slow), "the minute's turn may fall here, once"
    assert set(asked) - slow == {
        "query-balloon",
        "qom-list",
        "qom-get",
        "query-blockstats",
    }


async def test_ten_thousand_io_errors_are_all_counted_and_cost_qemu_a_few_queries(boot, short_path, figure):
    """From 9.2 on QEMU sends one of them a second; what it counts itself is right in any version."""
    qemu = await boot(Machine(disk=DataDisk((Fault("write"),), werror="report", rerror="report")))
    clock = asyncio.get_running_loop().time
    async with (
        recording(short_path, qemu.monitor) as recorder,
        exporting(short_path, Vm("web01", recorder.socket), poll="1s") as exporter,
    ):
        await exporter.says("qemu_up 1")
        recorder.messages.clear()
        began = clock()
        await provoke.io_error_storm(qemu, "write", 10_000)

        def sent() -> int:
            return sum(event.name == "BLOCK_IO_ERROR" for event in qemu.events)

        def wrong(page: Page) -> list[str]:
            """Asked again for each page: an event that QEMU held back comes up to a second after the storm."""
            return page.denials(f"""
                qemu_block_io_errors_total{{device="drive-virtio1",operation="write",action="report"}} {sent()}
                qemu_events_total{{event="BLOCK_IO_ERROR"}} {sent()}
                qemu_block_failed_operations_total{{device="drive-virtio1",operation="write"}} 10000
            """)

        await exporter.shows(wrong)
        took = clock() - began
        asked = recorder.commands
    figure(f"{sent()} events in {took:.1f} s, meanwhile asked: {dict(asked)}")
    assert (sent() == 10_000) is (provoke.version(qemu) < (9, 2))
    assert 1 <= asked["query-block"] <= took + 2
    assert asked.total() <= 8 * (took + 2)
    assert recorder.most_in_flight == 1


async def test_the_recorder_would_notice_two_queries_in_flight(boot, short_path):
    qemu = await boot(Machine())
    async with recording(short_path, qemu.monitor) as recorder:
        _, impatient = await asyncio.get_running_loop().create_unix_connection(Control, str(recorder.socket))
        await impatient.negotiate()
        await asyncio.gather(impatient.execute("query-status"), impatient.execute("query-name"))
        impatient.close()
    assert recorder.most_in_flight == 2
    assert recorder.commands == {"qmp_capabilities": 1, "query-status": 1, "query-name": 1}


async def test_nothing_is_said_to_a_monitor_that_is_held(boot, short_path):
    qemu = await boot(Machine())
    async with (
        provoke.held(qemu),
        recording(short_path, qemu.monitor) as recorder,
        exporting(short_path, Vm("web01", recorder.socket)) as exporter,
    ):
        await exporter.says('qemu_monitor_state{state="busy"} 1')
    assert recorder.messages == []
