"""A real QEMU that stops, resets, ends, or has its watchdog and clock touched -> the page; polls are an hour apart."""

import time

import pytest

import provoke
from qmp_exporter.demo.machine import DataDisk, Machine

pytestmark = pytest.mark.real

NOTHING_HAPPENED = """
    qemu_up 1
    qemu_monitor_state{state="connected"} 1
    qemu_monitor_connects_total 1
    qemu_monitor_disconnects_total{after="shutdown"} 0
    qemu_monitor_disconnects_total{after="none"} 0
    qemu_vm_state{state="running"} 1
    qemu_vm_running 1
    qemu_vm_stops_total 0
    qemu_vm_resumes_total 0
    qemu_vm_resets_total{reason="guest-reset"} 0
    qemu_vm_resets_total{reason="host-qmp-system-reset"} 0
    qemu_vm_shutdowns_total{reason="guest-shutdown"} 0
    qemu_vm_shutdowns_total{reason="host-qmp-quit"} 0
    qemu_vm_shutdowns_total{reason="host-signal"} 0
    qemu_watchdog_expirations_total{action="reset"} 0
    qemu_watchdog_expirations_total{action="shutdown"} 0
    qemu_watchdog_expirations_total{action="poweroff"} 0
    qemu_watchdog_expirations_total{action="pause"} 0
    qemu_watchdog_expirations_total{action="debug"} 0
    qemu_watchdog_expirations_total{action="none"} 0
    qemu_watchdog_expirations_total{action="inject-nmi"} 0
    qemu_rtc_changes_total 0
"""


async def test_who_it_is(boot, watch):
    qemu = await boot(Machine(name="db02", uuid="5f7b0f0e-1d2f-4c53-9f0a-abcdef012345"))
    exporter = await watch(qemu)
    version = ".".join(str(qemu.greeting["version"]["qemu"][part]) for part in ("major", "minor", "micro"))
    await exporter.says(f"""
        {NOTHING_HAPPENED}
        qemu_vm_info{{name="db02",uuid="5f7b0f0e-1d2f-4c53-9f0a-abcdef012345",version="{version}"}} 1
    """)


async def test_stop_and_resume_by_command(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    before = await exporter.says(NOTHING_HAPPENED, absent=["qemu_last_event_timestamp_seconds"])
    began = time.time()
    await provoke.stop(qemu)
    page = await exporter.says("""
        qemu_vm_state{state="paused"} 1
        qemu_vm_running 0
        qemu_vm_stops_total 1
        qemu_vm_resumes_total 0
        qemu_events_total{event="STOP"} 1
    """)
    happened = page["qemu_last_event_timestamp_seconds"]
    assert before["qemu_vm_state_change_timestamp_seconds"] < began <= happened <= time.time()
    assert page["qemu_vm_state_change_timestamp_seconds"] == happened
    assert page["qemu_monitor_last_reply_timestamp_seconds"] > began
    await provoke.resume(qemu)
    await exporter.says("""
        qemu_vm_state{state="running"} 1
        qemu_vm_running 1
        qemu_vm_stops_total 1
        qemu_vm_resumes_total 1
        qemu_events_total{event="RESUME"} 1
    """)


async def test_a_start_that_is_paused_is_prelaunch(boot, watch):
    qemu = await boot(Machine(paused=True))
    exporter = await watch(qemu)
    await exporter.says("""
        qemu_vm_state{state="prelaunch"} 1
        qemu_vm_running 0
        qemu_vm_stops_total 0
    """)


async def test_a_reset_by_the_owner(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await exporter.says(NOTHING_HAPPENED)
    await provoke.system_reset(qemu)
    resets = [event.data["reason"] for event in qemu.events if event.name == "RESET"]
    await exporter.says(f"""
        qemu_vm_resets_total{{reason="host-qmp-system-reset"}} 1
        qemu_vm_resets_total{{reason="guest-reset"}} {resets.count("guest-reset")}
        qemu_events_total{{event="RESET"}} {len(resets)}
        qemu_vm_state{{state="running"}} 1
    """)


async def test_a_reset_by_the_guest(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await provoke.guest_reset(qemu)
    resets = [event.data["reason"] for event in qemu.events if event.name == "RESET"]
    await exporter.says(f"""
        qemu_vm_resets_total{{reason="guest-reset"}} {resets.count("guest-reset")}
        qemu_vm_resets_total{{reason="host-qmp-system-reset"}} 0
        qemu_vm_running 1
    """)
    assert set(resets) == {"guest-reset"}


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (provoke.quit_, "host-qmp-quit"),
        (provoke.sigterm, "host-signal"),
        (provoke.power_off, "guest-shutdown"),
    ],
)
async def test_an_end_that_was_announced(boot, watch, end, reason):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu)
    await exporter.says(NOTHING_HAPPENED)
    await end(qemu)
    page = await exporter.says(f"""
        qemu_up 0
        qemu_monitor_state{{state="missing"}} 1
        qemu_monitor_disconnects_total{{after="shutdown"}} 1
        qemu_monitor_disconnects_total{{after="none"}} 0
        qemu_vm_shutdowns_total{{reason="{reason}"}} 1
    """)
    assert sum(page.family("qemu_vm_shutdowns_total").values()) == 1
    assert page.gauges() == set()
    assert 'qemu_block_io_errors_total{action="report",device="drive-virtio1",operation="write"}' in page.family(
        "qemu_block_io_errors_total"
    )


async def test_with_no_shutdown_qemu_stays_until_it_is_ended(boot, watch):
    qemu = await boot(Machine(no_shutdown=True))
    exporter = await watch(qemu)
    await provoke.power_off(qemu)
    await exporter.says("""
        qemu_up 1
        qemu_vm_state{state="shutdown"} 1
        qemu_vm_running 0
        qemu_vm_shutdowns_total{reason="guest-shutdown"} 1
        qemu_vm_stops_total 1
        qemu_monitor_disconnects_total{after="shutdown"} 0
    """)
    await provoke.sigterm(qemu)
    await exporter.says("""
        qemu_up 0
        qemu_vm_shutdowns_total{reason="guest-shutdown"} 1
        qemu_vm_shutdowns_total{reason="host-signal"} 1
        qemu_monitor_disconnects_total{after="shutdown"} 1
    """)


async def test_with_no_shutdown_a_machine_that_was_set_going_again_ends_by_surprise(boot, watch):
    qemu = await boot(Machine(no_shutdown=True))
    exporter = await watch(qemu)
    await provoke.power_off(qemu)
    await provoke.reset_while_stopped(qemu)
    await provoke.resume(qemu)
    await exporter.says('qemu_vm_state{state="running"} 1')
    await provoke.sigkill(qemu)
    await exporter.says("""
        qemu_monitor_disconnects_total{after="shutdown"} 0
        qemu_monitor_disconnects_total{after="none"} 1
    """)


@pytest.mark.parametrize(("action", "state"), [("none", "running"), ("pause", "watchdog"), ("reset", "running")])
async def test_the_watchdog_expires(boot, watch, action, state):
    qemu = await boot(Machine(watchdog="none"))
    exporter = await watch(qemu)
    await exporter.says(NOTHING_HAPPENED)
    await provoke.watchdog(qemu, action)
    page = await exporter.says(f"""
        qemu_watchdog_expirations_total{{action="{action}"}} 1
        qemu_vm_state{{state="{state}"}} 1
        qemu_vm_running {int(state == "running")}
        qemu_vm_stops_total {int(action == "pause")}
    """)
    assert sum(page.family("qemu_watchdog_expirations_total").values()) == 1
    assert (page['qemu_vm_resets_total{reason="guest-reset"}'] > 0) is (action == "reset")
    if action == "pause":
        await provoke.resume(qemu)
        await exporter.says('qemu_vm_state{state="running"} 1')


async def test_a_watchdog_that_switches_the_machine_off_announces_its_end(boot, watch):
    qemu = await boot(Machine(watchdog="none"))
    exporter = await watch(qemu)
    await provoke.watchdog_poweroff(qemu)
    await exporter.says("""
        qemu_up 0
        qemu_watchdog_expirations_total{action="poweroff"} 1
        qemu_monitor_disconnects_total{after="shutdown"} 1
        qemu_monitor_disconnects_total{after="none"} 0
        qemu_vm_shutdowns_total{reason="guest-shutdown"} 0
    """)


async def test_the_guest_sets_its_clock(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await exporter.says(NOTHING_HAPPENED, absent=["qemu_rtc_offset_seconds"])
    for changes, minutes in ((1, 1), (2, 0)):  # there and back
        await provoke.set_clock(qemu)
        offset = qemu.events[-1].data["offset"]
        assert abs(offset) == pytest.approx(60 * minutes, abs=2)
        await exporter.says(f"""
            qemu_rtc_changes_total {changes}
            qemu_rtc_offset_seconds {offset}
        """)
