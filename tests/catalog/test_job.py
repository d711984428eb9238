"""Block jobs: how far they are while they are there, and how they ended."""

import pytest

from play import Story

MIRROR = {"type": "mirror", "device": "drive-virtio-disk0", "len": 200, "offset": 100, "speed": 0, "status": "running"}
JOB_STATUS = (
    "undefined", "created", "running", "paused", "ready", "standby", "waiting", "pending", "aborting", "concluded",
    "null",
)  # fmt: skip
LABELS = 'job_id="drive-virtio-disk0",type="mirror"'


def with_jobs(*jobs: dict) -> Story:
    story = Story()
    story.answers("query-block-jobs", list(jobs))
    story.wants()
    return story


def test_a_job_tells_how_far_it_is_and_how_far_it_has_to_go():
    story = with_jobs(MIRROR | {"speed": 4096})
    story.says(f"qemu_block_job_offset_bytes{{{LABELS}}}", 100)
    story.says(f"qemu_block_job_length_bytes{{{LABELS}}}", 200)
    story.says(f"qemu_block_job_speed_limit_bytes_per_second{{{LABELS}}}", 4096)


@pytest.mark.parametrize("status", JOB_STATUS)
def test_its_status_is_one_of_qemus(status):
    story = with_jobs(MIRROR | {"status": status})
    story.says_only(
        "qemu_block_job_status", f'qemu_block_job_status{{job_id="drive-virtio-disk0",status="{status}",type="mirror"}}'
    )


def test_a_status_never_heard_of_is_none_of_them():
    story = with_jobs(MIRROR | {"status": "dreaming"})
    story.says_only("qemu_block_job_status")


def test_before_2_12_a_job_has_no_status():
    story = with_jobs({member: value for member, value in MIRROR.items() if member != "status"})
    story.says(f"qemu_block_job_offset_bytes{{{LABELS}}}", 100)
    story.says_nothing_of("qemu_block_job_status")


def test_a_job_that_is_gone_leaves_the_page():
    story = with_jobs(MIRROR)
    story.answers("query-block-jobs", [])
    for gauge in ("offset_bytes", "length_bytes", "speed_limit", "status"):
        story.says_nothing_of(f"qemu_block_job_{gauge}")


def test_a_type_of_job_never_heard_of_is_other():
    story = with_jobs(MIRROR | {"type": "teleport"})
    story.says('qemu_block_job_offset_bytes{job_id="drive-virtio-disk0",type="other"}', 100)


def test_more_jobs_than_anybody_has_do_not_fill_the_page():
    story = with_jobs(*(MIRROR | {"device": f"job{number}"} for number in range(1000)))
    assert len([sample for sample in story.page() if sample.startswith("qemu_block_job_offset_bytes")]) < 400


@pytest.mark.parametrize(
    "event",
    [
        "JOB_STATUS_CHANGE",
        "BLOCK_JOB_COMPLETED",
        "BLOCK_JOB_CANCELLED",
        "BLOCK_JOB_ERROR",
        "BLOCK_JOB_READY",
        "BLOCK_JOB_PENDING",
    ],
)
def test_after_each_event_of_a_job_the_jobs_are_asked(event):
    story = with_jobs()
    story.happens(event, id="j", device="j", status="running", type="mirror", operation="read", action="stop")
    assert "query-block-jobs" in story.wants()


@pytest.mark.parametrize("kind", ["backup", "commit", "mirror", "stream"])
def test_every_end_of_a_block_job_stands_at_zero(kind):
    story = Story()
    for result in ("completed", "failed", "cancelled"):
        story.says(f'qemu_block_jobs_finished_total{{result="{result}",type="{kind}"}}', 0)


def ends(story: Story, event: str, **members: object) -> None:
    story.happens(event, type="mirror", device="j", len=200, offset=200, speed=0, **members)


def test_a_job_that_completed_is_completed():
    story = Story()
    ends(story, "BLOCK_JOB_COMPLETED")
    story.says('qemu_block_jobs_finished_total{result="completed",type="mirror"}', 1)


@pytest.mark.parametrize("error", ["Input/output error", ""])
def test_a_job_that_completed_with_an_error_has_failed(error):
    story = Story()
    ends(story, "BLOCK_JOB_COMPLETED", error=error)
    story.says('qemu_block_jobs_finished_total{result="failed",type="mirror"}', 1)
    story.says('qemu_block_jobs_finished_total{result="completed",type="mirror"}', 0)


def test_a_job_that_was_cancelled_is_cancelled():
    story = Story()
    ends(story, "BLOCK_JOB_CANCELLED")
    story.says('qemu_block_jobs_finished_total{result="cancelled",type="mirror"}', 1)


def test_an_error_of_a_job_counts_by_what_failed_and_what_was_done():
    story = Story()
    for operation in ("read", "write"):
        for action in ("ignore", "report", "stop"):
            sample = f'qemu_block_job_errors_total{{action="{action}",operation="{operation}"}}'
            story.says(sample, 0)
            story.happens("BLOCK_JOB_ERROR", device="j", operation=operation, action=action)
            story.says(sample, 1)


def test_no_counter_has_the_id_of_a_job():
    story = with_jobs(MIRROR)
    ends(story, "BLOCK_JOB_COMPLETED")
    assert not [sample for sample in story.page() if "job_id=" in sample and "_total" in sample]
