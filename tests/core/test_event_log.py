"""What happened lately: counted together where it is the same, bounded, and never other than the counters say."""

from play import BOOT, Story
from qmp_exporter.catalog import CATALOG, without
from qmp_exporter.core.event_log import BURST, KEPT

DISK = {"device": "sda", "inserted": {"node-name": "#block1"}}
BLOCKDEV = {"device": "", "qdev": "virtio-disk0", "inserted": {"node-name": "libvirt-1-format"}}
ERRORS = "qemu_block_io_errors_total"


def fails(story: Story, device: str = "sda", **members: object) -> None:
    story.happens("BLOCK_IO_ERROR", **{"operation": "write", "action": "report", "device": device, **members})


def told(story: Story) -> list[tuple[str, dict[str, str], float]]:
    """The monitor was read -> what happened lately but for the connection itself, the oldest first."""
    story.vm.heard()
    return [(one.event, dict(labels), one.count) for one, labels in story.vm.entries() if one.event != "connected"]


def test_an_event_is_told_with_the_labels_of_the_counter_that_says_most_about_it():
    story = Story()
    fails(story, nospace=True)
    assert told(story) == [("BLOCK_IO_ERROR", {"device": "sda", "operation": "write", "action": "report"}, 1)]
    story.happens("RESET", guest=True, reason="guest-reset")
    assert told(story)[1:] == [("RESET", {"reason": "guest-reset"}, 1)]
    story.happens("POWERDOWN")
    assert told(story)[2:] == [("POWERDOWN", {}, 1)]


def test_an_event_that_nobody_reads_is_told_by_its_name():
    story = Story()
    story.happens("NEWS_OF_QEMU_42")
    assert told(story) == [("NEWS_OF_QEMU_42", {}, 1)]


def test_an_event_without_the_payload_that_it_should_have_is_told_all_the_same():
    story = Story()
    story.vm.samples.count(CATALOG.index["qemu_events_total"], ((("BLOCK_IO_ERROR",), 1),))
    assert told(story) == [("BLOCK_IO_ERROR", {}, 1)]


def test_the_same_again_is_counted_and_keeps_the_time_of_its_beginning():
    story = Story()
    fails(story)
    began = story.now
    told(story)
    for _ in range(5):
        fails(story)
    assert told(story) == [("BLOCK_IO_ERROR", {"device": "sda", "operation": "write", "action": "report"}, 6)]
    ((happening, _),) = [one for one in story.vm.entries() if one[0].event == "BLOCK_IO_ERROR"]
    assert (happening.since, happening.last) == (began, story.now)


def test_the_same_after_a_while_is_told_again():
    story = Story()
    fails(story)
    told(story)
    story.now += BURST
    fails(story)
    assert [count for _, _, count in told(story)] == [1, 1]


def test_its_time_is_that_of_the_event_by_qemus_own_clock():
    story = Story()
    story.happens("POWERDOWN", at=BOOT - 500)
    told(story)
    assert [one.last for one, _ in story.vm.entries()][-1] == BOOT - 500


def test_what_was_told_is_not_told_again_by_the_next_read():
    story = Story()
    fails(story)
    assert told(story) == told(story)


def test_a_flood_of_one_event_does_not_push_out_the_others():
    story = Story()
    story.happens("POWERDOWN")
    told(story)
    for number in range(3 * KEPT):
        fails(story, f"disk{number}")
        told(story)
    happened = told(story)
    assert happened[0] == ("POWERDOWN", {}, 1)
    assert len(happened) == KEPT - 1
    assert happened[-1][1]["device"] == f"disk{3 * KEPT - 1}"


def test_events_that_only_differ_in_name_stay_few():
    story = Story()
    for number in range(3 * KEPT):
        story.happens(f"NEWS_{number}")
        told(story)
    assert len(list(story.vm.entries())) == KEPT
    assert told(story)[-1] == (f"NEWS_{3 * KEPT - 1}", {}, 1)


def test_each_disk_has_the_time_of_its_last_error_whatever_others_do():
    story = Story()
    fails(story, "sda")
    at = story.now
    told(story)
    for _ in range(100):
        fails(story, "sdb")
        told(story)
    assert story.vm.moved_at(ERRORS, ("sda", "write", "report")) == at
    assert story.vm.moved_at(ERRORS, ("sdb", "write", "report")) == story.now
    assert story.vm.moved_at(ERRORS, ("sdc", "write", "report")) is None


def test_a_disk_that_gets_its_name_later_keeps_what_happened_to_it():
    story = Story()
    story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device="", node_name="libvirt-1-format")
    at = story.now
    told(story)
    story.answers("query-block", [BLOCKDEV])
    labels = {"device": "virtio-disk0", "operation": "write", "action": "stop"}
    assert told(story) == [("BLOCK_IO_ERROR", labels, 1)]
    assert story.vm.moved_at(ERRORS, ("virtio-disk0", "write", "stop")) == at
    story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device="", node_name="libvirt-1-format")
    assert told(story) == [("BLOCK_IO_ERROR", labels, 2)]


def test_of_two_events_in_one_counter_it_is_not_said_which_made_what_of_it():
    story = Story()
    with story.in_one_read():
        story.happens("BLOCK_JOB_COMPLETED", type="mirror", device="a")
        story.happens("BLOCK_JOB_CANCELLED", type="backup", device="b")
    assert sorted(told(story)) == [("BLOCK_JOB_CANCELLED", {}, 1), ("BLOCK_JOB_COMPLETED", {}, 1)]
    story.now += BURST
    story.happens("BLOCK_JOB_CANCELLED", type="backup", device="b")
    assert told(story)[2:] == [("BLOCK_JOB_CANCELLED", {"type": "backup", "result": "cancelled"}, 1)]


def test_the_connection_comes_and_goes_among_the_events_and_after_the_last_of_them():
    story = Story()
    story.happens("SHUTDOWN", guest=True, reason="guest-shutdown")
    story.disconnects()
    assert [(one.event, dict(labels)) for one, labels in story.vm.entries()] == [
        ("connected", {}),
        ("SHUTDOWN", {"reason": "guest-shutdown"}),
        ("disconnected", {"after": "shutdown"}),
    ]


def test_another_vm_in_its_place_has_no_past():
    story = Story()
    story.answers("query-uuid", {"UUID": "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"})
    fails(story)
    story.disconnects()
    story.connects()
    story.answers("query-uuid", {"UUID": "ffffffff-6d2f-4c53-9f0a-0123456789ab"})
    assert told(story) == []
    assert story.vm.moved_at(ERRORS, ("sda", "write", "report")) is None


def test_where_a_group_is_switched_off_its_events_are_told_by_name():
    story = Story(dispatch=without(frozenset({"block"})))
    fails(story)
    assert told(story) == [("BLOCK_IO_ERROR", {}, 1)]
