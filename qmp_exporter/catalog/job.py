"""Block jobs: mirrors, backups, streams and commits, how far they are and how they ended."""

from collections.abc import Iterable

from msgspec import Struct

from qmp_exporter.core.family import Family, Group, Label, Query, Sample, StateUpdate, counter, event, gauge, query
from qmp_exporter.core.read import by
from qmp_exporter.core.vm_facts import Slice, VmFacts


class BlockJobInfo(Struct, frozen=True):
    """An element of query-block-jobs, qapi/block-core.json: `status` since 2.12; `device` is the job's id."""

    type: str
    device: str
    len: int
    offset: int
    speed: int
    status: str = ""


class Finished(Struct, frozen=True):
    """BLOCK_JOB_COMPLETED and BLOCK_JOB_CANCELLED; COMPLETED with `error` is a failure."""

    type: str
    error: str | None = None


class JobError(Struct, frozen=True):
    """BLOCK_JOB_ERROR."""

    operation: str
    action: str


class Jobs:
    """Whether there was one the last time that QEMU was asked."""

    def __init__(self) -> None:
        self.is_any = False


JOBS = Slice(Jobs)

# An event announces each that begins, so that none is looked for with every poll.
QUERY_BLOCK_JOBS = Query(
    "query-block-jobs",
    list[BlockJobInfo],
    example=[{"type": "mirror", "device": "j", "len": 2, "offset": 1, "speed": 0, "status": "running"}],
    at_rest=[],
    every="slow",
    poll_while=lambda facts: facts[JOBS].is_any,
    after=(
        "JOB_STATUS_CHANGE",
        "BLOCK_JOB_COMPLETED",
        "BLOCK_JOB_CANCELLED",
        "BLOCK_JOB_ERROR",
        "BLOCK_JOB_READY",
        "BLOCK_JOB_PENDING",
    ),
)
QUERIES = (QUERY_BLOCK_JOBS,)

BLOCK_JOBS = ("backup", "commit", "mirror", "stream")  # the JobTypes that BLOCK_JOB_* events are about
JOB = Label("job_id", "The job's id, in gauges only, since libvirt's job ids contain counters.", limit=32)
TYPE = Label(
    "type",
    "JobType.",
    values=(*BLOCK_JOBS, "create", "amend", "snapshot-load", "snapshot-save", "snapshot-delete"),
    zero=BLOCK_JOBS,
)
STATUS = Label(
    "status",
    "JobStatus.",
    values=(
        "undefined",
        "created",
        "running",
        "paused",
        "ready",
        "standby",
        "waiting",
        "pending",
        "aborting",
        "concluded",
        "null",
    ),
)
RESULT = Label("result", "How the job ended.", values=("completed", "failed", "cancelled"))
OPERATION = Label("operation", "IoOperationType.", values=("read", "write"))
ACTION = Label("action", "BlockErrorAction.", values=("ignore", "report", "stop"))


def update_jobs(jobs: list[BlockJobInfo], facts: VmFacts) -> None:
    facts[JOBS].is_any = bool(jobs)


UPDATES = (StateUpdate("query-block-jobs", list[BlockJobInfo], update_jobs),)


def progress(name: str, help: str, member: str) -> Family:  # noqa: A002  the exposition format's own word
    """A row that copies a member of BlockJobInfo."""

    def read(jobs: list[BlockJobInfo], _facts: VmFacts) -> Iterable[Sample]:
        for job in jobs:
            yield (job.device, job.type), getattr(job, member)

    return gauge(name, help, query(QUERY_BLOCK_JOBS, read), labels=(JOB, TYPE))


def status(jobs: list[BlockJobInfo], _facts: VmFacts) -> Iterable[Sample]:
    for job in jobs:
        if job.status:
            yield (job.device, job.type, job.status), 1


def completed(job: Finished, _facts: VmFacts) -> Iterable[Sample]:
    yield (job.type, "completed" if job.error is None else "failed"), 1


def cancelled(job: Finished, _facts: VmFacts) -> Iterable[Sample]:
    yield (job.type, "cancelled"), 1


FAMILIES = (
    progress(
        "qemu_block_job_offset_bytes",
        "How far the block job is, by query-block-jobs.",
        "offset",
    ),
    progress(
        "qemu_block_job_length_bytes",
        "How far the block job has to go, by query-block-jobs; it grows while the guest writes to a mirrored disk.",
        "len",
    ),
    progress(
        "qemu_block_job_speed_limit_bytes_per_second",
        "How fast the block job may go, by query-block-jobs; 0 is no limit.",
        "speed",
    ),
    gauge(
        "qemu_block_job_status",
        "The status of the block job by query-block-jobs: 1 for the one it has, 0 for the others.",
        query(QUERY_BLOCK_JOBS, status),
        labels=(JOB, TYPE, STATUS),
        onehot=True,
    ),
    counter(
        "qemu_block_jobs_finished_total",
        "Block jobs that ended, by BLOCK_JOB_COMPLETED and BLOCK_JOB_CANCELLED; a mirror that is cancelled when ready "
        "has completed.",
        event("BLOCK_JOB_COMPLETED", Finished, completed),
        event("BLOCK_JOB_CANCELLED", Finished, cancelled),
        labels=(TYPE, RESULT),
    ),
    counter(
        "qemu_block_job_errors_total",
        "I/O errors of block jobs, by BLOCK_JOB_ERROR.",
        event("BLOCK_JOB_ERROR", JobError, by("operation", "action")),
        labels=(OPERATION, ACTION),
    ),
)

GROUP = Group(
    "block_job",
    FAMILIES,
    queries=QUERIES,
    updates=UPDATES,
    more="14 for each job",
    events={
        "BLOCK_JOB_COMPLETED": {"type": "mirror", "error": "Input/output error"},
        "BLOCK_JOB_CANCELLED": {"type": "mirror"},
        "BLOCK_JOB_ERROR": {"operation": "read", "action": "stop"},
    },
)
