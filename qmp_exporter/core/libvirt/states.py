"""What libvirt says of a domain -> what QEMU would say of its VM; why it says nothing -> words."""

from typing import Final, NamedTuple

from .conversation import Rejected
from .wire import Procedure

# virDomainState (include/libvirt/libvirt-domain.h) -> a RunState of QEMU; a paused one depends on the reason.
_RUN_STATES: Final = {1: "running", 2: "running", 4: "shutdown", 5: "shutdown", 6: "guest-panicked", 7: "suspended"}
PAUSED: Final = 3
# virDomainPausedReason; every other one is a pause that somebody ordered.
_PAUSED: Final = {5: "io-error", 6: "watchdog", 8: "shutdown", 10: "guest-panicked", 11: "prelaunch"}

OCCUPIED: Final = 2  # virDomainControlState: a command was sent to QEMU, and no answer has come

DEFINED, STARTED, STOPPED = 0, 2, 5  # virDomainEventType
# virDomainEventStoppedDetailType, and whether the end was ordered; libvirt calls a QEMU that was killed failed.
_ENDS: Final = {
    0: ("shut down", True),
    1: ("destroyed", True),
    2: ("crashed", False),
    3: ("migrated to another host", True),
    4: ("saved", True),
    5: ("failed", False),
    6: ("replaced by a snapshot", True),
}

# A virErrorNumber, as include/libvirt/virterror.h has them.
DENIED_BY_SOCKET, AUTH_FAILED, AUTH_CANCELLED, AUTH_UNAVAILABLE, ACCESS_DENIED = 29, 45, 79, 80, 88


class End(NamedTuple):
    """Of a domain: `announced` is false where nobody ordered it."""

    words: str
    announced: bool


VANISHED: Final = End("libvirt says: it does not run any more", announced=True)


def status(state: int, reason: int) -> bytes:
    """The reply to GET_STATE -> that of QEMU to query-status; "unknown" for a state that a later libvirt may have."""
    name = _PAUSED.get(reason, "paused") if state == PAUSED else _RUN_STATES.get(state, "unknown")
    return b'{"status": "%s", "running": %s}' % (name.encode(), b"true" if name == "running" else b"false")


def end(detail: int) -> End:
    words, announced = _ENDS.get(detail, (f"ended ({detail})", True))
    return End(f"libvirt says: {words}", announced)


def why(rejected: Rejected, socket: str) -> tuple[str, str]:
    """-> one of the values of qemu_monitor_state, and what to do, in words."""
    said = f"libvirt says: {rejected}" if str(rejected) else "libvirt gives no reason"
    if rejected.code == DENIED_BY_SOCKET:
        return "denied", f"{socket} is for reading only, and QEMU's events need the other socket; {said}"
    if rejected.procedure in {Procedure.AUTH_LIST, Procedure.AUTH_POLKIT} or rejected.code in {
        AUTH_FAILED,
        AUTH_CANCELLED,
        AUTH_UNAVAILABLE,
    }:
        return "denied", f"the exporter's user is not in the group libvirt, and no rule of polkit lets it in; {said}"
    if rejected.code == ACCESS_DENIED:
        return "denied", f"a rule of polkit forbids {rejected.procedure.name}; {said}"
    return "error", f"{rejected.procedure.name} failed; {said}"
