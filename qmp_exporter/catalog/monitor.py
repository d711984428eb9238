"""The monitor itself: is it there, does it answer, what does it send."""

from collections.abc import Iterable

from qmp_exporter.catalog.vm import QUERY_STATUS, QUERY_UUID, VITAL
from qmp_exporter.core.effects import EndAnnounced
from qmp_exporter.core.family import (
    ANY_EVENT,
    ANY_REPLY,
    Group,
    Label,
    Sample,
    Source,
    StateUpdate,
    counter,
    gauge,
    lifecycle,
)
from qmp_exporter.core.read import by, level, moment, once
from qmp_exporter.core.vm_facts import VmFacts

STATE = Label(
    "state",
    "The state of the connection to the monitor.",
    values=("connecting", "connected", "hung", "visited", "busy", "missing", "refused", "denied", "foreign", "error"),
)
AFTER = Label(
    "after", "Whether the end was announced (SHUTDOWN) or not (crash, kill, detach).", values=("shutdown", "none")
)
EVENT = Label("event", "The event as QEMU names it.", pattern=r"[A-Z0-9_]{1,64}")


def state(current: str, _facts: VmFacts) -> tuple[Sample, ...]:
    return (((current,), 1),)


def announced(_payload: None, facts: VmFacts) -> Iterable[Sample]:
    yield (("shutdown" if facts.ending else "none",), 1)


def ends(_payload: None, _facts: VmFacts) -> Iterable[EndAnnounced]:
    return (EndAnnounced(is_expected=True),)


def goes_on(_payload: None, _facts: VmFacts) -> Iterable[EndAnnounced]:
    """With -no-shutdown QEMU survives a SHUTDOWN; after a reset or a resume the end is a surprise again."""
    return (EndAnnounced(is_expected=False),)


UPDATES = (
    StateUpdate("SHUTDOWN", None, ends),
    StateUpdate("RESET", None, goes_on),
    StateUpdate("RESUME", None, goes_on),
)

FAMILIES = (
    gauge(
        "qemu_up",
        "1 when the monitor is negotiated and the first round of queries is complete, else 0.",
        lifecycle("watched", level(0)),
        lifecycle("resynced", level(1)),
        lifecycle("disconnected", level(0)),
        lifecycle("detached", level(0)),
        survives_disconnect=True,
    ),
    gauge(
        "qemu_monitor_state",
        "The state of the connection to the monitor: 1 for the one it is in, 0 for the others; hung is a connection on "
        "which no query was answered for 10 seconds, visited one that is made for each poll, busy one without "
        "a greeting.",
        lifecycle("monitor", state),
        labels=(STATE,),
        onehot=True,
        survives_disconnect=True,
    ),
    counter(
        "qemu_monitor_connects_total",
        "Sessions established with the monitor.",
        lifecycle("watched", level(0)),  # there before the first session, so that it is seen as an increase
        lifecycle("connected", once),
    ),
    counter(
        "qemu_monitor_disconnects_total",
        "Sessions that ended, by whether QEMU had announced its end with SHUTDOWN or WATCHDOG poweroff.",
        lifecycle("disconnected", announced),
        labels=(AFTER,),
    ),
    gauge(
        "qemu_monitor_last_reply_timestamp_seconds",
        "When the monitor last answered a query, whichever.",
        Source(ANY_REPLY, None, moment, replaces=False),
    ),
    counter(
        "qemu_events_total",
        "Events received from QEMU, by name.",
        Source(ANY_EVENT, None, by("name"), replaces=False),
        labels=(EVENT,),
    ),
    gauge(
        "qemu_last_event_timestamp_seconds",
        "When the newest event happened, by its own timestamp.",
        Source(ANY_EVENT, None, moment, replaces=False),
    ),
)

GROUP = Group(
    "monitor",
    FAMILIES,
    queries=(QUERY_STATUS, QUERY_UUID),
    updates=(*UPDATES, *VITAL),
    more="1 for each name of event that was seen, and 1 more",
    events={"WATCHDOG": {"action": "pause"}},
)
