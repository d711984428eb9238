"""What the guest is told and what befalls it: power button, sleep, panics, broken memory of the host."""

from collections.abc import Iterable

from msgspec import Struct

from qmp_exporter.core.family import Group, Label, Sample, bare_event, counter, event
from qmp_exporter.core.read import by, once
from qmp_exporter.core.vm_facts import VmFacts


class PanicInfo(Struct, frozen=True):
    """GuestPanicInformation, qapi/run-state.json; what else it has is for a core dump."""

    type: str


class Panicked(Struct, frozen=True):
    """GUEST_PANICKED, qapi/run-state.json: `info` since 2.9, and only where the panic came with some."""

    action: str
    info: PanicInfo | None = None


class CrashLoaded(Struct, frozen=True):
    """GUEST_CRASHLOADED, qapi/run-state.json, since 5.0."""

    action: str


class MemoryFailure(Struct, frozen=True):
    """MEMORY_FAILURE, qapi/run-state.json, since 5.2."""

    recipient: str
    action: str


PANIC_ACTIONS = ("pause", "poweroff", "run")
TO = Label("to", "Where its state went: to memory (S3) or to disk (S4).", values=("ram", "disk"))
PANIC_ACTION = Label(
    "action", "GuestPanicAction: what QEMU then did.", values=PANIC_ACTIONS, zero=("pause", "poweroff")
)
CRASHLOAD_ACTION = Label("action", "GuestPanicAction; so far always run.", values=PANIC_ACTIONS, zero=("run",))
PANIC_TYPE = Label(
    "type",
    "GuestPanicInformationType; unknown where the panic came without information, as that of pvpanic does.",
    values=("hyper-v", "s390", "tdx", "sev", "unknown"),
    zero=("hyper-v", "unknown"),
)
RECIPIENT = Label("recipient", "MemoryFailureRecipient: whose memory it was.", values=("hypervisor", "guest"))
FAILURE_ACTION = Label(
    "action", "MemoryFailureAction: what QEMU then did.", values=("ignore", "inject", "fatal", "reset")
)


def suspended_to(where: str) -> tuple[Sample, ...]:
    return (((where,), 1),)


def panicked(panic: Panicked, _facts: VmFacts) -> Iterable[Sample]:
    yield (panic.action, panic.info.type if panic.info else "unknown"), 1


FAMILIES = (
    counter(
        "qemu_vm_powerdowns_total",
        "Times the guest was asked to shut down, as by a power button, by POWERDOWN.",
        bare_event("POWERDOWN", once),
    ),
    counter(
        "qemu_vm_suspends_total",
        "Times the guest went to sleep, by SUSPEND (to ram) and SUSPEND_DISK.",
        bare_event("SUSPEND", lambda _payload, _facts: suspended_to("ram")),
        bare_event("SUSPEND_DISK", lambda _payload, _facts: suspended_to("disk")),
        labels=(TO,),
    ),
    counter("qemu_vm_wakeups_total", "Times the guest woke up, by WAKEUP.", bare_event("WAKEUP", once)),
    counter(
        "qemu_guest_panics_total",
        "Times the guest said that it panicked, by GUEST_PANICKED, of which QEMU 5.2 sends two when it powers off.",
        event("GUEST_PANICKED", Panicked, panicked),
        labels=(PANIC_ACTION, PANIC_TYPE),
    ),
    counter(
        "qemu_guest_crashloads_total",
        "Times the guest said that its crash kernel takes over, by GUEST_CRASHLOADED.",
        event("GUEST_CRASHLOADED", CrashLoaded, by("action")),
        labels=(CRASHLOAD_ACTION,),
    ),
    counter(
        "qemu_memory_failures_total",
        "Memory errors of the host that hit the VM, by MEMORY_FAILURE.",
        event("MEMORY_FAILURE", MemoryFailure, by("recipient", "action")),
        labels=(RECIPIENT, FAILURE_ACTION),
    ),
)

GROUP = Group(
    "guest",
    FAMILIES,
    of_a_machine=True,
    events={
        "GUEST_PANICKED": {"action": "pause", "info": {"type": "hyper-v"}},
        "GUEST_CRASHLOADED": {"action": "run"},
        "MEMORY_FAILURE": {"recipient": "guest", "action": "inject"},
    },
)
