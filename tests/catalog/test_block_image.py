"""What the image of a disk is like, as query-block and query-blockstats tell."""

import pytest

from play import Story

QCOW2 = {
    "virtual-size": 64 << 20,
    "actual-size": 4096,
    "format": "qcow2",
    "format-specific": {"type": "qcow2", "data": {"compat": "1.1", "corrupt": False}},
}


def disk(**inserted: object) -> list[dict]:
    return [{"device": "d0", "inserted": {"drv": "qcow2", "file": "/srv/a.qcow2", "image": QCOW2, **inserted}}]


def test_an_image_has_a_size_and_takes_up_space():
    story = Story()
    story.answers("query-block", disk())
    story.says('qemu_block_size_bytes{device="d0"}', 64 << 20)
    story.says('qemu_block_allocated_bytes{device="d0"}', 4096)


def test_what_a_block_device_takes_up_is_not_known():
    story = Story()
    story.answers("query-block", disk(file="/dev/pve/vm-1", image=QCOW2 | {"actual-size": 0}))
    story.says_nothing_of("qemu_block_allocated_bytes")
    story.says('qemu_block_size_bytes{device="d0"}', 64 << 20)


def chain(length: int) -> dict:
    """What query-blockstats tells of a disk with so many images below."""
    node: dict = {"node-name": "base", "stats": {}}
    for number in range(length):
        node = {"node-name": f"n{number}", "stats": {}, "backing": node}
    return node | {"device": "d0"}


def test_backing_files_are_counted_without_the_filter_above():
    story = Story()
    story.answers("query-block", disk())
    story.answers("query-blockstats", [chain(3)])
    story.says('qemu_block_backing_files{device="d0"}', 3)
    story.answers("query-block", disk(drv="throttle"))
    story.answers("query-blockstats", [chain(3)])
    story.says('qemu_block_backing_files{device="d0"}', 2)


def test_an_empty_drive_has_no_backing_files():
    story = Story()
    story.answers("query-blockstats", [{"device": "cd0", "stats": {}}])
    story.says_nothing_of("qemu_block_backing_files")


@pytest.mark.parametrize(
    ("version", "arguments"), [("11.0.5", b""), ("11.1.0", b'{"flat": true}'), ("12.0.0", b'{"flat": true}')]
)
def test_a_qemu_that_can_is_asked_for_the_images_alone(version, arguments):
    story = Story(version=version)
    (asked,) = [query for query in story.session.scheduler.available if query.command == "query-block"]
    assert asked.arguments == arguments


def test_snapshots_are_counted_and_the_oldest_is_known():
    story = Story()
    story.answers("query-block", disk())
    story.says('qemu_block_snapshots{device="d0"}', 0)
    story.says_nothing_of("qemu_block_oldest_snapshot_timestamp_seconds")
    story.answers("query-block", disk(image=QCOW2 | {"snapshots": [{"date-sec": 200}, {"date-sec": 100}]}))
    story.says('qemu_block_snapshots{device="d0"}', 2)
    story.says('qemu_block_oldest_snapshot_timestamp_seconds{device="d0"}', 100)


def test_a_format_without_snapshots_has_not_0_of_them():
    story = Story()
    story.answers("query-block", disk(drv="raw", image={"virtual-size": 1, "format": "raw"}))
    story.says_nothing_of("qemu_block_snapshots")
    story.says_nothing_of("qemu_block_image_corrupt{")


def test_an_image_that_is_marked_as_corrupt_is_told():
    story = Story()
    story.answers("query-block", disk())
    story.says('qemu_block_image_corrupt{device="d0"}', 0)
    story.answers("query-block", disk(image=QCOW2 | {"format-specific": {"data": {"corrupt": True}}}))
    story.says('qemu_block_image_corrupt{device="d0"}', 1)


def test_only_limits_that_are_set_are_told():
    story = Story()
    story.answers("query-block", disk(bps=0, bps_rd=1000, bps_wr=0, iops=50, iops_rd=0, iops_wr=0))
    told = [sample for sample in story.page() if sample.startswith("qemu_block_throttle")]
    assert told == [
        'qemu_block_throttle_limit_bytes_per_second{device="d0",operation="read"}',
        'qemu_block_throttle_limit_operations_per_second{device="d0",operation="total"}',
    ]
    story.says(told[0], 1000)
    story.says(told[1], 50)


def test_how_far_a_thin_volume_was_written_is_told_by_what_is_below_the_format():
    story = Story()
    stats = {"device": "d0", "stats": {"wr_highest_offset": 512}}
    story.answers("query-blockstats", [stats | {"parent": {"stats": {"wr_highest_offset": 4096}}}])
    story.says('qemu_block_write_highest_offset_bytes{device="d0"}', 4096)
    story.answers("query-blockstats", [stats])
    story.says('qemu_block_write_highest_offset_bytes{device="d0"}', 512)


def test_nothing_was_written_yet():
    story = Story()
    story.answers("query-blockstats", [{"device": "d0", "stats": {"wr_highest_offset": 0}}])
    story.says_nothing_of("qemu_block_write_highest_offset_bytes")


def test_an_empty_drive_has_no_image():
    story = Story()
    story.answers("query-block", [{"device": "cd0", "removable": True, "tray_open": False}])
    story.says_nothing_of("qemu_block_size_bytes")
