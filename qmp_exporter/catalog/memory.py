"""How much memory the machine has, and how much of it the balloon leaves to the guest."""

from collections.abc import Iterable

from msgspec import Struct, field

from qmp_exporter.core.family import Group, Query, Sample, StateUpdate, event, gauge, query
from qmp_exporter.core.read import value
from qmp_exporter.core.vm_facts import Slice, VmFacts


class Balloon(Struct, frozen=True):
    """BALLOON_CHANGE and query-balloon, qapi/machine.json."""

    actual: int


class MemorySize(Struct, frozen=True):
    """query-memory-size-summary, qapi/machine.json (since 2.11): nothing `plugged` where a machine has no slots."""

    base: int = field(name="base-memory")
    plugged: int | None = field(name="plugged-memory", default=None)


class BalloonState:
    def __init__(self) -> None:
        self.is_there = False


BALLOON = Slice(BalloonState)
OF_PROXMOX = (  # what its QEMU adds to query-balloon
    *("total_mem", "free_mem", "mem_swapped_in", "mem_swapped_out", "major_page_faults", "minor_page_faults"),
    "last_update",
)

# Without a balloon it is an error to ask, so it is asked once; where there is one each poll, since migration moves it
# without an event.
QUERY_BALLOON = Query(
    "query-balloon",
    Balloon,
    example={"actual": 1, **dict.fromkeys(OF_PROXMOX, 1)},
    at_rest={"actual": 1},
    after=("BALLOON_CHANGE",),
    spacing=1.0,
    poll_while=lambda facts: facts[BALLOON].is_there,
)
QUERY_MEMORY = Query(
    "query-memory-size-summary",
    MemorySize,
    example={"base-memory": 1, "plugged-memory": 0},
    every="rare",
    after=("DEVICE_DELETED", "MEMORY_DEVICE_SIZE_CHANGE", "ACPI_DEVICE_OST"),
    spacing=1.0,
)
QUERIES = (QUERY_BALLOON, QUERY_MEMORY)


def forget_balloon(facts: VmFacts) -> None:
    facts[BALLOON].is_there = False


def update_balloon(_balloon: Balloon, facts: VmFacts) -> None:
    facts[BALLOON].is_there = True


def plugged(size: MemorySize, _facts: VmFacts) -> Iterable[Sample]:
    if size.plugged is not None:
        yield (), size.plugged


UPDATES = (
    StateUpdate("BALLOON_CHANGE", Balloon, update_balloon),
    StateUpdate("query-balloon", Balloon, update_balloon, forget_balloon),
)

FAMILIES = (
    gauge(
        "qemu_balloon_actual_bytes",
        "Memory that the balloon leaves to the guest, by BALLOON_CHANGE and query-balloon; absent without a balloon.",
        event("BALLOON_CHANGE", Balloon, value("actual")),
        query(QUERY_BALLOON, value("actual")),
    ),
    gauge(
        "qemu_memory_base_bytes",
        "Memory that the machine started with, by query-memory-size-summary.",
        query(QUERY_MEMORY, value("base")),
    ),
    gauge(
        "qemu_memory_plugged_bytes",
        "Hot-plugged memory, in addition to the base memory, by query-memory-size-summary.",
        query(QUERY_MEMORY, plugged),
    ),
)

GROUP = Group(
    "memory",
    FAMILIES,
    queries=QUERIES,
    updates=UPDATES,
    of_a_machine=True,
    events={"BALLOON_CHANGE": {"actual": 1}},
)
