"""What QEMU does not announce, or not in full -> the page all the same, within a poll and a second; here measured.

Where an event hints at the change polls are an hour apart, and only the event can have made the page right.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

import jobs
import provoke
import silent
from exporter import NEVER, Exporter, Vm, exporting
from page import Page
from qmp_exporter.demo.machine import MIB, Cdrom, DataDisk, Fault, Machine, Vnc
from qmp_exporter.demo.qemu import Qemu
from qmp_exporter.simulator import Monitor, SimulatedVm

pytestmark = pytest.mark.real

POLL = "1s"
IN_TIME = 1.0 + 1.0  # seconds: one poll, and one more
SETTLED = 1.2  # seconds until the queries that follow an event are done, and may be asked again at once


class Change(NamedTuple):
    """Up to a moment the machine is as `before` has made it; what `happens` then is what the page says."""

    name: str
    machine: Machine
    before: Callable[[Qemu], Awaitable[None]] | None
    happens: Callable[[Qemu], Awaitable[None]]
    page: str
    poll: str = NEVER


STOPS = DataDisk((Fault("write"),), werror="stop")
CHANGES = (
    Change(
        "reset-from-io-error",
        Machine(disk=STOPS),
        silent.stop_at_an_io_error,
        provoke.reset_while_stopped,
        'qemu_vm_state{state="prelaunch"} 1\nqemu_vm_state{state="io-error"} 0\nqemu_vm_running 0',
    ),
    Change(
        "reset-from-paused",
        Machine(),
        provoke.stop,
        provoke.reset_while_stopped,
        'qemu_vm_state{state="prelaunch"} 1\nqemu_vm_state{state="paused"} 0\nqemu_vm_running 0',
    ),
    Change(
        "tray-closed-by-reset",
        Machine(cdrom=Cdrom()),
        provoke.open_tray,
        provoke.system_reset,
        'qemu_block_tray_open{device="drive-ide2"} 0\nqemu_block_tray_moves_total{device="drive-ide2",to="closed"} 0',
    ),
    Change(
        "tray-closed-by-reset-in-the-same-second",  # the query that follows the tray keeps the next one waiting
        Machine(cdrom=Cdrom()),
        None,
        silent.open_the_tray_and_reset,
        'qemu_block_tray_open{device="drive-ide2"} 0\nqemu_block_tray_moves_total{device="drive-ide2",to="open"} 1',
    ),
    Change(
        "postmigrate-without-events",
        Machine(),
        None,
        silent.migrate_away,
        'qemu_vm_state{state="postmigrate"} 1\nqemu_vm_running 0\nqemu_vm_stops_total 1',
        POLL,
    ),
    Change(
        "postmigrate-without-events-from-paused",
        Machine(),
        provoke.stop,
        silent.migrate_away,
        'qemu_vm_state{state="postmigrate"} 1\nqemu_vm_running 0\nqemu_vm_stops_total 1',
        POLL,
    ),
    Change(
        "postmigrate-with-events",
        Machine(),
        None,
        silent.migrate_away_aloud,
        'qemu_vm_state{state="postmigrate"} 1\nqemu_vm_running 0\nqemu_vm_stops_total 1',
    ),
    Change(
        "job-paused-by-on-error-stop",
        Machine(disk=DataDisk()),
        None,
        jobs.mirror_stuck,
        'qemu_block_job_status{job_id="mirror0",type="mirror",status="paused"} 1',
    ),
)


async def right(exporter: Exporter, expected: str, figure: Callable[[str], None], absent: tuple[str, ...] = ()) -> Page:
    """-> the first page that says so, in time; how long it took is kept"""
    clock = asyncio.get_running_loop().time
    began = clock()
    page = await exporter.says(expected, absent=absent, deadline=IN_TIME)
    figure(f"right after {clock() - began:.2f} s")
    return page


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
async def test_what_happens_in_silence_is_on_the_page_in_time(boot, watch, figure, change):
    qemu = await boot(change.machine)
    exporter = await watch(qemu, poll=change.poll)
    if change.before:
        await change.before(qemu)
        await silent.pass_time(SETTLED)
    await change.happens(qemu)
    await right(exporter, change.page, figure)


async def test_an_incoming_migration_that_ends_in_paused(boot, watch, figure):
    source = await boot(Machine())
    await silent.migrate_away(source)
    qemu = await boot(silent.incoming(paused=True))
    exporter = await watch(qemu, poll=POLL)
    await exporter.says('qemu_vm_state{state="inmigrate"} 1\nqemu_vm_running 0')
    await silent.migrate_in(qemu, source.directory / silent.STATE_FILE)
    await right(exporter, 'qemu_vm_state{state="paused"} 1\nqemu_vm_running 0\nqemu_vm_stops_total 0', figure)
    assert "STOP" not in {event.name for event in qemu.events}


async def test_a_medium_that_is_taken_out(boot, watch, figure):
    qemu = await boot(Machine(cdrom=Cdrom()))
    exporter = await watch(qemu, poll=POLL)
    await provoke.open_tray(qemu)
    await exporter.says(
        'qemu_block_tray_open{device="drive-ide2"} 1\nqemu_block_medium_inserted{device="drive-ide2"} 1'
    )
    await silent.pass_time(SETTLED)
    await silent.remove_medium(qemu)
    await right(exporter, 'qemu_block_medium_inserted{device="drive-ide2"} 0', figure)


async def test_internal_error_is_a_stop_without_a_reason(short_path, figure):
    """Which takes KVM to happen; this is an embedded machine."""
    vm = SimulatedVm("web01")
    async with (
        Monitor(vm, short_path / "web01.sock") as monitor,
        exporting(short_path, Vm("web01", short_path / "web01.sock")) as exporter,
    ):
        await exporter.says("qemu_up 1")
        vm.run_state = "internal-error"
        vm.emit("STOP")
        await monitor.drain()
        await right(
            exporter, 'qemu_vm_state{state="internal-error"} 1\nqemu_vm_running 0\nqemu_vm_stops_total 1', figure
        )


async def test_a_job_that_has_come_and_gone_between_two_polls(boot, watch, figure):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu)
    with silent.asleep(exporter):
        await jobs.mirror(qemu, "copy0", speed=0)
        await jobs.mirror_completed(qemu, "copy0")
    await right(
        exporter,
        'qemu_block_jobs_finished_total{type="mirror",result="completed"} 1',
        figure,
        absent=("qemu_block_job_status", "qemu_block_job_offset_bytes", "qemu_block_job_length_bytes"),
    )


async def test_a_mirror_gets_longer_while_the_guest_writes(boot, watch, figure):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu, poll=POLL)
    await jobs.mirror(qemu, "copy0", speed=0)
    await qemu.event("BLOCK_JOB_READY", device="copy0")
    length = 'qemu_block_job_length_bytes{job_id="copy0",type="mirror"}'
    await exporter.says(f'{length} {16 * MIB}\nqemu_block_job_status{{job_id="copy0",type="mirror",status="ready"}} 1')
    await provoke.traffic(qemu, "write", 1)
    longer = await jobs.moved(qemu, "copy0", beyond=16 * MIB)
    await right(exporter, f"{length} {longer}", figure)


async def test_clients_behind_a_unix_socket_are_told_apart_by_their_number(boot, watch, figure):
    qemu = await boot(Machine(vnc=(Vnc(unix=True),)))
    exporter = await watch(qemu)
    async with provoke.vnc_session(qemu):
        async with provoke.vnc_session(qemu):
            await right(exporter, "qemu_vnc_clients 2\nqemu_vnc_sessions 2", figure)
        await right(exporter, "qemu_vnc_clients 1\nqemu_vnc_sessions 1", figure)
    await right(exporter, "qemu_vnc_clients 0\nqemu_vnc_sessions 0", figure)


@pytest.mark.usefixtures("spice_client")
async def test_channels_of_a_spice_session(boot, watch, figure):
    qemu = await boot(Machine(spice=True))
    exporter = await watch(qemu)
    async with provoke.spice_session(qemu) as channels:
        await right(exporter, f"qemu_spice_sessions 1\nqemu_spice_channels {len(channels)}", figure)
    await right(exporter, "qemu_spice_sessions 0\nqemu_spice_channels 0", figure)


async def test_an_exporter_that_starts_after_all_of_it_is_right_with_its_first_complete_page(boot, watch):
    qemu = await boot(Machine(disk=DataDisk(), cdrom=Cdrom(), vnc=(Vnc(unix=True),)))
    await jobs.mirror(qemu, "copy0")
    async with silent.everything_going_on(qemu):
        exporter = await watch(qemu)
        page = await exporter.page()
    assert (
        page.denials("""
            qemu_up 1
            qemu_vm_state{state="paused"} 1
            qemu_vm_running 0
            qemu_vm_stops_total 0
            qemu_block_tray_open{device="drive-ide2"} 1
            qemu_block_tray_moves_total{device="drive-ide2",to="open"} 0
            qemu_vnc_clients 1
            qemu_vnc_sessions 1
            qemu_vnc_connections_total 0
            qemu_block_job_status{job_id="copy0",type="mirror",status="running"} 1
            qemu_block_job_length_bytes{job_id="copy0",type="mirror"} 16777216
        """)
        == []
    )


async def test_an_exporter_that_is_behind_by_seconds_catches_up_with_every_event(boot, watch, figure):
    qemu = await boot(Machine(disk=DataDisk((Fault("write"),), werror="report"), cdrom=Cdrom(), vnc=(Vnc(),)))
    exporter = await watch(qemu)
    await provoke.open_tray(qemu)
    async with provoke.vnc_session(qemu):
        with silent.asleep(exporter):
            await provoke.io_error(qemu, "write")
            for _ in range(50):
                await provoke.stop(qemu)
                await provoke.resume(qemu)
            await silent.pass_time(3.0)
            await provoke.close_tray(qemu)
            await provoke.open_tray(qemu)
            await provoke.stop(qemu)
            await provoke.reset_while_stopped(qemu)
        await right(
            exporter,
            """
            qemu_vm_state{state="prelaunch"} 1
            qemu_vm_stops_total 51
            qemu_vm_resumes_total 50
            qemu_vm_resets_total{reason="host-qmp-system-reset"} 1
            qemu_block_io_errors_total{device="drive-virtio1",operation="write",action="report"} 1
            qemu_block_tray_open{device="drive-ide2"} 0
            qemu_block_tray_moves_total{device="drive-ide2",to="open"} 2
            qemu_block_tray_moves_total{device="drive-ide2",to="closed"} 1
            qemu_vnc_clients 1
            qemu_vnc_sessions 1
            qemu_monitor_connects_total 1
            """,
            figure,
        )


ERRORS = 'qemu_block_io_errors_total{device="drive-virtio1",operation="write",action="report"}'
OTHER = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(("uuid", "goes_on"), [(Machine().uuid, True), (OTHER, False)], ids=["same", "another"])
async def test_a_qemu_that_was_replaced_while_we_were_away(qemu_binary, short_path, figure, uuid, goes_on):
    """The same machine's counters go on, another one's start at zero."""
    monitor = short_path / "monitor.sock"
    async with exporting(short_path, Vm("web01", monitor), poll=POLL) as exporter:
        async with Qemu(silent.at(monitor), qemu_binary) as qemu:
            await exporter.says("qemu_up 1")
            await provoke.io_error(qemu, "write")
            await provoke.stop(qemu)
            await exporter.says(f"{ERRORS} 1\nqemu_vm_stops_total 1")
            with silent.asleep(exporter):
                qemu.kill()
                await qemu.process.wait()
                successor = await Qemu(silent.at(monitor, uuid=uuid), qemu_binary).start()
        try:
            counted = f"{ERRORS} {int(goes_on)}\nqemu_vm_stops_total {int(goes_on)}"
            connected = 'qemu_up 1\nqemu_vm_state{state="running"} 1\nqemu_monitor_connects_total 2'
            await right(exporter, f"{counted}\n{connected}", figure)
            await provoke.io_error(successor, "write")
            await right(exporter, f"{ERRORS} {1 + int(goes_on)}", figure)
        finally:
            await successor.stop()


async def test_a_vm_that_hangs_is_stale_and_leaves_the_other_one_alone(boot, short_path, figure):
    clock = asyncio.get_running_loop().time
    well, ill = await boot(Machine(name="web01")), await boot(Machine(name="db02", uuid=OTHER))
    async with exporting(short_path, Vm("web01", well.monitor), Vm("db02", ill.monitor), poll=POLL) as exporter:

        def of_the_ill(page: Page) -> Page:
            return Page(page.text, {"vm": "db02"})

        await exporter.shows(lambda page: page.denials("qemu_up 1") + of_the_ill(page).denials("qemu_up 1"))
        slowest = 0.0
        with provoke.hung(ill):
            hung = clock()
            for stops in range(1, 21):
                began = clock()
                await provoke.stop(well)
                await exporter.says(f'qemu_vm_state{{state="paused"}} 1\nqemu_vm_stops_total {stops}', deadline=IN_TIME)
                slowest = max(slowest, clock() - began)
                await provoke.resume(well)
            replied = of_the_ill(await exporter.page())["qemu_monitor_last_reply_timestamp_seconds"]
            page = await exporter.shows(
                lambda page: [] if 'reason="timeout"' in page.text else ["no query is said to be unanswered"]
            )
            figure(f"the other VM right after {slowest:.2f} s at most; unanswered after {clock() - hung:.1f} s")
            assert of_the_ill(page)["qemu_monitor_last_reply_timestamp_seconds"] == replied
            assert page["qemu_monitor_last_reply_timestamp_seconds"] > replied + 2
            assert page["qemu_vm_stops_total"] == page["qemu_vm_resumes_total"] == 20
        await provoke.stop(ill)
        await exporter.shows(lambda page: of_the_ill(page).denials('qemu_vm_state{state="paused"} 1\nqemu_up 1'))
