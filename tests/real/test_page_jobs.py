"""Mirrors and streams of a real QEMU -> the page while they run and after; where no poll is said, none helps."""

import itertools

import pytest

import jobs
import provoke
import trouble
from qmp_exporter.demo.machine import MIB, DataDisk, Fault, Machine, Style

pytestmark = pytest.mark.real

STYLES = pytest.mark.parametrize("style", Style, ids=lambda style: style.name.lower())
SERIES = (
    "qemu_block_job_offset_bytes",
    "qemu_block_job_length_bytes",
    "qemu_block_job_speed_limit_bytes_per_second",
    "qemu_block_job_status",
)
NO_JOB_ENDED = "\n".join(
    f'qemu_block_jobs_finished_total{{type="{kind}",result="{result}"}} 0'
    for kind, result in itertools.product(
        ("backup", "commit", "mirror", "stream"), ("completed", "failed", "cancelled")
    )
)
NO_JOB_ERROR = "\n".join(
    f'qemu_block_job_errors_total{{operation="{operation}",action="{action}"}} 0'
    for operation, action in itertools.product(("read", "write"), ("ignore", "report", "stop"))
)


@STYLES
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (jobs.mirror, jobs.mirror_completed),
        (jobs.mirror, jobs.cancelled),
        (jobs.drive_mirror, jobs.mirror_completed),
        (jobs.stream, jobs.stream_completed),
        (jobs.stream, jobs.cancelled),
    ],
)
async def test_a_job_is_there_while_it_runs_and_counted_when_it_ends(boot, watch, style, start, end):
    kind = "stream" if start is jobs.stream else "mirror"
    result = "cancelled" if end is jobs.cancelled else "completed"
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    exporter = await watch(qemu)
    await exporter.says(f"{NO_JOB_ENDED}\n{NO_JOB_ERROR}", absent=SERIES)
    await start(qemu, "copy0")
    job = f'job_id="copy0",type="{kind}"'
    await exporter.says(f"""
        qemu_block_job_status{{{job},status="running"}} 1
        qemu_block_job_status{{{job},status="ready"}} 0
        qemu_block_job_length_bytes{{{job}}} {16 * MIB}
        qemu_block_job_speed_limit_bytes_per_second{{{job}}} {MIB}
    """)
    await end(qemu, "copy0")
    finished = f'qemu_block_jobs_finished_total{{type="{kind}",result="{result}"}} 1'
    page = await exporter.says(f"{finished}\n{NO_JOB_ERROR}", absent=SERIES)
    assert sum(page.family("qemu_block_jobs_finished_total").values()) == 1


async def test_the_offset_of_a_job_moves_with_the_polls(boot, watch):
    qemu = await boot(Machine(style=Style.LIBVIRT, disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    await jobs.mirror(qemu, "copy0")
    offset = 'qemu_block_job_offset_bytes{job_id="copy0",type="mirror"}'
    seen: list[float] = []

    def still_stands(page):
        if offset in page.family("qemu_block_job_offset_bytes") and page[offset] not in seen:
            seen.append(page[offset])
        return [f"{offset} was {seen}"] if len(seen) < 3 else []

    await exporter.shows(still_stands)
    assert seen == sorted(seen)
    assert 0 <= seen[0] < seen[-1] < 16 * MIB


@pytest.mark.parametrize("operation", ["read", "write"])
async def test_an_error_of_a_disk_that_is_being_mirrored_is_that_of_the_disk(boot, watch, operation):
    """The job puts a filter node between the device and its node; before 9.2 QEMU names that in BLOCK_IO_ERROR."""
    disk = DataDisk(faults=(Fault(operation),), werror="stop", rerror="stop")
    qemu = await boot(Machine(style=Style.LIBVIRT, disk=disk))
    exporter = await watch(qemu)
    await jobs.mirror(qemu, "copy0", speed=MIB // 4, **{"on-source-error": "ignore"})
    await provoke.io_error_stop(qemu, operation)
    page = await exporter.says(f"""
        qemu_block_io_errors_total{{device="virtio-disk1",operation="{operation}",action="stop"}} 1
        qemu_vm_state{{state="io-error"}} 1
    """)
    assert "#block" not in page.text
    said = await exporter.logs("trouble began")
    assert "alert=QEMUVMStoppedOnIOError" in said
    assert 'detail="virtio-disk1: ' in said  # and `failed`, where query-block has told that by then
    assert operation in said


async def test_a_flash_has_the_same_name_while_a_job_copies_it(boot, watch, short_path):
    """Its device has no id, and its node is another as long as the job runs."""
    qemu = await boot(Machine(extra=trouble.flash(short_path), disk=DataDisk()))
    exporter = await watch(qemu, poll="1s")
    written = 'qemu_block_written_bytes_total{device="system.flash1"} 0'
    before = (await exporter.says(written)).family("qemu_block_written_bytes_total").keys()
    target = short_path / "copy.img"
    target.write_bytes(bytes(4 * MIB))
    await qemu.execute("blockdev-add", driver="file", filename=str(target), **{"node-name": "copy"})
    await qemu.execute("blockdev-backup", device="pf1", target="copy", sync="full", speed=MIB // 16, **{"job-id": "j"})
    nodes = {one["inserted"]["node-name"] for one in await qemu.execute("query-block") if "flash1" in one["qdev"]}
    assert provoke.version(qemu) < (5, 1) or nodes != {"pf1"}
    during = await exporter.says(f'qemu_block_job_status{{job_id="j",type="backup",status="running"}} 1\n{written}')
    await exporter.shows(lambda page: [] if page.text != during.text else ["no poll since"])
    await jobs.cancelled(qemu, "j")
    after = await exporter.says(written, absent=SERIES)
    assert during.family("qemu_block_written_bytes_total").keys() == before
    assert after.family("qemu_block_written_bytes_total").keys() == before


async def test_a_mirror_is_ready_until_it_is_completed(boot, watch):
    qemu = await boot(Machine(disk=DataDisk()))
    exporter = await watch(qemu)
    await jobs.mirror(qemu, "copy0", speed=0)
    await qemu.event("BLOCK_JOB_READY", device="copy0")
    job = 'job_id="copy0",type="mirror"'
    await exporter.says(f"""
        qemu_block_job_status{{{job},status="ready"}} 1
        qemu_block_job_offset_bytes{{{job}}} {16 * MIB}
        qemu_block_job_speed_limit_bytes_per_second{{{job}}} 0
        qemu_events_total{{event="BLOCK_JOB_READY"}} 1
    """)
    await qemu.execute("block-job-cancel", device="copy0")  # which completes a mirror that is ready
    await exporter.says('qemu_block_jobs_finished_total{type="mirror",result="completed"} 1', absent=SERIES)


@STYLES
async def test_a_job_fails_on_a_bad_target(boot, watch, style):
    qemu = await boot(Machine(style=style, disk=DataDisk()))
    exporter = await watch(qemu)
    await jobs.mirror_failed(qemu, "copy0")
    page = await exporter.says(
        """
        qemu_block_jobs_finished_total{type="mirror",result="failed"} 1
        qemu_block_jobs_finished_total{type="mirror",result="completed"} 0
        qemu_events_total{event="BLOCK_JOB_COMPLETED"} 1
        qemu_vm_running 1
        """,
        absent=SERIES,
    )
    errors = [event for event in qemu.events if event.name == "BLOCK_JOB_ERROR"]
    assert page['qemu_block_job_errors_total{operation="write",action="report"}'] == len(errors) > 0


async def test_a_job_that_waits_for_its_target_is_paused(boot, watch):
    qemu = await boot(Machine(style=Style.LIBVIRT, disk=DataDisk()))
    exporter = await watch(qemu)
    await jobs.mirror_stuck(qemu, "copy0")
    page = await exporter.says('qemu_block_job_status{job_id="copy0",type="mirror",status="paused"} 1')
    assert page['qemu_block_job_errors_total{operation="write",action="stop"}'] > 0
    await jobs.cancelled(qemu, "copy0")
    await exporter.says('qemu_block_jobs_finished_total{type="mirror",result="cancelled"} 1', absent=SERIES)
