"""What can be wrong with images, and with what a disk is made of: cache, snapshots, quorum, reservations."""

from collections.abc import Iterable

from qmp_exporter.core.evidence import Evidence
from qmp_exporter.core.trouble import Found, Trouble, any_of, condition, holds, rose, zeros

INFO = "qemu_block_info"
OLD = 30  # days of an internal snapshot
DAY = 86400.0
CORRUPTED = any_of(
    rose("qemu_block_image_corruptions_total", 6 * 3600, without=("fatal",)), holds("qemu_block_image_corrupt")
)


@condition()
def unsafe(evidence: Evidence) -> Iterable[Found]:
    return ({"device": one["device"]} for one in evidence.those(INFO, {"cache": "unsafe", "read_only": "false"}))


@condition()
def old_snapshot(evidence: Evidence) -> Iterable[Found]:
    for found, at in evidence.by_labels("qemu_block_oldest_snapshot_timestamp_seconds"):
        if evidence.at - at > OLD * DAY:
            yield found


TROUBLES = (
    Trouble(
        "QEMUImageCorrupted",
        "critical",
        short="a disk image is corrupt",
        first="end it, copy the image, `qemu-img check`",
        summary="A disk image is corrupt.",
        meaning="""
            QEMU found the image of disk {{ $labels.device }} of VM {{ $labels.vm }} on {{ $labels.instance }} to be
            damaged. qemu_block_image_corruptions_total{vm="{{ $labels.vm }}",fatal="true"} above 0: it has closed the
            image, and every request to it fails.
            """,
        todo="""
            end the VM, copy the image before anything else, then `qemu-img check` it; `-r leaks` is safe, `-r all` may
            lose data. Look for the cause: two programs that write to one image, the storage, the host's memory.
            """,
        expr="""
            max without (fatal) (increase(qemu_block_image_corruptions_total[6h])) > 0
            or
            max without (fatal) (
              qemu_block_image_corruptions_total unless qemu_block_image_corruptions_total offset 6h
            ) > 0
            or
            qemu_block_image_corrupt == 1
            """,
        reason="""
            QEMU says it once for an image while it is open, so that it is kept in sight for hours. A qcow2
            image is marked until it is repaired, and the mark is still there when the exporter, or the VM, has
            started again.
            """,
        when=CORRUPTED,
    ),
    Trouble(
        "QEMUUnsafeCache",
        "warning",
        short="a disk is written with cache=unsafe",
        first="the disk's cache mode",
        summary="A disk loses data when its host loses power.",
        meaning="""
            Disk {{ $labels.device }} of VM {{ $labels.vm }} on {{ $labels.instance }} has been written with
            cache=unsafe for an hour: QEMU ignores what the guest flushes. A crash of the host damages its file systems.
            """,
        todo="""
            give the disk another cache mode (`none` or `writeback`), which takes a cold start; unsafe is for
            guests that are thrown away, and for an installation.
            """,
        expr='max by (job, instance, vm, device) (qemu_block_info{cache="unsafe",read_only="false"}) == 1',
        when=unsafe,
        lasts=3600,
    ),
    Trouble(
        "QEMUPRManagerDisconnected",
        "warning",
        short="persistent reservations do not work",
        first="`systemctl status qemu-pr-helper`",
        summary="The persistent reservations of a VM do not work.",
        meaning="""
            The helper for SCSI persistent reservations {{ $labels.manager }} of VM {{ $labels.vm }} on
            {{ $labels.instance }} has been gone for 5 minutes: a cluster in the guest cannot reserve its disks, and may
            not fail over.
            """,
        todo="""
            start qemu-pr-helper again (`systemctl status qemu-pr-helper`); QEMU connects to it by itself.
            """,
        expr="qemu_pr_manager_connected == 0",
        when=zeros("qemu_pr_manager_connected"),
        wait=300,
    ),
    Trouble(
        "QEMUQuorumDegraded",
        "warning",
        short="an image of a quorum disk failed",
        first="the storage of its images",
        summary="An image of a quorum disk failed or was outvoted.",
        meaning="""
            A quorum disk of VM {{ $labels.vm }} on {{ $labels.instance }} has an image that failed, or that says
            something else than the others. The VM goes on with the rest.
            """,
        todo="""
            `journalctl -u qmp-exporter` and the manager's log name no more than that; ask QEMU for its nodes
            (query-named-block-nodes), look at the storage of each image, and replace the bad one.
            """,
        expr="""
            sum without (type) (increase(qemu_quorum_bad_reports_total[10m])) > 0
            or
            sum without (type) (
              qemu_quorum_bad_reports_total unless qemu_quorum_bad_reports_total offset 10m
            ) > 0
            """,
        reason="The second half: few VMs have a quorum disk, so that the counter begins with the first report.",
        when=rose("qemu_quorum_bad_reports_total", 600, without=("type",)),
    ),
    Trouble(
        "QEMUSnapshotOld",
        "warning",
        short="an internal snapshot is old",
        first="who needs it",
        summary="An internal snapshot of a disk is more than 30 days old.",
        meaning="""
            The oldest internal snapshot of disk {{ $labels.device }} of VM {{ $labels.vm }} on {{ $labels.instance }}
            is {{ $value | humanizeDuration }} old. The image grows by everything that changes after it.
            """,
        todo="""
            delete it where nobody needs it (`virsh snapshot-delete`, `qm delsnapshot`, `qemu-img snapshot -d` while
            the VM is off).
            """,
        expr="time() - qemu_block_oldest_snapshot_timestamp_seconds > $threshold * 86400",
        threshold=OLD,
        when=old_snapshot,
        lasts=3600,
    ),
    Trouble(
        "QEMUBlockWriteThreshold",
        "warning",
        short="an image has outgrown its threshold",
        first="whether the volume grows",
        summary="The image of a disk has outgrown what its manager had set.",
        meaning="""
            The guest of VM {{ $labels.vm }} on {{ $labels.instance }} has written beyond the threshold set for disk
            {{ $labels.device }}, which its manager set to learn in time that the image needs room.
            """,
        todo="""
            see that the manager makes room (oVirt grows the volume by itself); if it does not, the VM stops with
            `nospace` when the volume is full: qemu_block_write_highest_offset_bytes says how far it is.
            """,
        expr="increase(qemu_block_write_threshold_exceeded_total[10m]) > 0",
        when=rose("qemu_block_write_threshold_exceeded_total", 600),
    ),
)
