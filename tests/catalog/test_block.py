"""Disks and drives: one name for a disk, its errors, its status, its tray, its traffic."""

import pytest

from play import Story
from qmp_exporter.catalog.disk import QUERY_NODES
from qmp_exporter.catalog.disk_names import DEVICES, MAX_STRANGERS

VIRTIO = "/machine/peripheral/virtio-disk0/virtio-backend"
DRIVE = {"device": "drive-virtio-disk0", "qdev": VIRTIO, "removable": False, "inserted": {"node-name": "#block123"}}
BLOCKDEV = {"device": "", "qdev": VIRTIO, "removable": False, "inserted": {"node-name": "libvirt-1-format"}}
CD = {"device": "", "qdev": "ide0-1-0", "removable": True, "tray_open": False, "inserted": {"node-name": "iso"}}
EMPTY_CD = {"device": "", "qdev": "ide0-1-0", "removable": True, "tray_open": True}


def errors(device: str, operation: str = "write", action: str = "report") -> str:
    return f'qemu_block_io_errors_total{{action="{action}",device="{device}",operation="{operation}"}}'


def with_disks(*infos: dict) -> Story:
    story = Story()
    story.answers("query-block", list(infos))
    story.wants()
    return story


def fails(story: Story, **members: object) -> None:
    story.happens("BLOCK_IO_ERROR", **{"operation": "write", "action": "report", "device": "", **members})


# --- one disk, one name


def test_with_drive_a_disk_is_called_by_its_drive_id():
    story = with_disks(DRIVE)
    fails(story, device="drive-virtio-disk0", node_name="#block123", reason="Input/output error")
    story.says(errors("drive-virtio-disk0"), 1)


def test_with_blockdev_a_disk_is_called_by_its_qdev_id_though_the_event_names_a_node():
    story = with_disks(BLOCKDEV)
    fails(story, node_name="libvirt-1-format")
    story.says(errors("virtio-disk0"), 1)


def test_since_9_2_the_event_has_the_qom_path():
    story = with_disks(BLOCKDEV)
    fails(story, qom_path=VIRTIO, node_name="some-filter-on-top")
    story.says(errors("virtio-disk0"), 1)


def test_it_is_the_same_name_in_every_metric():
    story = with_disks(BLOCKDEV | {"io-status": "failed"}, CD)
    stats = {"rd_bytes": 512, "failed_wr_operations": 1}
    story.answers("query-blockstats", [{"device": "", "qdev": VIRTIO, "node-name": "libvirt-1-format", "stats": stats}])
    fails(story, node_name="libvirt-1-format", nospace=True)
    story.says(errors("virtio-disk0"), 1)
    story.says('qemu_block_io_nospace_errors_total{device="virtio-disk0"}', 1)
    story.says('qemu_block_io_status{device="virtio-disk0",status="failed"}', 1)
    story.says('qemu_block_read_bytes_total{device="virtio-disk0"}', 512)
    story.says('qemu_block_failed_operations_total{device="virtio-disk0",operation="write"}', 1)


def test_a_device_without_an_id_is_called_by_its_place_in_the_tree():
    story = with_disks({"device": "", "qdev": "/machine/peripheral-anon/device[1]/virtio-backend", "tray_open": True})
    story.says('qemu_block_tray_open{device="device[1]"}', 1)


def test_a_disk_without_device_and_qdev_is_called_by_its_node():
    story = with_disks({"device": "", "io-status": "ok", "inserted": {"node-name": "disk"}})
    story.says('qemu_block_io_status{device="disk",status="ok"}', 1)


def test_a_disk_without_any_name_is_unknown():
    story = Story(version="2.2.0")
    story.happens("BLOCK_IO_ERROR", operation="read", action="report")
    story.says(errors("unknown", "read"), 1)


def test_what_was_counted_for_a_node_moves_to_its_device_when_that_is_known():
    story = Story()
    fails(story, node_name="libvirt-1-format")
    fails(story, node_name="libvirt-1-format", nospace=True)
    story.says(errors("libvirt-1-format"), 2)
    story.answers("query-block", [BLOCKDEV])
    story.says(errors("virtio-disk0"), 2)
    story.says('qemu_block_io_nospace_errors_total{device="virtio-disk0"}', 1)
    story.says_nothing_of(errors("libvirt-1-format"))
    fails(story, node_name="libvirt-1-format")
    story.says(errors("virtio-disk0"), 3)


def test_it_moves_even_if_other_replies_came_first_that_did_not_know_the_node():
    story = with_disks(CD)
    fails(story, node_name="libvirt-1-format")
    story.answers("query-blockstats", [{"device": "", "qdev": "ide0-1-0", "stats": {}}])
    story.answers("query-block", [CD, BLOCKDEV])
    story.says(errors("virtio-disk0"), 1)
    story.says_nothing_of(errors("libvirt-1-format"))


# --- a job puts a filter node between a disk and its node, which until QEMU 9.2 events name and no list of disks does

FILTER = {"node-name": "#block119", "parent": {"node-name": "libvirt-1-format", "stats": {}}, "stats": {}}
BELOW_IT = [
    {"node-name": "libvirt-1-format", "parent": {"node-name": "libvirt-1-storage", "stats": {}}, "stats": {}},
    {"node-name": "libvirt-1-storage", "stats": {}},
]
STATS = {"device": "", "qdev": VIRTIO, "node-name": "libvirt-1-format", "stats": {}}
NODES = "query-blockstats of nodes"


def mirrored() -> Story:
    """A disk is being mirrored, and its first error has just come."""
    story = with_disks(BLOCKDEV)
    story.answers("query-blockstats", [STATS])
    fails(story, node_name="#block119", nospace=True)
    return story


def test_an_error_of_the_filter_of_a_job_is_that_of_its_disk():
    story = mirrored()
    story.answers(NODES, [FILTER, *BELOW_IT])
    story.says(errors("virtio-disk0"), 1)
    story.says('qemu_block_io_nospace_errors_total{device="virtio-disk0"}', 1)
    assert "#block119" not in str(story.page())
    fails(story, node_name="#block119")
    story.says(errors("virtio-disk0"), 2)
    story.vm.heard()
    assert [labels.get("device") for one, labels in story.vm.entries() if one.event == "BLOCK_IO_ERROR"] == [
        "virtio-disk0"
    ]


def test_all_nodes_are_listed_when_a_stranger_is_named_and_not_again():
    story = with_disks(BLOCKDEV)
    fails(story, node_name="libvirt-1-format")
    assert story.session.scheduler.next(story.now + 2.0) is not QUERY_NODES
    fails(mirror := mirrored(), node_name="#block119")
    assert mirror.session.scheduler.next(mirror.now + 2.0) is QUERY_NODES
    mirror.replies(NODES, [FILTER, *BELOW_IT])
    fails(mirror, node_name="#block119")
    assert mirror.session.scheduler.next(mirror.now + 2.0) is not QUERY_NODES


def test_a_node_of_nobody_keeps_its_name_and_is_looked_for_once():
    story = with_disks(BLOCKDEV)
    fails(story, node_name="stray")
    story.answers(NODES, [{"node-name": "stray", "stats": {}}, *BELOW_IT])
    fails(story, node_name="stray")
    story.says(errors("stray"), 2)
    assert story.session.scheduler.next(story.now + 2.0) is not QUERY_NODES


def test_filters_on_filters_and_on_backing_images_are_those_of_their_disk_too():
    story = with_disks(BLOCKDEV)
    base = {"node-name": "base", "stats": {}}
    story.answers("query-blockstats", [STATS | {"backing": base}])
    fails(story, node_name="#block200")
    fails(story, node_name="#block300")
    over = {"node-name": "#block200", "parent": FILTER, "stats": {}}
    story.answers(NODES, [over, {"node-name": "#block300", "parent": base, "stats": {}}, FILTER, *BELOW_IT])
    story.says(errors("virtio-disk0"), 2)


def test_a_new_filter_for_each_job_uses_up_no_room_for_devices():
    story = with_disks(BLOCKDEV)
    story.answers("query-blockstats", [STATS])
    for number in range(1000):
        fails(story, node_name=f"#block{number}")
        story.answers(NODES, [FILTER | {"node-name": f"#block{number}"}, *BELOW_IT])
    story.says(errors("virtio-disk0"), 1000)
    story.says_nothing_of(errors("other"))


def test_a_filter_is_forgotten_with_its_disk():
    story = mirrored()
    story.answers(NODES, [FILTER, *BELOW_IT])
    story.answers("query-block", [CD])
    fails(story, node_name="#block119")
    story.says(errors("#block119"), 1)


# --- a name that stays, and one for each


def test_a_disk_that_is_no_device_of_anybody_is_called_by_its_path_whatever_its_node_is():
    story = Story()
    for node in ("pf1", "#block155", "pf1", "#block383"):
        flash = {"device": "", "qdev": "/machine/system.flash1", "node-name": node, "stats": {"wr_bytes": 2}}
        story.answers("query-blockstats", [flash])
        story.says('qemu_block_written_bytes_total{device="system.flash1"}', 2)
        assert not [sample for sample in story.page() if f'device="{node}"' in sample]


@pytest.mark.parametrize(
    ("qdev", "name"),
    [
        ("/machine/peripheral/scsi0/scsi0.0/legacy[1]", "scsi0/scsi0.0/legacy[1]"),
        ("/machine/peripheral-anon/device[1]", "device[1]"),
        ("/machine/unattached/device[1]", "unattached/device[1]"),
        ("/machine/system.flash0", "system.flash0"),
    ],
)
def test_a_path_is_a_name_that_no_other_device_has(qdev, name):
    story = with_disks({"device": "", "qdev": qdev, "io-status": "ok", "inserted": {"node-name": "disk"}})
    story.says(f'qemu_block_io_status{{device="{name}",status="ok"}}', 1)


def test_an_error_of_a_node_that_two_devices_share_is_counted_for_the_node():
    story = Story(version="7.2.22")
    paths = [{"device": "", "qdev": f"path{number}", "inserted": {"node-name": "hd0"}} for number in range(2)]
    story.answers("query-block", paths)
    story.says(errors("hd0"), 0)
    fails(story, node_name="hd0")
    story.says(errors("hd0"), 1)
    story.says(errors("path0"), 0)
    story.says(errors("path1"), 0)


# --- what QEMU does not tell any more is absent


def test_a_query_that_begins_to_fail_ends_what_it_told_alone():
    story = with_disks(BLOCKDEV | {"io-status": "failed"})
    fails(story, node_name="libvirt-1-format")
    story.refuses("query-block")
    story.says_nothing_of("qemu_block_io_status")
    story.says(errors("virtio-disk0"), 1)


def test_nodes_that_nobody_ever_names_are_bounded():
    story = Story()
    for number in range(3000):
        fails(story, node_name=f"node{number}")
    assert len(story.vm.facts[DEVICES]._strangers) <= MAX_STRANGERS
    counted = {sample: value for sample, value in story.page().items() if sample.startswith("qemu_block_io_errors")}
    assert sum(counted.values()) == 3000
    assert len(counted) == 129
    story.says(errors("other"), 3000 - 128)


# --- zero first


def test_as_soon_as_a_disk_is_known_its_counters_stand_at_zero():
    story = Story()
    story.says_nothing_of("qemu_block_io_errors_total")
    story.answers("query-block", [DRIVE, CD])
    for device in ("drive-virtio-disk0", "ide0-1-0"):
        for operation in ("read", "write"):
            for action in ("ignore", "report", "stop"):
                story.says(errors(device, operation, action), 0)
        story.says(f'qemu_block_io_nospace_errors_total{{device="{device}"}}', 0)
    for to in ("open", "closed"):
        story.says(f'qemu_block_tray_moves_total{{device="ide0-1-0",to="{to}"}}', 0)
    story.says_nothing_of('qemu_block_tray_moves_total{device="drive-virtio-disk0"')


def test_a_disk_that_is_plugged_in_is_met_by_the_next_poll():
    story = with_disks(DRIVE)
    plugged = {"device": "", "qdev": "/machine/peripheral/virtio-disk9/virtio-backend", "node-name": "new", "stats": {}}
    story.answers("query-blockstats", [{"device": "drive-virtio-disk0", "qdev": VIRTIO, "stats": {}}, plugged])
    story.says(errors("virtio-disk9"), 0)


def test_counting_goes_on_where_it_was_when_more_disks_come():
    story = with_disks(DRIVE)
    fails(story, device="drive-virtio-disk0")
    story.answers("query-block", [DRIVE, CD])
    story.says(errors("drive-virtio-disk0"), 1)


# --- errors


@pytest.mark.parametrize("operation", ["read", "write"])
@pytest.mark.parametrize("action", ["ignore", "report", "stop"])
def test_an_error_counts_by_what_failed_and_what_qemu_did(operation, action):
    story = with_disks(DRIVE)
    fails(story, device="drive-virtio-disk0", operation=operation, action=action)
    story.says(errors("drive-virtio-disk0", operation, action), 1)


def test_an_operation_and_an_action_never_heard_of_are_other():
    story = with_disks(DRIVE)
    fails(story, device="drive-virtio-disk0", operation="copy", action="retry")
    story.says(errors("drive-virtio-disk0", "other", "other"), 1)


@pytest.mark.parametrize(("members", "counted"), [({"nospace": True}, 1), ({"nospace": False}, 0), ({}, 0)])
def test_want_of_space_counts_by_itself(members, counted):
    story = with_disks(DRIVE)
    fails(story, device="drive-virtio-disk0", **members)
    story.says('qemu_block_io_nospace_errors_total{device="drive-virtio-disk0"}', counted)


def test_failed_operations_are_what_qemu_counted():
    story = with_disks(DRIVE)
    failed = {f"failed_{short}_operations": number for number, short in enumerate(("rd", "wr", "flush", "unmap"), 1)}
    story.answers("query-blockstats", [{"device": "drive-virtio-disk0", "stats": failed}])
    for number, operation in enumerate(("read", "write", "flush", "unmap"), start=1):
        story.says(f'qemu_block_failed_operations_total{{device="drive-virtio-disk0",operation="{operation}"}}', number)


# --- status


@pytest.mark.parametrize("status", ["ok", "failed", "nospace"])
def test_the_io_status_is_one_of_three(status):
    story = with_disks(DRIVE | {"io-status": status})
    story.says_only("qemu_block_io_status", f'qemu_block_io_status{{device="drive-virtio-disk0",status="{status}"}}')


def test_an_io_status_never_heard_of_is_none_of_the_three():
    story = with_disks(DRIVE | {"io-status": "haunted"})
    story.says_only("qemu_block_io_status")


def test_a_disk_whose_policies_report_has_no_io_status():
    story = with_disks(DRIVE)
    story.says_nothing_of("qemu_block_io_status")


def test_after_a_device_was_unplugged_the_disks_and_their_statistics_are_asked():
    story = with_disks(DRIVE)
    story.happens("DEVICE_DELETED", device="virtio-disk0", path="/machine/peripheral/virtio-disk0")
    assert {"query-block", "query-blockstats"} <= story.wants()


@pytest.mark.parametrize("event", ["BLOCK_IO_ERROR", "DEVICE_TRAY_MOVED", "RESET", "RESUME", "DEVICE_DELETED"])
def test_after_these_the_disks_are_asked(event):
    story = with_disks(DRIVE)
    story.happens(event, operation="read", action="stop", tray_open=True, path="/machine")
    assert "query-block" in story.wants()


# --- trays and media


@pytest.mark.parametrize(
    ("names", "device"), [({"device": "drive-cd", "id": "cd"}, "drive-cd"), ({"device": "", "id": "cd"}, "cd")]
)
def test_a_tray_that_moves_is_counted_and_seen_at_once(names, device):
    story = Story()
    story.happens("DEVICE_TRAY_MOVED", **names, tray_open=True)
    story.says(f'qemu_block_tray_open{{device="{device}"}}', 1)
    story.says(f'qemu_block_tray_moves_total{{device="{device}",to="open"}}', 1)
    story.happens("DEVICE_TRAY_MOVED", **names, tray_open=False)
    story.says(f'qemu_block_tray_open{{device="{device}"}}', 0)
    story.says(f'qemu_block_tray_moves_total{{device="{device}",to="closed"}}', 1)


def test_a_reset_closes_trays_without_an_event_and_the_query_tells():
    story = with_disks(EMPTY_CD)
    story.says('qemu_block_tray_open{device="ide0-1-0"}', 1)
    story.happens("RESET", guest=False, reason="host-qmp-system-reset")
    assert "query-block" in story.wants()
    story.answers("query-block", [EMPTY_CD | {"tray_open": False}])
    story.says('qemu_block_tray_open{device="ide0-1-0"}', 0)
    story.says('qemu_block_tray_moves_total{device="ide0-1-0",to="closed"}', 0)


def test_only_what_is_removable_has_a_medium_or_has_none():
    story = with_disks(DRIVE, CD)
    story.says('qemu_block_medium_inserted{device="ide0-1-0"}', 1)
    story.says_nothing_of('qemu_block_medium_inserted{device="drive-virtio-disk0"')
    story.answers("query-block", [DRIVE, EMPTY_CD])
    story.says('qemu_block_medium_inserted{device="ide0-1-0"}', 0)


def test_a_disk_that_is_unplugged_leaves_the_gauges():
    story = with_disks(DRIVE | {"io-status": "ok"}, CD)
    story.answers("query-block", [CD])
    story.says_nothing_of('qemu_block_io_status{device="drive-virtio-disk0"')


def test_what_an_unplugged_disk_counted_is_scraped_once_more_before_it_ends():
    story = with_disks(DRIVE, CD)
    story.happens("BLOCK_IO_ERROR", device="drive-virtio-disk0", operation="write", action="report")
    story.answers("query-blockstats", [DRIVE | {"stats": {"wr_bytes": 512}}])
    story.answers("query-block", [CD])
    story.answers("query-blockstats", [])
    story.vm.samples.leave(story.now)  # the first scrape since
    story.says('qemu_block_io_errors_total{action="report",device="drive-virtio-disk0",operation="write"}', 1)
    story.says('qemu_block_written_bytes_total{device="drive-virtio-disk0"}', 512)
    story.scraped_for_long()
    assert not any('device="drive-virtio-disk0"' in sample for sample in story.page())
    story.says('qemu_block_tray_open{device="ide0-1-0"}', 0)


def test_a_disk_that_is_plugged_in_again_stays_and_goes_on_counting():
    story = with_disks(DRIVE, CD)
    story.happens("BLOCK_IO_ERROR", device="drive-virtio-disk0", operation="write", action="report")
    story.answers("query-block", [CD])
    story.answers("query-block", [DRIVE, CD])
    story.scraped_for_long()
    story.says('qemu_block_io_errors_total{action="report",device="drive-virtio-disk0",operation="write"}', 1)
    story.says('qemu_block_io_errors_total{action="stop",device="drive-virtio-disk0",operation="write"}', 0)


# --- damaged images, images that need room, quorum

FILE_OF = {"stats": {}, "node-name": "libvirt-1-storage"}
BASE = {"stats": {}, "node-name": "libvirt-2-format", "parent": {"stats": {}, "node-name": "libvirt-2-storage"}}
WITH_BASE = {
    "device": "",
    "qdev": VIRTIO,
    "node-name": "libvirt-1-format",
    "stats": {},
    "parent": FILE_OF,
    "backing": BASE,
}


@pytest.mark.parametrize("fatal", [True, False])
def test_a_damaged_image_is_counted_for_its_disk(fatal):
    story = with_disks(BLOCKDEV)
    sample = f'qemu_block_image_corruptions_total{{device="virtio-disk0",fatal="{str(fatal).lower()}"}}'
    story.says(sample, 0)
    story.happens("BLOCK_IMAGE_CORRUPTED", device="", node_name="libvirt-1-format", msg="L2 table", fatal=fatal)
    story.says(sample, 1)


def test_a_damaged_image_of_a_drive_has_its_drive_id():
    story = with_disks(DRIVE)
    story.happens("BLOCK_IMAGE_CORRUPTED", device="drive-virtio-disk0", msg="L2 table", fatal=True)
    story.says('qemu_block_image_corruptions_total{device="drive-virtio-disk0",fatal="true"}', 1)


@pytest.mark.parametrize("node", ["libvirt-1-format", "libvirt-1-storage", "libvirt-2-format", "libvirt-2-storage"])
def test_a_threshold_belongs_to_the_disk_that_the_node_is_part_of(node):
    story = with_disks(BLOCKDEV)
    story.answers("query-blockstats", [WITH_BASE])
    story.answers("query-block", [BLOCKDEV])  # which knows no node below, and must not make us forget
    story.says('qemu_block_write_threshold_exceeded_total{device="virtio-disk0"}', 0)
    story.happens("BLOCK_WRITE_THRESHOLD", node_name=node, amount_exceeded=768, write_threshold=256)
    story.says('qemu_block_write_threshold_exceeded_total{device="virtio-disk0"}', 1)


def test_a_node_below_is_recognized_later():
    story = with_disks(BLOCKDEV)
    story.happens("BLOCK_WRITE_THRESHOLD", node_name="libvirt-1-storage", amount_exceeded=768, write_threshold=256)
    story.says('qemu_block_write_threshold_exceeded_total{device="libvirt-1-storage"}', 1)
    story.answers("query-blockstats", [WITH_BASE])
    story.says('qemu_block_write_threshold_exceeded_total{device="virtio-disk0"}', 1)
    story.says_nothing_of('qemu_block_write_threshold_exceeded_total{device="libvirt-1-storage"')


def test_a_base_that_two_disks_share_is_called_by_its_own_name():
    story = Story()
    other = WITH_BASE | {"qdev": "/machine/peripheral/virtio-disk1/virtio-backend", "node-name": "libvirt-3-format"}
    story.answers("query-blockstats", [WITH_BASE, other])
    story.happens("BLOCK_IMAGE_CORRUPTED", device="", node_name="libvirt-2-format", msg="L2 table", fatal=False)
    story.says('qemu_block_image_corruptions_total{device="libvirt-2-format",fatal="false"}', 1)


def test_only_a_vm_with_a_quorum_disk_pays_for_its_counters():
    story = with_disks(BLOCKDEV)
    story.says_nothing_of("qemu_quorum")
    story.answers("query-block", [BLOCKDEV | {"inserted": {"node-name": "quorum0", "drv": "quorum"}}])
    story.says("qemu_quorum_failures_total", 0)
    for operation in ("read", "write", "flush"):
        story.says(f'qemu_quorum_bad_reports_total{{type="{operation}"}}', 0)


def test_quorum_counts_failures_and_bad_images():
    story = Story()
    story.happens("QUORUM_FAILURE", reference="quorum0", sector_num=0, sectors_count=1)
    story.happens("QUORUM_REPORT_BAD", type="write", node_name="q1", sector_num=0, sectors_count=1)
    story.says("qemu_quorum_failures_total", 1)
    story.says('qemu_quorum_bad_reports_total{type="write"}', 1)


def test_before_2_6_a_bad_image_of_a_quorum_did_not_say_what_failed():
    story = Story(version="2.5.0")
    story.happens("QUORUM_REPORT_BAD", node_name="q1", sector_num=0, sectors_count=1)
    story.says('qemu_quorum_bad_reports_total{type="unknown"}', 1)
