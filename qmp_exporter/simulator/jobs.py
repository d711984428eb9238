"""Block jobs: orders and passing time -> events in QEMU's order, members of query-block-jobs and query-jobs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from qmp_exporter.simulator.wire import Json

JobType = Literal["mirror", "stream", "backup", "commit"]
Emit = Callable[[str, Json], None]

# These two stay `ready` and go on copying until someone ends them; the others end by themselves.
_BECOME_READY = frozenset({"mirror", "commit"})


@dataclass(slots=True)
class BlockJob:
    """One job. `rate` is how fast it copies with no limit (speed 0), in bytes per second."""

    id: str
    type: JobType
    len: int
    emit: Emit
    offset: int = 0
    speed: int = 0
    rate: int = 100 << 20
    auto_finalize: bool = True
    auto_dismiss: bool = True
    status: str = "created"
    io_status: str = "ok"
    error: str | None = None

    @property
    def gone(self) -> bool:
        return self.status == "null"

    def start(self) -> None:
        self._become("created")
        self._become("running")

    def advance(self, seconds: float) -> None:
        if self.status != "running":
            return
        self.offset = min(self.len, self.offset + int((self.speed or self.rate) * seconds))
        if self.offset < self.len:
            return
        if self.type in _BECOME_READY:
            self._become("ready")
            self.emit("BLOCK_JOB_READY", self._event_data())
        else:
            self.complete()

    def complete(self) -> None:
        """A good end. A mirror that is cancelled when ready ends so, too."""
        self._become("waiting")
        self._become("pending")
        if self.auto_finalize:
            self.finalize()
        else:
            self.emit("BLOCK_JOB_PENDING", {"type": self.type, "id": self.id})

    def finalize(self) -> None:
        self.emit("BLOCK_JOB_COMPLETED", self._event_data())
        self._conclude()

    def cancel(self, *, force: bool = False) -> None:
        if self.status == "ready" and not force:
            self.complete()
            return
        self._become("aborting")
        self.emit("BLOCK_JOB_CANCELLED", self._event_data())
        self._conclude()

    def fail(self, operation: str, error: str) -> None:
        """on-error=report: COMPLETED with an error, not CANCELLED."""
        self.emit("BLOCK_JOB_ERROR", {"device": self.id, "operation": operation, "action": "report"})
        self._become("aborting")
        self.error = error
        self.emit("BLOCK_JOB_COMPLETED", {**self._event_data(), "error": error})
        self._conclude()

    def stall(self, operation: str, *, nospace: bool = False) -> None:
        """on-error=stop: the job waits for `resume`, and no further event says so."""
        self.emit("BLOCK_JOB_ERROR", {"device": self.id, "operation": operation, "action": "stop"})
        self.io_status = "nospace" if nospace else "failed"
        self.pause()

    def pause(self) -> None:
        self._become("standby" if self.status == "ready" else "paused")

    def resume(self) -> None:
        self.io_status = "ok"
        self._become("ready" if self.status == "standby" else "running")

    def dismiss(self) -> None:
        self._become("null")

    def _conclude(self) -> None:
        self._become("concluded")
        if self.auto_dismiss:
            self.dismiss()

    def _become(self, status: str) -> None:
        self.status = status
        self.emit("JOB_STATUS_CHANGE", {"status": status, "id": self.id})

    def _event_data(self) -> Json:
        progress = {"len": self.len, "offset": self.offset, "speed": self.speed}
        return {"device": self.id, **progress, "type": self.type}

    def query_block_jobs(self, *, with_synced: bool) -> Json:
        reply: Json = {"auto-finalize": self.auto_finalize, "io-status": self.io_status, "device": self.id}
        reply |= {"auto-dismiss": self.auto_dismiss, "busy": False, "len": self.len, "offset": self.offset}
        paused = self.status in {"paused", "standby"}
        reply |= {"status": self.status, "paused": paused, "speed": self.speed}
        reply |= {"ready": self.status in {"ready", "standby"}, "type": self.type}
        if self.error is not None:
            reply["error"] = self.error
        if with_synced and self.type == "mirror":
            reply["actively-synced"] = False
        return reply

    def query_jobs(self) -> Json:
        progress = {"current-progress": self.offset, "total-progress": self.len}
        error = {} if self.error is None else {"error": self.error}
        return {**progress, "status": self.status, "type": self.type, "id": self.id, **error}


class Jobs:
    """The jobs of one VM by id; one that has become "null" is forgotten."""

    def __init__(self, emit: Emit) -> None:
        self._jobs: dict[str, BlockJob] = {}
        self._emit = emit

    def __iter__(self) -> Iterator[BlockJob]:
        return iter(self._jobs.values())

    def __getitem__(self, job_id: str) -> BlockJob:
        return self._jobs[job_id]

    def start(
        self,
        job_type: JobType,
        job_id: str | None = None,
        *,
        length: int = 8 << 20,
        speed: int = 0,
        auto_finalize: bool = True,
        auto_dismiss: bool = True,
    ) -> BlockJob:
        job = BlockJob(job_id or f"{job_type}0", job_type, length, self._emit, speed=speed)
        job.auto_finalize = auto_finalize
        job.auto_dismiss = auto_dismiss
        self._jobs[job.id] = job
        job.start()
        return job

    def advance(self, seconds: float) -> None:
        for job in tuple(self._jobs.values()):
            job.advance(seconds)
        self._sweep()

    def complete(self, job_id: str) -> None:
        """What is left is copied in no time, and the job ends well."""
        job = self._jobs[job_id]
        if job.status == "running":
            job.offset = job.len
            job.advance(0)
        if job.status == "ready":
            job.complete()
        self._sweep()

    def cancel(self, job_id: str, *, force: bool = False) -> None:
        self._jobs[job_id].cancel(force=force)
        self._sweep()

    def fail(self, job_id: str, operation: str = "read", error: str = "Input/output error") -> None:
        self._jobs[job_id].fail(operation, error)
        self._sweep()

    def finalize(self, job_id: str) -> None:
        self._jobs[job_id].finalize()
        self._sweep()

    def dismiss(self, job_id: str) -> None:
        self._jobs[job_id].dismiss()
        self._sweep()

    def _sweep(self) -> None:
        self._jobs = {job_id: job for job_id, job in self._jobs.items() if not job.gone}
