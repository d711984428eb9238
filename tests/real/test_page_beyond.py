"""What befalls a real QEMU once in a while (panic, sleep, a damaged image, migration) -> the page.

Polls are an hour apart, but where a test says that nothing announces the change.
"""

import asyncio

import pytest

import provoke
import silent
import trouble
import virtio
from exporter import Vm, exporting
from page import Page
from qmp_exporter.demo.machine import MIB, DataDisk, Machine, Style
from qmp_exporter.demo.qemu import Qemu

pytestmark = pytest.mark.real

POLL = "1s"
STYLES = pytest.mark.parametrize("style", Style, ids=lambda style: style.name.lower())
DISK = {Style.PROXMOX: "drive-virtio1", Style.LIBVIRT: "virtio-disk1"}


def since(major: int, minor: int, qemu: Qemu) -> None:
    """An older QEMU skips the test: it has no such thing."""
    if provoke.version(qemu) < (major, minor):
        pytest.skip(f"since QEMU {major}.{minor}")


# The guest


async def test_a_panic_with_no_shutdown_leaves_the_machine_in_guest_panicked(boot, watch):
    qemu = await boot(Machine(no_shutdown=True, extra=provoke.PVPANIC))
    exporter = await watch(qemu)
    await exporter.says("""
        qemu_guest_panics_total{action="pause",type="unknown"} 0
        qemu_guest_panics_total{action="poweroff",type="unknown"} 0
        qemu_guest_panics_total{action="pause",type="hyper-v"} 0
        qemu_guest_panics_total{action="poweroff",type="hyper-v"} 0
        qemu_guest_crashloads_total{action="run"} 0
    """)
    await provoke.panic(qemu)
    page = await exporter.says("""
        qemu_up 1
        qemu_guest_panics_total{action="pause",type="unknown"} 1
        qemu_events_total{event="GUEST_PANICKED"} 1
        qemu_vm_state{state="guest-panicked"} 1
        qemu_vm_state{state="running"} 0
        qemu_vm_running 0
        qemu_vm_stops_total 1
    """)
    assert sum(page.family("qemu_guest_panics_total").values()) == 1
    assert sum(page.family("qemu_vm_shutdowns_total").values()) == 0


async def test_a_panic_that_switches_the_machine_off(boot, watch):
    qemu = await boot(Machine(extra=provoke.PVPANIC))
    exporter = await watch(qemu)
    await provoke.panic(qemu)
    panics = [event.data["action"] for event in qemu.events if event.name == "GUEST_PANICKED"]
    page = await exporter.says(f"""
        qemu_up 0
        qemu_guest_panics_total{{action="poweroff",type="unknown"}} {panics.count("poweroff")}
        qemu_vm_shutdowns_total{{reason="guest-panic"}} 1
        qemu_monitor_disconnects_total{{after="shutdown"}} 1
        qemu_monitor_disconnects_total{{after="none"}} 0
    """)
    assert sum(page.family("qemu_guest_panics_total").values()) == len(panics) > 0


@pytest.mark.parametrize(
    ("policy", "action", "state"), [("pause", "pause", "guest-panicked"), ("none", "run", "running")]
)
async def test_a_panic_does_what_the_owner_wants_of_it(boot, watch, policy, action, state):
    qemu = await boot(Machine(extra=provoke.PVPANIC))
    since(6, 0, qemu)
    exporter = await watch(qemu)
    await trouble.panic_shall(qemu, policy)
    await trouble.panic(qemu)
    page = await exporter.says(f"""
        qemu_up 1
        qemu_guest_panics_total{{action="{action}",type="unknown"}} 1
        qemu_vm_state{{state="{state}"}} 1
        qemu_vm_running {int(state == "running")}
        qemu_vm_stops_total {int(state != "running")}
    """)
    assert sum(page.family("qemu_guest_panics_total").values()) == 1


async def test_a_crash_kernel_takes_over(boot, watch):
    qemu = await boot(Machine(extra=provoke.PVPANIC))
    exporter = await watch(qemu)
    await exporter.says('qemu_guest_crashloads_total{action="run"} 0')
    for times in (1, 2):
        await trouble.crashload(qemu)
        page = await exporter.says(f"""
            qemu_guest_crashloads_total{{action="run"}} {times}
            qemu_events_total{{event="GUEST_CRASHLOADED"}} {times}
            qemu_vm_state{{state="running"}} 1
        """)
    assert sum(page.family("qemu_guest_panics_total").values()) == 0


async def test_the_guest_sleeps_and_wakes_up(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await exporter.says("""
        qemu_vm_suspends_total{to="ram"} 0
        qemu_vm_suspends_total{to="disk"} 0
        qemu_vm_wakeups_total 0
    """)
    await provoke.suspend(qemu)
    await exporter.says("""
        qemu_vm_suspends_total{to="ram"} 1
        qemu_vm_wakeups_total 0
        qemu_vm_state{state="suspended"} 1
        qemu_vm_running 0
        qemu_vm_state{state="running"} 0
    """)
    await provoke.wake_up(qemu)
    await exporter.says("""
        qemu_vm_suspends_total{to="ram"} 1
        qemu_vm_suspends_total{to="disk"} 0
        qemu_vm_wakeups_total 1
        qemu_vm_state{state="running"} 1
        qemu_vm_running 1
    """)


async def test_the_power_button(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await exporter.says("qemu_vm_powerdowns_total 0")
    await trouble.powerdown(qemu)
    page = await exporter.says("""
        qemu_vm_powerdowns_total 1
        qemu_events_total{event="POWERDOWN"} 1
        qemu_vm_state{state="running"} 1
    """)
    assert sum(page.family("qemu_vm_shutdowns_total").values()) == 0


# Disks


@STYLES
@pytest.mark.parametrize("layer", ["format", "storage"])
async def test_a_write_beyond_the_threshold(boot, watch, style, layer):
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    exporter = await watch(qemu)
    counted = f'qemu_block_write_threshold_exceeded_total{{device="{DISK[style]}"}}'
    await exporter.says(f"{counted} 0")
    node = await trouble.node(qemu, layer)
    for times in (1, 2):
        await trouble.exceed_write_threshold(qemu, node)
        page = await exporter.says(f"{counted} {times}")
    assert sum(page.family("qemu_block_write_threshold_exceeded_total").values()) == 2


@STYLES
@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
async def test_a_damaged_image(boot, watch, short_path, style, read_only):
    """Of an image that nobody may write to QEMU says that it is damaged, and lets it be."""
    options = trouble.damaged_qcow2(short_path) + (",read-only=on" if read_only else "")
    qemu = await boot(Machine(style=style, extra=trouble.data_disk(style, options)))
    exporter = await watch(qemu)
    device = f'device="{DISK[style]}"'
    await exporter.says(f"""
        qemu_block_image_corruptions_total{{{device},fatal="true"}} 0
        qemu_block_image_corruptions_total{{{device},fatal="false"}} 0
    """)
    await trouble.read_in_vain(qemu)
    await qemu.event("BLOCK_IMAGE_CORRUPTED")
    page = await exporter.says(f"""
        qemu_block_image_corruptions_total{{{device},fatal="true"}} {int(not read_only)}
        qemu_block_image_corruptions_total{{{device},fatal="false"}} {int(read_only)}
        qemu_block_io_errors_total{{{device},operation="read",action="report"}} 1
    """)
    assert sum(page.family("qemu_block_image_corruptions_total").values()) == 1


@STYLES
async def test_an_image_of_a_quorum_is_outvoted(boot, watch, short_path, style):
    options = trouble.quorum(short_path, b"a", b"a", b"b")
    qemu = await boot(Machine(style=style, extra=trouble.data_disk(style, options)))
    exporter = await watch(qemu)
    await exporter.says("""
        qemu_quorum_bad_reports_total{type="read"} 0
        qemu_quorum_bad_reports_total{type="write"} 0
        qemu_quorum_bad_reports_total{type="flush"} 0
        qemu_quorum_failures_total 0
    """)
    await provoke.traffic(qemu, "read", 1)
    await qemu.event("QUORUM_REPORT_BAD")
    await exporter.says("""
        qemu_quorum_bad_reports_total{type="read"} 1
        qemu_quorum_failures_total 0
    """)


@STYLES
@pytest.mark.parametrize("operation", ["read", "write"])
async def test_an_image_of_a_quorum_fails(boot, watch, short_path, style, operation):
    options = trouble.quorum(short_path, b"a", b"a", b"a", fails=operation)
    qemu = await boot(Machine(style=style, extra=trouble.data_disk(style, options)))
    exporter = await watch(qemu)
    counted = f'qemu_quorum_bad_reports_total{{type="{operation}"}}'
    await exporter.says(f"{counted} 0")
    await provoke.traffic(qemu, operation, 1)
    await qemu.event("QUORUM_REPORT_BAD", type=operation)
    page = await exporter.says(f"{counted} 1\nqemu_quorum_failures_total 0")
    assert sum(page.family("qemu_quorum_bad_reports_total").values()) == 1
    assert sum(page.family("qemu_block_io_errors_total").values()) == 0


@STYLES
async def test_the_images_of_a_quorum_do_not_agree(boot, watch, short_path, style):
    options = trouble.quorum(short_path, b"a", b"b", b"c")
    qemu = await boot(Machine(style=style, extra=trouble.data_disk(style, options)))
    exporter = await watch(qemu)
    await exporter.says("qemu_quorum_failures_total 0")
    await trouble.read_in_vain(qemu)
    await qemu.event("QUORUM_FAILURE")
    await exporter.says(f"""
        qemu_quorum_failures_total 1
        qemu_quorum_bad_reports_total{{type="read"}} 0
        qemu_block_io_errors_total{{device="{DISK[style]}",operation="read",action="report"}} 1
    """)


async def test_without_a_quorum_there_is_nothing_to_say_about_one(boot, watch):
    exporter = await watch(await boot(Machine(disk=DataDisk())))
    await exporter.says("qemu_up 1", absent=["qemu_quorum_failures_total", "qemu_quorum_bad_reports_total"])


@STYLES
async def test_what_the_guest_never_did_to_a_disk_is_there_at_zero(boot, watch, style):
    exporter = await watch(await boot(Machine(style=style, disk=DataDisk())))
    device = f'device="{DISK[style]}"'
    await exporter.says(
        f"""
        qemu_block_reads_merged_total{{{device}}} 0
        qemu_block_writes_merged_total{{{device}}} 0
        qemu_block_unmaps_completed_total{{{device}}} 0
        qemu_block_unmapped_bytes_total{{{device}}} 0
        qemu_block_unmap_time_seconds_total{{{device}}} 0
        qemu_block_invalid_operations_total{{{device},operation="read"}} 0
        qemu_block_invalid_operations_total{{{device},operation="write"}} 0
        qemu_block_invalid_operations_total{{{device},operation="flush"}} 0
        qemu_block_invalid_operations_total{{{device},operation="unmap"}} 0
        """,
        absent=["qemu_block_latency_seconds_bucket"],
    )


@STYLES
async def test_how_long_reads_and_writes_take_once_somebody_wants_to_know(boot, watch, style):
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    exporter = await watch(qemu, poll=POLL)
    second = 1_000_000_000
    await trouble.measure_latency(qemu, 1, second, 3600 * second)
    await provoke.traffic(qemu, "read", 30)
    await provoke.traffic(qemu, "write", 20)

    def reached(operation: str, bound: str, times: int) -> str:
        labels = f'device="{DISK[style]}",operation="{operation}",le="{bound}"'
        return f"qemu_block_latency_seconds_bucket{{{labels}}} {times}"

    page = await exporter.says(
        "\n".join(
            [
                *(reached("read", bound, times) for bound, times in (("1e-09", 0), ("3600.0", 30), ("+Inf", 30))),
                *(reached("write", bound, times) for bound, times in (("1e-09", 0), ("3600.0", 20), ("+Inf", 20))),
                reached("flush", "3600.0", 0),
            ]
        )
    )
    assert page.values("device")["qemu_block_latency_seconds_bucket"] == {DISK[style]}
    assert page.values("le")["qemu_block_latency_seconds_bucket"] == {"1e-09", "1.0", "3600.0", "+Inf"}
    openmetrics = await exporter.page(openmetrics=True)
    assert (
        openmetrics.family("qemu_block_latency_seconds_bucket").keys()
        == page.family("qemu_block_latency_seconds_bucket").keys()
    )


# Migration


async def test_a_migration_under_way_and_cancelled(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    progress = [
        "qemu_migration_ram_transferred_bytes",
        "qemu_migration_ram_remaining_bytes",
        "qemu_migration_ram_size_bytes",
        "qemu_migration_dirty_bytes_per_second",
    ]
    await exporter.says("qemu_up 1", absent=["qemu_migration_status", *progress])
    await trouble.migrate_at_a_snails_pace(qemu)
    page = await exporter.shows(
        lambda page: [
            *page.denials('qemu_migration_status{status="active"} 1\nqemu_migration_status{status="setup"} 0'),
            *(f"{name} is not there" for name in progress if not page.family(name)),
        ]
    )
    assert page["qemu_migration_ram_size_bytes"] >= 32 * MIB
    assert 0 < page["qemu_migration_ram_remaining_bytes"] <= page["qemu_migration_ram_size_bytes"]
    assert page["qemu_migration_dirty_bytes_per_second"] >= 0
    assert sum(page.family("qemu_migration_status").values()) == 1
    await trouble.migrate_cancel(qemu)
    page = await exporter.says(
        """
        qemu_migration_status{status="cancelled"} 1
        qemu_migration_status{status="active"} 0
        qemu_vm_state{state="running"} 1
        qemu_vm_running 1
        """,
        absent=[*progress, "qemu_migration_expected_downtime_seconds"],
    )
    assert sum(page.family("qemu_migration_status").values()) == 1


async def test_a_migration_that_fails(boot, watch):
    qemu = await boot(Machine())
    exporter = await watch(qemu)
    await trouble.migrate_to_nobody(qemu)
    page = await exporter.says("""
        qemu_migration_status{status="failed"} 1
        qemu_migration_status{status="active"} 0
        qemu_vm_state{state="running"} 1
        qemu_vm_running 1
    """)
    assert sum(page.family("qemu_migration_status").values()) == 1


@pytest.mark.parametrize(
    ("migrate", "poll"),
    [
        pytest.param(silent.migrate_away_aloud, "1h", id="with-events"),
        pytest.param(silent.migrate_away, POLL, id="without-events"),
    ],
)
async def test_a_migration_that_ends_well(boot, watch, migrate, poll):
    qemu = await boot(Machine())
    exporter = await watch(qemu, poll=poll)
    await exporter.says('qemu_vm_state{state="running"} 1', absent=["qemu_migration_status"])
    await migrate(qemu)
    page = await exporter.says("""
        qemu_migration_status{status="completed"} 1
        qemu_migration_status{status="active"} 0
        qemu_migration_status{status="failed"} 0
        qemu_vm_state{state="postmigrate"} 1
        qemu_vm_running 0
    """)
    assert sum(page.family("qemu_migration_status").values()) == 1


# Disks that come and go


async def test_a_disk_that_is_plugged_in_starts_at_zero_and_unplugged_is_seen_once_more(boot, watch):
    qemu = await boot(Machine(extra=trouble.SCSI))
    exporter = await watch(qemu, poll=POLL)
    await exporter.says("qemu_up 1")
    await trouble.plug_in(qemu, "hot0")
    counted = """
        qemu_block_io_errors_total{action="stop",device="hot0",operation="write"} 0
        qemu_block_io_nospace_errors_total{device="hot0"} 0
        qemu_block_written_bytes_total{device="hot0"} 0
    """
    await exporter.says(counted)
    await trouble.unplug(qemu, "hot0")
    reply = "qemu_monitor_last_reply_timestamp_seconds"
    unplugged = (await exporter.page())[reply]
    await exporter.shows(lambda page: [] if page[reply] > unplugged + 2 else ["it was not polled since"])
    await exporter.says(counted)


# Memory, network, serial ports, reservations


async def test_how_much_memory_the_balloon_leaves(boot, watch):
    exporter = await watch(await boot(Machine(extra=virtio.BALLOON)))
    await exporter.says(f"""
        qemu_balloon_actual_bytes {32 * MIB}
        qemu_memory_base_bytes {32 * MIB}
        qemu_memory_plugged_bytes 0
    """)


async def test_a_guest_that_gives_memory_back(boot, watch):
    qemu = await boot(Machine(extra=virtio.BALLOON))
    exporter = await watch(qemu)
    await exporter.says(f"qemu_balloon_actual_bytes {32 * MIB}")
    await virtio.set_balloon(qemu, given_back=8 * MIB)
    await exporter.says(f"""
        qemu_balloon_actual_bytes {24 * MIB}
        qemu_events_total{{event="BALLOON_CHANGE"}} 1
    """)


async def test_without_a_balloon_it_leaves_nothing_to_be_said(boot, watch):
    exporter = await watch(await boot(Machine()))
    await exporter.says(f"qemu_memory_base_bytes {32 * MIB}", absent=["qemu_balloon_actual_bytes"])


async def test_memory_that_was_plugged_in(boot, watch):
    exporter = await watch(await boot(Machine(extra=trouble.WITH_A_DIMM)))
    await exporter.says(f"""
        qemu_memory_base_bytes {32 * MIB}
        qemu_memory_plugged_bytes {trouble.PLUGGED}
    """)


async def test_how_many_vcpus_there_are(boot, watch):
    exporter = await watch(await boot(Machine(extra=("-smp", "2"))))
    await exporter.says("qemu_vcpus 2")


async def test_the_other_end_of_a_network_backend_comes_and_goes(boot, watch, short_path):
    place = short_path / "net0.sock"
    qemu = await boot(Machine())
    since(7, 2, qemu)
    exporter = await watch(qemu)
    await trouble.stream(qemu, place)
    await exporter.says("qemu_up 1", absent=["qemu_netdev_connected"])
    async with trouble.other_end(qemu, place):
        await exporter.says('qemu_netdev_connected{netdev="net0"} 1')
    await exporter.says('qemu_netdev_connected{netdev="net0"} 0')


async def test_a_network_backend_ends_with_its_device(boot, watch, short_path):
    place = short_path / "net1.sock"
    qemu = await boot(Machine(extra=trouble.USB))
    since(7, 2, qemu)
    exporter = await watch(qemu)
    await trouble.stream(qemu, place, "hostnet1")
    await qemu.execute("device_add", driver="usb-net", netdev="hostnet1", id="net1")
    _, other_end = await asyncio.open_unix_connection(place)
    await exporter.says('qemu_netdev_connected{netdev="hostnet1"} 1')
    await qemu.execute("device_del", id="net1")
    await qemu.event("DEVICE_DELETED", device="net1")
    await qemu.execute("netdev_del", id="hostnet1")  # which cuts it off without an event
    await exporter.says("qemu_up 1", absent=["qemu_netdev_connected"])
    other_end.close()


@STYLES
async def test_a_guest_agent_that_is_not_there(boot, watch, short_path, style):
    exporter = await watch(await boot(Machine(extra=trouble.channel(style, short_path / "agent.sock"))))
    port = "qga0" if style is Style.PROXMOX else "channel0"
    page = await exporter.says(f'qemu_serial_port_open{{port="{port}"}} 0')
    assert len(page.family("qemu_serial_port_open")) == 1


async def test_a_guest_agent_that_comes_and_goes(boot, watch, short_path):
    qemu = await boot(Machine(extra=trouble.channel(Style.LIBVIRT, short_path / "agent.sock")))
    exporter = await watch(qemu)
    await exporter.says('qemu_serial_port_open{port="channel0"} 0')
    agent = virtio.Agent(qemu)
    await agent.start()
    for is_open in (True, False, True):
        await agent.holds_its_port(is_open=is_open)
        page = await exporter.says(f'qemu_serial_port_open{{port="channel0"}} {int(is_open)}')
        assert len(page.family("qemu_serial_port_open")) == 1


async def test_a_helper_for_reservations_is_connected(boot, watch, short_path):
    qemu = await boot(Machine())
    async with trouble.pr_helper(qemu, short_path / "pr.sock"):
        exporter = await watch(qemu)
        await exporter.says('qemu_pr_manager_connected{manager="pr0"} 1')


# KVM


async def test_what_kvm_counts_is_asked_of_a_qemu_that_is_not_hurt_by_it(boot, short_path):
    """Software emulation has nothing to say to it; QEMU takes the question without an error, or is not asked."""
    qemu = await boot(Machine())
    wanted = Vm("web01", qemu.monitor, metrics={"kvm_stats": ["exits", "remote_tlb_flush"]})
    async with exporting(short_path, wanted, poll=POLL) as exporter:
        await exporter.says("qemu_up 1", absent=["qemu_kvm_stat_total", "qemu_kvm_vcpu_stat_total"])
        if provoke.version(qemu) >= (8, 1):
            page = await exporter.shows(
                lambda page: [] if times_asked(page, "query-stats") >= 4 else ["asked too seldom"]
            )
            assert times_asked(page, "query-stats-schemas") == 1
        else:
            page = await exporter.shows(
                lambda page: [] if times_asked(page, "query-blockstats") >= 2 else ["not polled"]
            )
            assert times_asked(page, "query-stats") == 0
        errors = page.family("qmp_exporter_command_errors_total")
        assert not [error for error in errors if "query-stats" in error]


def times_asked(page: Page, command: str) -> float:
    asked = page.family("qmp_exporter_command_duration_seconds_count")
    return asked.get(f'qmp_exporter_command_duration_seconds_count{{command="{command}"}}', 0)
