"""A real qemu-storage-daemon -> a page with its jobs, and without anything that only a VM has."""

import pytest

import jobs
import storage_daemon
from exporter import Vm, exporting
from parts import need
from recorder import recording

pytestmark = pytest.mark.real

HAS = ("qemu_up", "qemu_monitor_", "qemu_events_", "qemu_last_event_", "qemu_block_", "qemu_process_", "qemu_vm_info")


@pytest.fixture
async def daemon(short_path):
    need(storage_daemon.BINARY)
    async with storage_daemon.storage_daemon(short_path) as daemon:
        yield daemon


async def test_its_jobs_are_on_the_page_and_nothing_of_a_vm(daemon, short_path):
    has = {command["name"] for command in await daemon.execute("query-commands")}
    async with (
        recording(short_path, daemon.monitor) as recorder,
        exporting(short_path, Vm("store01", recorder.socket), poll="1s") as exporter,
    ):
        await exporter.says('qemu_up 1\nqemu_block_jobs_finished_total{type="mirror",result="completed"} 0')
        await jobs.mirror(daemon, "copy0")
        offset = await jobs.moved(daemon, "copy0")
        during = await exporter.shows(
            lambda page: [] if page.family("qemu_block_job_offset_bytes") else ["the job does not move"]
        )
        assert during['qemu_block_job_status{job_id="copy0",type="mirror",status="running"}'] == 1
        assert during['qemu_block_job_length_bytes{job_id="copy0",type="mirror"}'] == daemon.machine.disk.size > offset
        await jobs.mirror_completed(daemon, "copy0")
        page = await exporter.says('qemu_block_jobs_finished_total{type="mirror",result="completed"} 1')
        assert [name for name in page.kinds if name.startswith("qemu_") and not name.startswith(HAS)] == []
        await daemon.execute("quit")
        await exporter.says('qemu_up 0\nqemu_monitor_disconnects_total{after="none"} 1')
    assert set(recorder.commands) - {"qmp_capabilities"} <= has
