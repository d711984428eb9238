"""I/O errors and trays of a real QEMU -> the page before, during and after; where no poll is said, none helps."""

import errno
import itertools

import pytest

import jobs
import provoke
from qmp_exporter.demo.machine import Cdrom, DataDisk, Fault, Machine, Style
from qmp_exporter.demo.qemu import Order

pytestmark = pytest.mark.real

STYLES = pytest.mark.parametrize("style", Style, ids=lambda style: style.name.lower())
BOOT = {Style.PROXMOX: "drive-virtio0", Style.LIBVIRT: "virtio-disk0"}
DISK = {Style.PROXMOX: "drive-virtio1", Style.LIBVIRT: "virtio-disk1"}
CDROM = {
    (Style.PROXMOX, "ide"): "drive-ide2",
    (Style.PROXMOX, "scsi"): "drive-scsi2",
    (Style.LIBVIRT, "ide"): "ide0-1-0",
    (Style.LIBVIRT, "scsi"): "scsi0-0-0-2",
}
OPERATIONS = ("read", "write")
ACTIONS = ("ignore", "report", "stop")


def errors_at_zero(device: str) -> str:
    """Every I/O error that a disk can have, and none of them has happened."""
    lines = [
        f'qemu_block_io_errors_total{{device="{device}",operation="{operation}",action="{action}"}} 0'
        for operation, action in itertools.product(OPERATIONS, ACTIONS)
    ]
    return "\n".join([*lines, f'qemu_block_io_nospace_errors_total{{device="{device}"}} 0'])


@STYLES
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("policy", ["report", "ignore"])
async def test_an_io_error_that_does_not_stop_the_machine(boot, watch, style, operation, policy):
    disk = DISK[style]
    policies = {"rerror": policy} if operation == "read" else {"werror": policy}
    qemu = await boot(Machine(style=style, disk=DataDisk((Fault(operation),), **policies)))
    exporter = await watch(qemu)
    await exporter.says(errors_at_zero(disk) + "\n" + errors_at_zero(BOOT[style]))
    for errors in (1, 2):
        await provoke.io_error(qemu, operation)
        page = await exporter.says(f"""
            qemu_block_io_errors_total{{device="{disk}",operation="{operation}",action="{policy}"}} {errors}
            qemu_block_io_nospace_errors_total{{device="{disk}"}} 0
            qemu_events_total{{event="BLOCK_IO_ERROR"}} {errors}
            qemu_vm_running 1
            qemu_vm_state{{state="running"}} 1
            qemu_vm_stops_total 0
        """)
    assert sum(page.family("qemu_block_io_errors_total").values()) == 2


@STYLES
@pytest.mark.parametrize(
    ("disk", "status"),
    [
        pytest.param(DataDisk((Fault("write"),), werror="stop"), "failed", id="write-stop"),
        pytest.param(DataDisk((Fault("read"),), rerror="stop"), "failed", id="read-stop"),
        pytest.param(DataDisk((Fault("write", errno.ENOSPC),)), "nospace", id="enospc"),
    ],
)
async def test_an_io_error_that_stops_the_machine(boot, watch, style, disk, status):
    device, operation, nospace = DISK[style], disk.faults[0].operation, int(status == "nospace")
    counted = f'qemu_block_io_errors_total{{device="{device}",operation="{operation}",action="stop"}}'
    qemu = await boot(Machine(style=style, disk=disk))
    exporter = await watch(qemu)
    await exporter.says(f"""
        {counted} 0
        qemu_block_io_status{{device="{device}",status="ok"}} 1
        qemu_vm_state{{state="running"}} 1
        qemu_vm_stops_total 0
        qemu_vm_resumes_total 0
        qemu_vm_resets_total{{reason="host-qmp-system-reset"}} 0
    """)
    stopped = f"""
        qemu_block_io_status{{device="{device}",status="{status}"}} 1
        qemu_vm_state{{state="io-error"}} 1
        qemu_vm_state{{state="paused"}} 0
        qemu_vm_running 0
    """
    await provoke.io_error_stop(qemu, operation)
    first = await exporter.says(f"""
        {counted} 1
        {stopped}
        qemu_block_io_nospace_errors_total{{device="{device}"}} {nospace}
        qemu_vm_stops_total 1
        qemu_vm_resumes_total 0
    """)
    await provoke.io_error_retried(qemu)
    await exporter.says(f"""
        {counted} 2
        {stopped}
        qemu_block_io_nospace_errors_total{{device="{device}"}} {2 * nospace}
        qemu_vm_stops_total 2
        qemu_vm_resumes_total 1
    """)
    since = "qemu_vm_state_change_timestamp_seconds"
    await exporter.shows(lambda page: [] if page[since] > first[since] else [f"it stands still since {page[since]}"])
    await provoke.reset_while_stopped(qemu)
    await exporter.says("""
        qemu_vm_state{state="prelaunch"} 1
        qemu_vm_running 0
        qemu_vm_resets_total{reason="host-qmp-system-reset"} 1
        qemu_vm_stops_total 2
    """)


@STYLES
async def test_a_disk_that_failed_once_goes_on_after_cont(boot, watch, style):
    """With -blockdev QEMU keeps saying `failed` all the same."""
    device = DISK[style]
    qemu = await boot(Machine(style=style, disk=DataDisk((Fault("write", once=True),), werror="stop")))
    exporter = await watch(qemu)
    await provoke.io_error_stop(qemu, "write")
    await exporter.says(f'qemu_block_io_status{{device="{device}",status="failed"}} 1')
    await provoke.io_error_mended(qemu)
    status = "ok" if style is Style.PROXMOX else "failed"
    await exporter.says(f"""
        qemu_block_io_status{{device="{device}",status="{status}"}} 1
        qemu_block_io_errors_total{{device="{device}",operation="write",action="stop"}} 1
        qemu_vm_state{{state="running"}} 1
        qemu_vm_running 1
        qemu_vm_resumes_total 1
    """)


@STYLES
async def test_what_qemu_counts_itself_comes_with_the_polls_under_the_same_name(boot, watch, style):
    qemu = await boot(Machine(style=style, disk=DataDisk((Fault("read"), Fault("write")), werror="report")))
    exporter = await watch(qemu, poll="1s")
    device = f'device="{DISK[style]}"'
    before = await exporter.says(f"""
        qemu_block_failed_operations_total{{{device},operation="read"}} 0
        qemu_block_failed_operations_total{{{device},operation="write"}} 0
        qemu_block_failed_operations_total{{{device},operation="flush"}} 0
        qemu_block_failed_operations_total{{{device},operation="unmap"}} 0
        qemu_block_flushes_completed_total{{{device}}} 0
    """)
    await provoke.io_error(qemu, "read")
    await provoke.io_error(qemu, "write")
    await provoke.traffic(qemu, "read", 30)
    await provoke.traffic(qemu, "write", 20)

    def grown(metric: str, by: int) -> str:
        series = f"{metric}{{{device}}}"
        return f"{series} {before[series] + by:.0f}"

    after = await exporter.says(f"""
        qemu_block_failed_operations_total{{{device},operation="read"}} 1
        qemu_block_failed_operations_total{{{device},operation="write"}} 1
        {grown("qemu_block_reads_completed_total", 30)}
        {grown("qemu_block_read_bytes_total", 30 * 512)}
        {grown("qemu_block_writes_completed_total", 20)}
        {grown("qemu_block_written_bytes_total", 20 * 512)}
    """)
    for operation in OPERATIONS:
        spent = f"qemu_block_{operation}_time_seconds_total{{{device}}}"
        assert before[spent] < after[spent] < before[spent] + 20


@STYLES
@pytest.mark.parametrize("bus", ["ide", "scsi"])
async def test_one_disk_has_one_name_in_every_metric(boot, watch, style, bus):
    qemu = await boot(Machine(style=style, disk=DataDisk((Fault("write"),)), cdrom=Cdrom(bus)))
    exporter = await watch(qemu)
    await provoke.io_error(qemu, "write")
    await provoke.open_tray(qemu)
    cdrom = CDROM[style, bus]
    page = await exporter.says(f"""
        qemu_block_tray_open{{device="{cdrom}"}} 1
        qemu_events_total{{event="BLOCK_IO_ERROR"}} 1
    """)
    names = page.values("device")
    everything = {BOOT[style], DISK[style], cdrom}
    assert {name: devices for name, devices in names.items() if not devices <= everything} == {}
    assert names["qemu_block_io_errors_total"] == names["qemu_block_read_bytes_total"] == everything
    assert names["qemu_block_tray_moves_total"] == names["qemu_block_medium_inserted"] == {cdrom}
    assert {"qemu_block_io_status", "qemu_block_failed_operations_total"} <= names.keys()


@STYLES
async def test_a_disk_that_moved_to_a_copy_keeps_its_name(boot, watch, style):
    """QEMU calls the new node by another name, and with -blockdev an error carries no other."""
    device = DISK[style]
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    exporter = await watch(qemu)
    await jobs.mirror(qemu, "copy0", fault=Fault("read"))
    await jobs.mirror_completed(qemu, "copy0")
    await exporter.says('qemu_block_jobs_finished_total{type="mirror",result="completed"} 1')
    await qemu.order(Order.READ_BAD)
    page = await exporter.says(f'qemu_block_io_errors_total{{device="{device}",operation="read",action="report"}} 1')
    assert page.values("device")["qemu_block_io_errors_total"] == {BOOT[style], device}


@STYLES
@pytest.mark.parametrize("bus", ["ide", "scsi"])
async def test_a_tray_that_opens_closes_and_is_emptied(boot, watch, style, bus):
    qemu = await boot(Machine(style=style, cdrom=Cdrom(bus)))
    exporter = await watch(qemu)
    device = f'device="{CDROM[style, bus]}"'

    async def said(*, is_open: int, opened: int, closed: int, medium: int = 1) -> None:
        await exporter.says(f"""
            qemu_block_tray_open{{{device}}} {is_open}
            qemu_block_tray_moves_total{{{device},to="open"}} {opened}
            qemu_block_tray_moves_total{{{device},to="closed"}} {closed}
            qemu_block_medium_inserted{{{device}}} {medium}
        """)

    await said(is_open=0, opened=0, closed=0)
    await provoke.open_tray(qemu)
    await said(is_open=1, opened=1, closed=0)
    await provoke.close_tray(qemu)
    await said(is_open=0, opened=1, closed=1)
    await provoke.eject(qemu)
    await said(is_open=1, opened=2, closed=1, medium=0)
    await provoke.system_reset(qemu)  # which closes it without an event
    await said(is_open=0, opened=2, closed=1, medium=0)
    assert [event.name for event in qemu.events].count("DEVICE_TRAY_MOVED") == 3
