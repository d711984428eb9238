"""What can be wrong with block jobs: backups, mirrors, and the like."""

from collections.abc import Iterable

from qmp_exporter.core.evidence import Evidence
from qmp_exporter.core.trouble import Found, Trouble, condition, rose

OFFSET, LENGTH = "qemu_block_job_offset_bytes", "qemu_block_job_length_bytes"


@condition(rates=(OFFSET,))
def stuck(evidence: Evidence) -> Iterable[Found]:
    for labels, rate in evidence.rates(OFFSET).items():
        if rate == 0 and evidence.values(OFFSET)[labels] < evidence.values(LENGTH).get(labels, 0):
            yield evidence.named(OFFSET, labels)


TROUBLES = (
    Trouble(
        "QEMUBlockJobFailed",
        "warning",
        short="a block job failed",
        first="the log of what started it",
        summary="A block job of a VM failed.",
        meaning="""
            A {{ $labels.type }} job of VM {{ $labels.vm }} on {{ $labels.instance }} ended with an error in the last
            10 minutes: the backup, copy or move of a disk was not made.
            """,
        todo="""
            who started it (backup, `qm`, virsh, OpenStack) has the error in its log.
            qemu_block_job_errors_total{vm="{{ $labels.vm }}"} tells whether reading the disk or writing the target
            failed.
            """,
        expr='increase(qemu_block_jobs_finished_total{result="failed"}[10m]) > 0',
        when=rose("qemu_block_jobs_finished_total", 600, result="failed"),
        keeps=900,
    ),
    Trouble(
        "QEMUBlockJobStuck",
        "warning",
        short="a block job makes no progress",
        first="the job's target",
        summary="A block job makes no progress.",
        meaning="""
            The {{ $labels.type }} job {{ $labels.job_id }} of VM {{ $labels.vm }} on {{ $labels.instance }} has
            not moved for half an hour and is not at its end.
            """,
        todo="""
            qemu_block_job_status{vm="{{ $labels.vm }}"} == 1 says whether it is paused: by an error (on-error=stop;
            qemu_block_job_errors_total) or by somebody. Look at its target: free space, network, the other end. Resume
            or cancel it by what started it (`virsh blockjob`, `qm`): while it is there, backups may be refused.
            """,
        expr="""
            changes(qemu_block_job_offset_bytes[10m]) == 0
            and qemu_block_job_offset_bytes < qemu_block_job_length_bytes
            """,
        reason="""
            A poll_interval above 5m needs a longer range. A job that has nothing left to do, such as a mirror
            that is ready, is not stuck.
            """,
        when=stuck,
        lasts=1200,
    ),
)
