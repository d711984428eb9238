"""Block jobs of a simulated VM send the events that the same jobs were recorded sending."""

import pytest

from qmp_exporter.simulator import SimulatedVm
from shape import VERSIONS, story

every_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def steps(vm):
    happened = []
    vm.on_event.append(lambda event: happened.append(step(event.name, event.data)))
    return happened


def step(name, data):
    """An event without what differs from job to job."""
    return (name, data.get("status"), data.get("error"))


def recorded(version, scenario):
    told = [step(*each) for each in story(version, scenario) if isinstance(each, tuple)]
    # A pair that QEMU sends or not as it happens to be busy: paused, and running again at once.
    paused = ("JOB_STATUS_CHANGE", "paused", None)
    running = ("JOB_STATUS_CHANGE", "running", None)
    while [paused, running] in [told[i : i + 2] for i in range(len(told))]:
        at = next(i for i in range(len(told)) if told[i : i + 2] == [paused, running])
        del told[at : at + 2]
    return told


@every_version
def test_a_mirror_becomes_ready_and_is_completed(version, vm, steps):
    vm.start_job("mirror", length=8 << 20, speed=2 << 20)
    vm.advance(3)
    assert (vm.jobs["mirror0"].status, vm.jobs["mirror0"].offset) == ("running", 6 << 20)
    vm.advance(1)
    assert vm.jobs["mirror0"].status == "ready"
    vm.complete_job("mirror0")
    assert steps == recorded(version, "job-mirror-blockdev")
    assert not list(vm.jobs)


@every_version
def test_a_mirror_cancelled_when_ready_has_completed(version, vm, steps):
    vm.start_job("mirror")
    vm.advance(1)
    vm.cancel_job("mirror0")
    assert steps == recorded(version, "job-mirror-cancelled-ready-blockdev")


@every_version
def test_a_mirror_cancelled_while_it_copies_is_cancelled(version, vm, steps):
    vm.start_job("mirror", "drive-mirror0")
    vm.cancel_job("drive-mirror0")
    assert steps == recorded(version, "job-drive-mirror-cancelled-drive")


@every_version
def test_a_failing_backup_completes_with_an_error(version, vm, steps):
    vm.start_job("backup")
    vm.fail_job("backup0")
    assert steps == recorded(version, "job-backup-failed-blockdev")


@every_version
def test_a_stream_ends_by_itself(version, vm, steps):
    vm.start_job("stream", length=4 << 20, speed=2 << 20)
    vm.advance(10)
    assert steps == recorded(version, "job-stream-blockdev")


@every_version
def test_a_job_with_an_error_to_stop_at_waits_to_be_resumed(version, vm, steps):
    vm.start_job("mirror", length=16 << 20)
    vm.jobs["mirror0"].stall("read")
    assert (vm.jobs["mirror0"].status, vm.jobs["mirror0"].io_status) == ("paused", "failed")
    vm.advance(10)
    assert vm.jobs["mirror0"].status == "paused"
    vm.jobs["mirror0"].resume()
    vm.advance(10)
    vm.cancel_job("mirror0", force=True)
    # The pair of paused and running belongs to this story, so it is not taken for chance.
    told = [step(*each) for each in story(version, "job-mirror-error-stop-blockdev") if isinstance(each, tuple)]
    assert steps == told


@every_version
def test_a_job_that_is_not_finalized_or_dismissed_waits_for_both(version, vm, steps):
    vm.start_job("backup", auto_finalize=False, auto_dismiss=False)
    vm.advance(1)
    assert vm.jobs["backup0"].status == "pending"
    vm.jobs.finalize("backup0")
    assert vm.jobs["backup0"].status == "concluded"
    vm.jobs.dismiss("backup0")
    assert steps == recorded(version, "job-pending-blockdev")
    assert not list(vm.jobs)


# In 5.2 and 7.2 a job that its speed limit holds back is paused without an event, or is not.
@pytest.mark.parametrize("version", ["10.0", "11.1"])
def test_a_job_paused_by_its_user_does_not_move(version, vm, steps):
    vm.start_job("mirror", speed=1)
    job = vm.jobs["mirror0"]
    job.pause()
    vm.advance(100)
    assert job.offset == 0
    job.resume()
    vm.cancel_job("mirror0")
    told = [step(*each) for each in story(version, "job-paused-by-user-blockdev") if isinstance(each, tuple)]
    assert steps == told


def test_a_job_runs_on_while_its_vm_is_stopped():
    vm = SimulatedVm("web01", run_state="paused")
    vm.start_job("backup")
    vm.advance(10)
    assert not list(vm.jobs)
