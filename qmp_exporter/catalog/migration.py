"""Live migration, outgoing and incoming: what it is at, and how far."""

from collections.abc import Callable, Iterable

from msgspec import Struct

from qmp_exporter.core.family import Family, Group, Label, Query, Sample, StateUpdate, event, gauge, query
from qmp_exporter.core.read import by, per
from qmp_exporter.core.vm_facts import Slice, VmFacts


class MigrationEvent(Struct, frozen=True):
    """MIGRATION, qapi/migration.json (since 2.4); sent only with the migration capability `events`."""

    status: str


class Ram(Struct, frozen=True, rename="kebab"):
    """MigrationStats, qapi/migration.json; bytes, and pages a second: `page-size`, bytes, since 2.10."""

    transferred: int
    remaining: int
    total: int
    dirty_pages_rate: int = 0
    page_size: int | None = None


class MigrationInfo(Struct, frozen=True, rename="kebab"):
    """query-migrate, qapi/migration.json; without `status` where there never was a migration."""

    status: str = ""
    ram: Ram | None = None
    expected_downtime: int | None = None  # milliseconds


UNDER_WAY = (
    "setup",
    "cancelling",
    "active",
    "postcopy-device",
    "postcopy-active",
    "postcopy-paused",
    "postcopy-recover-setup",
    "postcopy-recover",
    "failing",
    "colo",
    "pre-switchover",
    "device",
    "wait-unplug",
)
STATUS = Label(
    "status",
    "MigrationStatus; unknown is one that this exporter has not heard of.",
    values=("none", *UNDER_WAY, "cancelled", "completed", "failed", "unknown"),
)


class MigrationState:
    def __init__(self) -> None:
        self.is_under_way = False  # outgoing or incoming


MIGRATION = Slice(MigrationState)

RAM = {"transferred": 1, "remaining": 1, "total": 2, "dirty-pages-rate": 1, "page-size": 4096}
MIGRATING = {"status": "active", "ram": RAM, "expected-downtime": 1}

# Without the capability `events` nothing announces that a migration begins, so it is asked for now and then; it reads a
# few numbers in memory.  STOP and RESUME are how the two ends of a silent one finish.
QUERY_MIGRATE = Query(
    "query-migrate",
    MigrationInfo,
    example=MIGRATING,
    at_rest={},
    every="slow",
    after=("MIGRATION", "STOP", "RESUME"),
    poll_while=lambda facts: facts[MIGRATION].is_under_way,
)
QUERIES = (QUERY_MIGRATE,)


def update_migration(migration: MigrationEvent | MigrationInfo, facts: VmFacts) -> None:
    facts[MIGRATION].is_under_way = migration.status in UNDER_WAY


def forget_migration(facts: VmFacts) -> None:
    facts[MIGRATION].is_under_way = False


def status(info: MigrationInfo, _facts: VmFacts) -> Iterable[Sample]:
    if info.status:
        yield (info.status,), 1


def progress(name: str, help: str, number: Callable[[Ram], float | None]) -> Family:  # noqa: A002  the exposition format's own word
    """A row that copies a member of MigrationStats as long as the migration is under way."""

    def read(info: MigrationInfo, facts: VmFacts) -> Iterable[Sample]:
        if info.ram is not None and facts[MIGRATION].is_under_way and (value := number(info.ram)) is not None:
            yield (), value

    return gauge(name, help, query(QUERY_MIGRATE, read))


def expected_downtime(info: MigrationInfo, facts: VmFacts) -> Iterable[Sample]:
    if info.expected_downtime is not None and facts[MIGRATION].is_under_way:
        yield (), per(info.expected_downtime, 1e3)


UPDATES = (
    StateUpdate("MIGRATION", MigrationEvent, update_migration),
    StateUpdate("query-migrate", MigrationInfo, update_migration, forget_migration),
)

FAMILIES = (
    gauge(
        "qemu_migration_status",
        "What the last or current migration is at, by MIGRATION and query-migrate: 1 for its status, 0 for the others; "
        "absent before the first.",
        event("MIGRATION", MigrationEvent, by("status")),
        query(QUERY_MIGRATE, status),
        labels=(STATUS,),
        onehot=True,
    ),
    progress(
        "qemu_migration_ram_transferred_bytes",
        "Bytes sent while migrating, by query-migrate.",
        lambda ram: ram.transferred,
    ),
    progress(
        "qemu_migration_ram_remaining_bytes",
        "Bytes of memory yet to be sent while migrating, by query-migrate.",
        lambda ram: ram.remaining,
    ),
    progress(
        "qemu_migration_ram_size_bytes",
        "Bytes of memory of the VM while migrating, by query-migrate.",
        lambda ram: ram.total,
    ),
    progress(
        "qemu_migration_dirty_bytes_per_second",
        "Bytes of memory that the guest changes per second while migrating, by query-migrate.",
        lambda ram: ram.page_size and ram.dirty_pages_rate * ram.page_size,
    ),
    gauge(
        "qemu_migration_expected_downtime_seconds",
        "How long the guest would stand still if the migration were finished now, by query-migrate.",
        query(QUERY_MIGRATE, expected_downtime),
    ),
)

GROUP = Group(
    "migration",
    FAMILIES,
    queries=QUERIES,
    updates=UPDATES,
    of_a_machine=True,
    more="18 once there was a migration, 5 more while it is under way",
    events={"MIGRATION": {"status": "active"}},
)
