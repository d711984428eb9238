"""Each provocation on a real QEMU -> the events and replies that are promised, seen by the machine's owner alone."""

import errno

import pytest

import jobs
import provoke
from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Style, Vnc
from qmp_exporter.demo.qemu import Answer, Order, Qemu

pytestmark = pytest.mark.real

STYLES = pytest.mark.parametrize("style", Style, ids=lambda style: style.name.lower())
BROKEN = Fault("write")
FULL = Fault("write", errno.ENOSPC)


def names(qemu: Qemu) -> list[str]:
    return [event.name for event in qemu.events]


async def state(qemu: Qemu) -> str:
    return (await qemu.execute("query-status"))["status"]


async def counted(qemu: Qemu) -> dict[str, int]:
    """What blockstats says of the data disk."""
    return (await qemu.execute("query-blockstats"))[1]["stats"]


# Disks


@STYLES
@pytest.mark.parametrize("operation", ["read", "write"])
@pytest.mark.parametrize(("policy", "failed"), [("report", 1), ("ignore", 0)])
async def test_an_io_error_that_does_not_stop_the_machine(boot, style, operation, policy, failed):
    disk = DataDisk((Fault(operation),), **{f"{operation[0]}error": policy})
    qemu = await boot(Machine(style=style, disk=disk))
    await provoke.io_error(qemu, operation)
    await provoke.traffic(qemu, operation, 3)
    (event,) = qemu.events
    assert event.data["action"] == policy
    assert event.data["device"] == ("drive-virtio1" if style is Style.PROXMOX else "")
    assert (await counted(qemu))[f"failed_{operation[0]}{'d' if operation == 'read' else 'r'}_operations"] == failed
    assert await state(qemu) == "running"


@STYLES
@pytest.mark.parametrize(
    ("disk", "operation", "nospace"),
    [
        pytest.param(DataDisk((BROKEN,), werror="stop"), "write", False, id="write-stop"),
        pytest.param(DataDisk((Fault("read"),), rerror="stop"), "read", False, id="read-stop"),
        pytest.param(DataDisk((FULL,)), "write", True, id="enospc"),
    ],
)
async def test_an_io_error_that_stops_the_machine_stops_it_again_after_cont(boot, style, disk, operation, nospace):
    qemu = await boot(Machine(style=style, disk=disk))
    await provoke.io_error_stop(qemu, operation)
    assert await state(qemu) == "io-error"
    assert qemu.events[0].data["nospace"] is nospace
    await provoke.io_error_retried(qemu)
    await provoke.reset_while_stopped(qemu)
    assert await state(qemu) == "prelaunch"
    assert names(qemu) == ["BLOCK_IO_ERROR", "STOP", "RESUME", "BLOCK_IO_ERROR", "STOP", "RESET"]


@STYLES
async def test_a_disk_that_failed_once_goes_on_after_cont(boot, style):
    qemu = await boot(Machine(style=style, disk=DataDisk((Fault("write", once=True),), werror="stop")))
    await provoke.io_error_stop(qemu, "write")
    await provoke.io_error_mended(qemu)
    assert await state(qemu) == "running"
    assert (await counted(qemu))["failed_wr_operations"] == 0


async def test_traffic_moves_the_counters(boot):
    qemu = await boot(Machine(disk=DataDisk()))
    before = await counted(qemu)
    await provoke.traffic(qemu, "write", 100)
    await provoke.traffic(qemu, "read", 50)
    after = await counted(qemu)
    assert after["wr_bytes"] - before["wr_bytes"] == 100 * 512
    assert after["rd_operations"] - before["rd_operations"] == 50
    assert await qemu.order(Order.WRITE_BOOT) is Answer.DONE
    assert await qemu.order(Order.READ_BOOT) is Answer.DONE


async def test_a_storm_of_io_errors(boot):
    """Ten thousand of them: QEMU's own counter always says so, the number of events only before 9.2."""
    qemu = await boot(Machine(disk=DataDisk((BROKEN,), werror="report")))
    await provoke.io_error_storm(qemu, "write", 10_000)
    assert (await counted(qemu))["failed_wr_operations"] == 10_000
    if provoke.version(qemu) < (9, 2):
        assert names(qemu).count("BLOCK_IO_ERROR") == 10_000
    else:
        assert 1 <= names(qemu).count("BLOCK_IO_ERROR") < 1_000


# Run state


async def test_stops_resets_and_a_night_s_sleep(boot):
    qemu = await boot(Machine())
    await provoke.stop(qemu)
    assert await state(qemu) == "paused"
    await provoke.resume(qemu)
    await provoke.system_reset(qemu)
    await provoke.guest_reset(qemu)
    await provoke.suspend(qemu)
    assert await state(qemu) == "suspended"
    await provoke.wake_up(qemu)
    assert await state(qemu) == "running"


@pytest.mark.parametrize("end", [provoke.quit_, provoke.sigterm, provoke.sigkill, provoke.power_off])
async def test_ends_of_a_machine(boot, end):
    qemu = await boot(Machine())
    await end(qemu)
    assert names(qemu) == ([] if end is provoke.sigkill else ["SHUTDOWN"])


async def test_a_panic_ends_a_machine(boot):
    qemu = await boot(Machine(extra=provoke.PVPANIC))
    await provoke.panic(qemu)


@pytest.mark.parametrize(("end", "left_in"), [(provoke.power_off, "shutdown"), (provoke.panic, "guest-panicked")])
async def test_with_no_shutdown_the_process_stays_until_sigterm(boot, end, left_in):
    qemu = await boot(Machine(no_shutdown=True, extra=provoke.PVPANIC))
    await end(qemu)
    assert await state(qemu) == left_in
    qemu.terminate()
    assert await qemu.ended() == 0


async def test_a_hung_machine_answers_when_it_goes_on(boot):
    qemu = await boot(Machine())
    with provoke.hung(qemu), pytest.raises(TimeoutError):
        await qemu.execute("query-status", deadline=0.1)
    assert await state(qemu) == "running"


# Devices


async def test_the_clock(boot):
    qemu = await boot(Machine())
    await provoke.set_clock(qemu)
    assert abs(qemu.events[0].data["offset"]) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(("action", "left_in"), [("none", "running"), ("pause", "watchdog"), ("reset", "running")])
async def test_the_watchdog(boot, action, left_in):
    qemu = await boot(Machine(watchdog="none"))
    await provoke.watchdog(qemu, action)
    assert await state(qemu) == left_in


@STYLES
@pytest.mark.parametrize("bus", ["ide", "scsi"])
async def test_a_tray_moves_with_events_but_is_closed_silently_by_a_reset(boot, style, bus):
    qemu = await boot(Machine(style=style, cdrom=Cdrom(bus)))
    await provoke.open_tray(qemu)
    await provoke.close_tray(qemu)
    await provoke.eject(qemu)
    assert (await qemu.execute("query-block"))[-1]["tray_open"] is True
    await provoke.system_reset(qemu)
    assert names(qemu).count("DEVICE_TRAY_MOVED") == 3
    assert (await qemu.execute("query-block"))[-1]["tray_open"] is False


# Screens


async def test_vnc_sessions_on_two_displays(boot):
    qemu = await boot(Machine(vnc=(Vnc(), Vnc(unix=True))))
    async with provoke.vnc_session(qemu, 0), provoke.vnc_session(qemu, 1):
        servers = await qemu.execute("query-vnc-servers")
        assert [len(server["clients"]) for server in servers] == [1, 1]
    assert sorted(names(qemu)) == sorted(2 * ["VNC_CONNECTED", "VNC_INITIALIZED", "VNC_DISCONNECTED"])


@pytest.mark.parametrize("vnc", [Vnc(), Vnc(unix=True)], ids=["tcp", "unix"])
async def test_a_vnc_client_that_never_logs_in(boot, vnc):
    qemu = await boot(Machine(vnc=(vnc,)))
    async with provoke.vnc_visit(qemu):
        pass
    assert names(qemu) == ["VNC_CONNECTED", "VNC_DISCONNECTED"]


async def test_a_vnc_login_that_fails(boot):
    qemu = await boot(Machine(vnc=(Vnc(password=True),)))
    await provoke.vnc_failed_login(qemu)
    assert names(qemu) == ["VNC_CONNECTED", "VNC_DISCONNECTED"]


@pytest.mark.usefixtures("spice_client")
async def test_a_spice_session_has_several_channels(boot):
    qemu = await boot(Machine(spice=True))
    async with provoke.spice_session(qemu) as channels:
        assert sorted(channels) == [1, 2, 3, 4]
        assert len((await qemu.execute("query-spice"))["channels"]) == 4
    assert [names(qemu).count(f"SPICE_{what}") for what in ("CONNECTED", "INITIALIZED", "DISCONNECTED")] == [4, 4, 4]


# Jobs


@STYLES
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (jobs.mirror, jobs.mirror_completed),
        (jobs.mirror, jobs.cancelled),
        (jobs.drive_mirror, jobs.mirror_completed),
        (jobs.stream, jobs.stream_completed),
    ],
)
async def test_a_job_moves_and_then_ends(boot, style, start, end):
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    await start(qemu, "copy0")
    offset = await jobs.moved(qemu, "copy0")
    assert await jobs.moved(qemu, "copy0", beyond=offset) < 16 << 20
    await end(qemu, "copy0")
    assert await qemu.execute("query-block-jobs") == []


@STYLES
async def test_a_job_fails_on_a_bad_target(boot, style):
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    await jobs.mirror_failed(qemu, "copy0")
    assert await qemu.execute("query-block-jobs") == []


async def test_a_job_is_stuck_on_a_bad_target(boot):
    qemu = await boot(Machine(style=Style.LIBVIRT, disk=DataDisk()))
    await jobs.mirror_stuck(qemu, "copy0")
    (job,) = await qemu.execute("query-block-jobs")
    assert (job["status"], job["io-status"]) == ("paused", "failed")
    await jobs.cancelled(qemu, "copy0")
