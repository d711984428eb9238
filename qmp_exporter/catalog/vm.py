"""The machine as a whole: who it is, whether it runs, what stopped, reset or ended it."""

from collections.abc import Iterable

from msgspec import Struct, field

from qmp_exporter.catalog import cpu
from qmp_exporter.core.effects import AnotherVm, EndAnnounced
from qmp_exporter.core.family import (
    Group,
    Label,
    Query,
    Sample,
    StateUpdate,
    bare_event,
    counter,
    event,
    gauge,
    lifecycle,
    query,
)
from qmp_exporter.core.read import by, level, once
from qmp_exporter.core.vm_facts import MAX_NAME, Lifetime, Slice, VmFacts
from qmp_exporter.core.wire import Greeting


class NameInfo(Struct, frozen=True):
    """qapi/misc.json; no `name` where -name was not given."""

    name: str = ""


class UuidInfo(Struct, frozen=True):
    """qapi/machine.json; all zeros where -uuid was not given."""

    uuid: str = field(name="UUID", default="")


class StatusInfo(Struct, frozen=True):
    """qapi/run-state.json."""

    running: bool
    status: str


class Ended(Struct, frozen=True):
    """RESET and SHUTDOWN, qapi/run-state.json: `guest` since 2.10, `reason` since 4.0."""

    guest: bool | None = None
    reason: str = ""


class Watchdog(Struct, frozen=True):
    """WATCHDOG, qapi/run-state.json."""

    action: str


class RtcChange(Struct, frozen=True):
    """RTC_CHANGE, qapi/misc.json."""

    offset: int


# Every event after which the run state may be another.  STOP says no reason, RESET turns a stopped VM into `prelaunch`
# without a word, a migration ends without one.  SHUTDOWN, WATCHDOG and GUEST_PANICKED are not among them: where the
# state changes, a STOP or a RESET follows, and where QEMU ends it must not be asked (see QueryScheduler.expect_end).
STATE_EVENTS = ("STOP", "RESUME", "RESET", "SUSPEND", "WAKEUP", "MIGRATION")
MOVES = ("STOP", "RESUME")  # those of which QEMU sends none unless the run state does change

QUERY_NAME = Query("query-name", NameInfo, example={"name": "web02"})
QUERY_UUID = Query("query-uuid", UuidInfo, example={"UUID": "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"})


def does_not_run(facts: VmFacts) -> bool:
    return facts[RUN_STATE].state != "running"


# Events announce that a VM no longer runs, and that it runs again; from one of the other states to the next there may
# be none, as at the end of a migration.
QUERY_STATUS = Query(
    "query-status",
    StatusInfo,
    example={"status": "paused", "running": False},
    every="slow",
    after=STATE_EVENTS,
    spacing=0.02,
    poll_while=does_not_run,
)

STATE = Label(
    "state",
    "A RunState of QEMU (qapi/run-state.json); unknown is one that this exporter has not heard of.",
    values=(
        "debug",
        "inmigrate",
        "internal-error",
        "io-error",
        "paused",
        "postmigrate",
        "prelaunch",
        "finish-migrate",
        "restore-vm",
        "running",
        "save-vm",
        "shutdown",
        "suspended",
        "watchdog",
        "guest-panicked",
        "colo",
        "unknown",
    ),
)
SHUTDOWN_CAUSES = (
    "none",
    "host-error",
    "host-qmp-quit",
    "host-qmp-system-reset",
    "host-signal",
    "host-ui",
    "guest-shutdown",
    "guest-reset",
    "guest-panic",
    "subsystem-reset",
    "snapshot-load",
    "guest",
    "host",
    "unknown",
)
RESET_REASON = Label(
    "reason",
    "ShutdownCause; guest or host before QEMU 4.0, unknown before 2.10.",
    values=SHUTDOWN_CAUSES,
    zero=("guest-reset", "host-qmp-system-reset"),
)
SHUTDOWN_REASON = Label(
    "reason",
    "ShutdownCause; guest or host before QEMU 4.0, unknown before 2.10.",
    values=SHUTDOWN_CAUSES,
    zero=("guest-shutdown", "host-qmp-quit", "host-signal"),
)
WATCHDOG_ACTION = Label(
    "action",
    "WatchdogAction: what QEMU did when the watchdog expired.",
    values=("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"),
)
NAME = Label("name", "What -name says.")
UUID = Label("uuid", "What -uuid says.")
VERSION = Label("version", "QEMU's version, from the greeting.")


class RunState:
    """As query-status said last; times in seconds since the epoch."""

    def __init__(self) -> None:
        self.state = ""
        self.since = 0.0
        self.hint = 0.0  # when an event said that it may be changing
        self.moved = 0.0  # when an event said that it has changed, be it back to what it was

    def told(self, state: str, at: float) -> None:
        """The event that announced the change says when it happened, its query only when it was seen.

        A VM that was resumed and stopped again between two replies has changed, too: twice.
        """
        if state != self.state:
            self.state, self.since = state, self.hint or at
        elif self.moved:
            self.since = self.moved
        self.hint = self.moved = 0.0


class Identity:
    """Identity of the VM, as far as it was told."""

    def __init__(self) -> None:
        self._last_uuid = ""  # of the last VM that had one
        self.forget()

    def forget(self) -> None:
        """It may be another QEMU."""
        self.name = self.uuid = ""
        self._has_told_name = False

    @property
    def is_told(self) -> bool:
        """QEMU has said whether it was given a name and a UUID; without -uuid, it is all zeros."""
        return self._has_told_name and bool(self.uuid)

    def told_name(self, name: str) -> None:
        self.name = name
        self._has_told_name = True

    def told_uuid(self, uuid: str) -> bool:
        """Whether it is another VM than the last one; without -uuid, which is all zeros then, nobody can tell."""
        self.uuid = uuid
        if not uuid.strip("0-"):
            return False
        is_another = self._last_uuid not in {"", uuid}
        self._last_uuid = uuid
        return is_another


RUN_STATE = Slice(RunState)
IDENTITY = Slice(Identity, Lifetime.TARGET)


def update_greeted(_greeting: Greeting, facts: VmFacts) -> None:
    facts[IDENTITY].forget()


def update_name(info: NameInfo, facts: VmFacts) -> None:
    facts[IDENTITY].told_name(info.name[:MAX_NAME])


def update_uuid(info: UuidInfo, facts: VmFacts) -> Iterable[AnotherVm]:
    return (AnotherVm(),) if facts[IDENTITY].told_uuid(info.uuid[:MAX_NAME]) else ()


def update_change(_payload: None, facts: VmFacts) -> None:
    facts[RUN_STATE].hint = facts.at


def update_move(_payload: None, facts: VmFacts) -> None:
    facts[RUN_STATE].hint = facts[RUN_STATE].moved = facts.at


def update_status(info: StatusInfo, facts: VmFacts) -> None:
    facts[RUN_STATE].told(info.status[:MAX_NAME], facts.at)


def update_watchdog(watchdog: Watchdog, _facts: VmFacts) -> Iterable[EndAnnounced]:
    """WATCHDOG with action poweroff ends QEMU without a SHUTDOWN."""
    return (EndAnnounced(is_expected=True),) if watchdog.action == "poweroff" else ()


def identity(_payload: object, facts: VmFacts) -> tuple[Sample, ...]:
    return (((facts[IDENTITY].name, facts[IDENTITY].uuid, facts.version), 1),)


def since(_payload: StatusInfo, facts: VmFacts) -> tuple[Sample, ...]:
    return (((), facts[RUN_STATE].since),)


def running(info: StatusInfo, _facts: VmFacts) -> tuple[Sample, ...]:
    return (((), int(info.running)),)


def cause(ended: Ended, _facts: VmFacts) -> Iterable[Sample]:
    if ended.reason:
        yield (ended.reason,), 1
    elif ended.guest is not None:
        yield ("guest" if ended.guest else "host",), 1
    else:
        yield ("unknown",), 1


# Whatever is switched off: whether it is still the same VM, since else its counters begin again; whether it still
# answers, for which query-status is as good a heartbeat as any; and whether its end was announced.
VITAL = (
    StateUpdate("connected", None, update_greeted),
    StateUpdate("query-uuid", UuidInfo, update_uuid),
    *(StateUpdate(name, None, update_move if name in MOVES else update_change) for name in STATE_EVENTS),
    StateUpdate("query-status", StatusInfo, update_status),
    StateUpdate("WATCHDOG", Watchdog, update_watchdog),
)
UPDATES = (StateUpdate("query-name", NameInfo, update_name),)

FAMILIES = (
    gauge(
        "qemu_vm_info",
        "Identity of the VM; always 1, from query-name, query-uuid and the greeting.",
        lifecycle("connected", identity),
        query(QUERY_NAME, identity),
        query(QUERY_UUID, identity),
        labels=(NAME, UUID, VERSION),
    ),
    gauge(
        "qemu_vm_state",
        "The run state by query-status: 1 for the state the VM is in, 0 for the others.",
        query(QUERY_STATUS, by("status")),
        labels=(STATE,),
        onehot=True,
    ),
    gauge(
        "qemu_vm_running",
        "1 only while vCPUs run, by query-status; STOP sets it to 0 at once.",
        query(QUERY_STATUS, running),
        bare_event("STOP", level(0)),
    ),
    gauge(
        "qemu_vm_state_change_timestamp_seconds",
        "When the run state of query-status last changed, or was first seen on this connection to the monitor.",
        query(QUERY_STATUS, since),
    ),
    counter("qemu_vm_stops_total", "Times the vCPUs were stopped, by STOP.", bare_event("STOP", once)),
    counter("qemu_vm_resumes_total", "Times the vCPUs were set going again, by RESUME.", bare_event("RESUME", once)),
    counter(
        "qemu_vm_resets_total",
        "Times the machine was reset, by RESET; firmware often adds a guest-reset of its own to a reset by the host.",
        event("RESET", Ended, cause),
        labels=(RESET_REASON,),
    ),
    counter(
        "qemu_vm_shutdowns_total",
        "Times the machine was shut down, by SHUTDOWN; with -no-shutdown QEMU stays.",
        event("SHUTDOWN", Ended, cause),
        labels=(SHUTDOWN_REASON,),
    ),
    counter(
        "qemu_watchdog_expirations_total",
        "Times the emulated watchdog expired, by what QEMU then did: WATCHDOG, of which it sends one a second at most.",
        event("WATCHDOG", Watchdog, by("action")),
        labels=(WATCHDOG_ACTION,),
    ),
    counter(
        "qemu_rtc_changes_total",
        "Times the guest set its clock, by RTC_CHANGE, of which QEMU sends one a second at most.",
        bare_event("RTC_CHANGE", once),
    ),
    gauge(
        "qemu_rtc_offset_seconds",
        "How far the guest has moved its clock from the one QEMU gave it, by RTC_CHANGE.",
        event("RTC_CHANGE", RtcChange, lambda change, _facts: (((), change.offset),)),
        signed=True,
    ),
)

GROUP = Group(
    "vm",
    (*FAMILIES, *cpu.FAMILIES),
    queries=(QUERY_STATUS, QUERY_NAME, QUERY_UUID, *cpu.QUERIES),
    updates=UPDATES,
    of_a_machine=True,
    more="1 for each rarer reason of a reset or shutdown that was seen",
    events={
        "RESET": {"guest": True, "reason": "guest-reset"},
        "SHUTDOWN": {"guest": True, "reason": "guest-shutdown"},
        "WATCHDOG": {"action": "pause"},
        "RTC_CHANGE": {"offset": 1},
    },
)
