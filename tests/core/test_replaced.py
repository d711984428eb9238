"""A VM that is another one when the monitor comes back: what was counted before is not its."""

from play import Story

OLD, NEW = "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab", "00000000-0000-4000-8000-000000000001"
NONE = "00000000-0000-0000-0000-000000000000"
ERROR = 'qemu_block_io_errors_total{action="report",device="virtio0",operation="write"}'
DISK = {"device": "virtio0", "qdev": "", "removable": False, "inserted": {"node-name": "n0"}}


def told(uuid: str) -> Story:
    """A VM with that uuid, one stop and one error, whose monitor was lost."""
    story = Story()
    story.answers("query-uuid", {"UUID": uuid})
    story.answers("query-block", [DISK])
    story.happens("STOP")
    story.happens("BLOCK_IO_ERROR", device="virtio0", operation="write", action="report")
    story.disconnects()
    return story


def test_the_same_vm_goes_on_counting():
    story = told(OLD)
    story.connects()
    story.answers("query-uuid", {"UUID": OLD})
    story.happens("STOP")
    story.says("qemu_vm_stops_total", 2)
    story.says(ERROR, 1)


def test_another_vm_begins_at_zero_with_what_it_did_before_it_said_who_it_is():
    story = told(OLD)
    story.connects()
    story.happens("STOP")
    story.happens("RESUME")
    story.answers("query-uuid", {"UUID": NEW})
    story.says("qemu_vm_stops_total", 1)
    story.says("qemu_vm_resumes_total", 1)
    story.says('qemu_vm_resets_total{reason="guest-reset"}', 0)


def test_disks_that_the_new_one_does_not_have_are_gone():
    story = told(OLD)
    story.connects()
    story.answers("query-uuid", {"UUID": NEW})
    story.says(ERROR, None)
    story.answers("query-block", [DISK])
    story.says(ERROR, 0)


def test_what_was_counted_about_the_monitor_goes_on():
    story = told(OLD)
    story.connects()
    story.answers("query-uuid", {"UUID": NEW})
    story.says("qemu_monitor_connects_total", 2)
    story.says('qemu_monitor_disconnects_total{after="none"}', 1)


def test_a_vm_without_a_uuid_cannot_be_told_from_the_one_before():
    for before, after in ((OLD, NONE), (NONE, NEW), (NONE, NONE)):
        story = told(before)
        story.connects()
        story.answers("query-uuid", {"UUID": after})
        story.says("qemu_vm_stops_total", 1)


def test_it_is_told_from_the_last_one_that_had_a_uuid():
    story = told(OLD)
    for uuid in (NONE, NEW):
        story.connects()
        story.answers("query-uuid", {"UUID": uuid})
        story.disconnects()
    story.says("qemu_vm_stops_total", 0)
