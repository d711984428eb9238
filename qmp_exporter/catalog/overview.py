"""A VM's samples, and what its watch knows of the monitor -> what /api/v1/targets tells of it.

docs/api.md describes each member to those who read them: what is here is public.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from qmp_exporter.core.current_troubles import Standing, in_words
from qmp_exporter.core.family import Labels, printable
from qmp_exporter.core.in_flight import PATIENCE
from qmp_exporter.core.vm import Vm

IO_ERRORS = "qemu_block_io_errors_total"
NOSPACE_ERRORS = "qemu_block_io_nospace_errors_total"
IO_STATUS = "qemu_block_io_status"
INFO = "qemu_block_info"

encode = msgspec.json.Encoder().encode


class Monitor(Struct, frozen=True, omit_defaults=True):
    """The members of `monitor`."""

    state: str
    since: float
    reason: str = ""
    retry_at: float | None = None
    unanswered_since: float | None = None


class IoErrors(Struct, frozen=True, omit_defaults=True):
    """An element of `io_errors`: one of qemu_block_io_errors_total that is not 0."""

    device: str
    operation: str
    action: str
    count: float
    last: float | None = None


class NoSpace(Struct, frozen=True):
    """An element of `nospace_errors`."""

    device: str
    count: float


class IoStatus(Struct, frozen=True):
    """An element of `io_status`."""

    device: str
    status: str


class Job(Struct, frozen=True, omit_defaults=True):
    """An element of `jobs`."""

    job: str
    type: str
    status: str = ""
    offset_bytes: float | None = None
    length_bytes: float | None = None
    speed_limit_bytes_per_second: float | None = None


class Migration(Struct, frozen=True, omit_defaults=True):
    """The members of `migration`."""

    status: str
    transferred_bytes: float | None = None
    remaining_bytes: float | None = None
    total_bytes: float | None = None


class Event(Struct, frozen=True, omit_defaults=True):
    """An element of `events`."""

    event: str
    count: float
    since: float
    last: float
    labels: Mapping[str, str] = {}


class TroubleNow(Struct, frozen=True, omit_defaults=True):
    """An element of `troubles`: one that there is."""

    alert: str
    severity: str
    since: float
    what: str
    first: str
    todo: str
    detail: str = ""
    labels: Mapping[str, str] = {}
    inhibited: bool = False


class Activity(Struct, frozen=True, omit_defaults=True):
    """The members of `activity`: lists of what was in each of the last minutes, the newest last."""

    cpus: list[float] = []
    disk_bytes_per_second: list[float] = []


class Target(Struct, frozen=True, omit_defaults=True):
    """An element of `targets`."""

    vm: str
    socket: str
    up: bool
    monitor: Monitor
    labels: Mapping[str, str] = {}
    name: str = ""
    uuid: str = ""
    version: str = ""
    troubles: list[TroubleNow] = []
    run_state: str = ""
    running: bool | None = None
    run_state_since: float | None = None
    io_errors: list[IoErrors] = []
    nospace_errors: list[NoSpace] = []
    io_status: list[IoStatus] = []
    open_trays: list[str] = []
    storages: list[str] = []
    memory_bytes: float | None = None
    activity: Activity | None = None
    vnc_clients: float | None = None
    vnc_sessions: float | None = None
    spice_sessions: float | None = None
    jobs: list[Job] = []
    migration: Migration | None = None
    events: list[Event] = []
    black_box: bool = False


class SourceDown(Struct, frozen=True):
    """An element of `sources_down`."""

    source: str
    reason: str


class Data(Struct, frozen=True, omit_defaults=True):
    """The members of `data`; each target is a Target that was encoded before."""

    version: str
    host: str
    now: float
    targets: list[Raw]
    sources_down: list[SourceDown] = []
    troubles: list[TroubleNow] = []


class Answer(Struct, frozen=True):
    """All of it, as Prometheus' own API frames its answers."""

    status: str
    data: Data


def monitor(vm: Vm, since: float, reason: str, retry_at: float | None, *, waits: float, now: float) -> Monitor:
    """`now` is the time since the epoch; `waits`: for how many seconds nothing that was asked has been answered."""
    unanswered_since = now - waits if waits > PATIENCE else None
    return Monitor(vm.monitor_state, since, printable(reason), retry_at, unanswered_since)


def troubles(standing: Sequence[Standing], named: Mapping[str, str]) -> Iterator[TroubleNow]:
    """`standing`: those of one VM, or of the exporter; `named`: the labels that an alert has beside those of it."""
    inhibited = {name for one in standing for name in one.trouble.inhibits}
    for one in standing:
        row = one.trouble
        todo = " ".join(in_words(row.todo, {**named, **one.labels}).split())
        yield TroubleNow(
            alert=row.name,
            severity=row.severity,
            since=one.since,
            what=row.short,
            first=row.first,
            todo=todo,
            detail=one.detail,
            labels=one.labels,
            inhibited=row.name in inhibited,
        )


def target(
    vm: Vm,
    name: str,
    socket: str,
    labels: Mapping[str, str],
    health: Monitor,
    *,
    troubles: Iterable[TroubleNow] = (),
    activity: Activity | None = None,
    black_box: bool = False,
) -> Target:
    """Take some 20 microseconds, which 2,000 VMs must not take at one go."""
    guest, uuid, version = vm.identity
    running = _only(vm, "qemu_vm_running")
    return Target(
        vm=printable(name),
        socket=printable(socket),
        up=bool(_only(vm, "qemu_up")),
        monitor=health,
        labels={label: printable(value) for label, value in labels.items()},
        name=guest,
        uuid=uuid,
        version=version,
        troubles=list(troubles),
        run_state=next((state for (state,) in _those_that_hold(vm, "qemu_vm_state")), ""),
        running=None if running is None else bool(running),
        run_state_since=_only(vm, "qemu_vm_state_change_timestamp_seconds"),
        io_errors=list(_io_errors(vm)),
        nospace_errors=[NoSpace(device, n) for (device,), n in vm.values(NOSPACE_ERRORS).items() if n],
        io_status=[IoStatus(device, word) for device, word in _those_that_hold(vm, IO_STATUS) if word != "ok"],
        open_trays=[device for (device,) in _those_that_hold(vm, "qemu_block_tray_open")],
        storages=_storages(vm),
        memory_bytes=_only(vm, "qemu_process_resident_memory_bytes"),
        activity=activity,
        vnc_clients=_only(vm, "qemu_vnc_clients"),
        vnc_sessions=_only(vm, "qemu_vnc_sessions"),
        spice_sessions=_only(vm, "qemu_spice_sessions"),
        jobs=list(_jobs(vm)),
        migration=_migration(vm),
        events=_events(vm),
        black_box=black_box,
    )


def answer(
    version: str,
    host: str,
    now: float,
    targets: Iterable[bytes],
    *,
    down: Iterable[tuple[str, str]] = (),
    troubles: Iterable[TroubleNow] = (),
) -> bytes:
    """The body of the answer; `targets` were encoded one by one, so that no 2,000 of them hold the one who does it.

    `down`: sources of targets that do not work, and why.  `troubles`: of the exporter itself, and of many VMs.
    """
    sources = [SourceDown(printable(source), printable(reason)) for source, reason in down]
    every = [Raw(one) for one in targets]
    return encode(Answer("success", Data(version, printable(host), now, every, sources, list(troubles))))


def _only(vm: Vm, family: str) -> float | None:
    """The value of a family without labels, if it has one."""
    return vm.values(family).get(())


def _those_that_hold(vm: Vm, family: str) -> Iterator[Labels]:
    """The labels of the samples that are not 0."""
    return (labels for labels, value in vm.values(family).items() if value)


def _storages(vm: Vm) -> list[str]:
    """Where its disks are."""
    position = vm.label_names(INFO).index("storage")
    return sorted({labels[position] for labels in vm.values(INFO)} - {"unknown"})


def _io_errors(vm: Vm) -> Iterator[IoErrors]:
    for (device, operation, action), count in vm.values(IO_ERRORS).items():
        if count:
            yield IoErrors(device, operation, action, count, vm.moved_at(IO_ERRORS, (device, operation, action)))


def _jobs(vm: Vm) -> Iterator[Job]:
    offsets = vm.values("qemu_block_job_offset_bytes")
    if not offsets:
        return
    lengths = vm.values("qemu_block_job_length_bytes")
    limits = vm.values("qemu_block_job_speed_limit_bytes_per_second")
    statuses = {(job, kind): status for job, kind, status in _those_that_hold(vm, "qemu_block_job_status")}
    for (job, kind), offset in offsets.items():
        key = job, kind
        yield Job(job, kind, statuses.get(key, ""), offset, lengths.get(key), limits.get(key))


def _events(vm: Vm) -> list[Event]:
    """The newest first; of those of one time the last that was told."""
    events = [Event(one.event, one.count, one.since, one.last, labels) for one, labels in vm.entries()]
    return sorted(events, key=lambda event: event.last)[::-1]


def _migration(vm: Vm) -> Migration | None:
    for (status,) in _those_that_hold(vm, "qemu_migration_status"):
        if status != "none":
            transferred, remaining, total = (
                _only(vm, f"qemu_migration_ram_{what}_bytes") for what in ("transferred", "remaining", "size")
            )
            return Migration(status, transferred, remaining, total)
    return None
