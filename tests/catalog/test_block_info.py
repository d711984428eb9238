"""Where each disk is stored: by query-block, and by the mount table of the process."""

import pytest

from play import Story
from qmp_exporter.catalog.block_info import MOUNTS_WITHIN
from qmp_exporter.core.block_file import Mount
from qmp_exporter.core.process import HOST_WANTS, ProcessInfo

CACHE = {"writeback": True, "direct": True, "no-flush": False}
MOUNTS = (Mount("/", "ext4", "/dev/sda1"), Mount("/srv", "nfs4", "nas:/vms"))


def disk(file: str = "/srv/a.qcow2", device: str = "d0", **inserted: object) -> dict:
    medium = {"node-name": "n0", "drv": "qcow2", "file": file, "ro": False, "cache": CACHE}
    return {"device": device, "inserted": medium | inserted}


def sees(story: Story, *mounts: Mount) -> None:
    """The host's kernel is asked."""
    story.vm.process(ProcessInfo(1.0, 1, 1, {}, mounts=mounts or None), story.now)


def info(
    storage: str, *, file: str = "/srv/a.qcow2", device: str = "d0", cache: str = "none", ro: str = "false"
) -> str:
    return (
        f'qemu_block_info{{cache="{cache}",device="{device}",file="{file}",format="qcow2",node="n0",'
        f'read_only="{ro}",storage="{storage}"}}'
    )


def test_a_file_shares_what_its_file_system_is_on():
    story = Story()
    story.answers("query-block", [disk()])
    story.says_nothing_of("qemu_block_info")
    assert story.vm.facts[HOST_WANTS].mounts
    sees(story, *MOUNTS)
    story.says_only("qemu_block_info", info("nas:/vms"))


def test_a_name_that_tells_it_all_needs_no_mount_table():
    story = Story()
    story.answers("query-block", [disk("nbd://192.0.2.1/x")])
    story.says_only("qemu_block_info", info("nbd://192.0.2.1/x", file="nbd://192.0.2.1/x"))


def test_where_the_process_is_not_to_be_seen_the_storage_is_unknown():
    story = Story()
    story.answers("query-block", [disk()])
    story.now += MOUNTS_WITHIN
    story.answers("query-block", [disk()])
    story.says_only("qemu_block_info", info("unknown"))


def test_the_mount_table_is_wanted_again_when_a_disk_has_another_file():
    story = Story()
    story.answers("query-block", [disk()])
    story.vm.facts[HOST_WANTS].mounts = False
    story.answers("query-block", [disk()])
    assert not story.vm.facts[HOST_WANTS].mounts
    story.answers("query-block", [disk(), disk("/srv/b.qcow2", "d1")])
    assert story.vm.facts[HOST_WANTS].mounts


def test_a_disk_that_moves_leaves_its_old_place():
    story = Story()
    story.answers("query-block", [disk()])
    sees(story, *MOUNTS)
    story.answers("query-block", [disk("/b.qcow2")])
    story.says_only("qemu_block_info", info("/dev/sda1", file="/b.qcow2"))


@pytest.mark.parametrize(
    ("writeback", "direct", "no_flush", "mode"),
    [
        (True, False, False, "writeback"),
        (True, True, False, "none"),
        (False, False, False, "writethrough"),
        (False, True, False, "directsync"),
        (True, False, True, "unsafe"),
    ],
)
def test_a_cache_mode_is_called_as_in_drive(writeback, direct, no_flush, mode):
    story = Story()
    cache = {"writeback": writeback, "direct": direct, "no-flush": no_flush}
    story.answers("query-block", [disk("rbd:vms/a:key=x", cache=cache, ro=True)])
    story.says_only("qemu_block_info", info("rbd:vms", file="rbd:vms/a", cache=mode, ro="true"))


def test_what_qemu_no_longer_tells_is_gone():
    story = Story()
    story.answers("query-block", [disk()])
    sees(story, *MOUNTS)
    story.refuses("query-block")
    sees(story)
    story.says_nothing_of("qemu_block_info")
