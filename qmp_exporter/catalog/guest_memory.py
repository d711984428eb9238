"""What the guest's balloon driver reports of its memory, where a manager has armed the balloon to ask for it.

No agent is needed.  Proxmox arms it at each start, libvirt by `<stats period=…/>`; we never do.  The report is a
property of the balloon device, found by its type in the two places where devices are; Proxmox' QEMU has part of it in
the reply of query-balloon, too.  What the guest does not report is 2^64-1 there.
"""

import re
from collections.abc import Callable, Iterable

from msgspec import Struct

from qmp_exporter.catalog.memory import BALLOON, QUERY_BALLOON
from qmp_exporter.catalog.memory import UPDATES as BALLOON_UPDATES
from qmp_exporter.core.family import ArgumentsOf, Group, Query, Read, Sample, StateUpdate, counter, gauge, query
from qmp_exporter.core.vm_facts import Slice, VmFacts

NOT_REPORTED = 2**64 - 1  # virtio-balloon.c: stats are -1 until the guest reports them
PERIODS = 3  # without a new report, after which the last one is too old
LEAST = 60.0  # seconds; a report is not called old before
UNARMED = 60.0  # seconds between two queries of a balloon that reports nothing
PLACES = ("peripheral", "peripheral-anon")  # where devices of users are in the QOM tree: with an id, and without
IS_BALLOON = re.compile(r"child<virtio-balloon[a-z-]*>")
NAME = r"[A-Za-z0-9._\[\]-]{1,64}"  # id_wellformed in util/id.c, and device[0]
STATS_OF = re.compile(rb'\{"path":"/machine/peripheral(?:-anon)?/' + NAME.encode() + rb'","property":"guest-stats"\}')


class ObjectProperty(Struct, frozen=True):
    """ObjectPropertyInfo, qapi/qom.json."""

    name: str
    type: str


def stat(member: str) -> str:
    """What QEMU calls it: total_memory -> stat-total-memory."""
    return f"stat-{member.replace('_', '-')}"


class Stats(Struct, frozen=True, rename=stat):
    """The statistics of hw/virtio/virtio-balloon.c: bytes and counts; `available` since 2.5, OOM kills since 9.2."""

    total_memory: int = NOT_REPORTED
    free_memory: int = NOT_REPORTED
    available_memory: int = NOT_REPORTED
    disk_caches: int = NOT_REPORTED
    swap_in: int = NOT_REPORTED
    swap_out: int = NOT_REPORTED
    major_faults: int = NOT_REPORTED
    minor_faults: int = NOT_REPORTED
    htlb_pgalloc: int = NOT_REPORTED
    htlb_pgfail: int = NOT_REPORTED
    oom_kills: int = NOT_REPORTED


class GuestStats(Struct, frozen=True, rename="kebab"):
    """The property guest-stats; `last_update` in seconds since the epoch, 0 before the first report."""

    stats: Stats = Stats()
    last_update: int = 0


class ProxmoxBalloon(Struct, frozen=True):
    """What Proxmox' QEMU adds to query-balloon; `last_update` is not there before the first report."""

    total_mem: int = NOT_REPORTED
    free_mem: int = NOT_REPORTED
    mem_swapped_in: int = NOT_REPORTED
    mem_swapped_out: int = NOT_REPORTED
    major_page_faults: int = NOT_REPORTED
    minor_page_faults: int = NOT_REPORTED
    last_update: int = 0

    def report(self) -> GuestStats:
        stats = Stats(
            total_memory=self.total_mem,
            free_memory=self.free_mem,
            swap_in=self.mem_swapped_in,
            swap_out=self.mem_swapped_out,
            major_faults=self.major_page_faults,
            minor_faults=self.minor_page_faults,
        )
        return GuestStats(stats, self.last_update)


class Reports:
    """The balloon device, and what its guest reported last."""

    def __init__(self) -> None:
        self.path = ""  # empty where it was not found yet
        self.searched: set[str] = set()
        self.asked_at = 0.0
        self.tells = False  # the device has told a report: no less complete one is wanted
        self.last = GuestStats()
        self.period = 0.0  # seconds between the last two reports that we saw

    def take(self, report: GuestStats) -> None:
        """One that is no newer is no news."""
        if report.last_update > self.last.last_update:
            self.period = report.last_update - self.last.last_update if self.last.last_update else 0.0
            self.last = report

    def is_fresh(self, at: float) -> bool:
        return self.last.last_update > 0 and at - self.last.last_update <= max(LEAST, PERIODS * self.period)

    def is_due(self, at: float) -> bool:
        return self.is_fresh(at) or at - self.asked_at >= UNARMED


REPORTS = Slice(Reports)


def searching_in(place: str) -> Callable[[VmFacts], bool]:
    def is_needed(facts: VmFacts) -> bool:
        reports = facts[REPORTS]
        return facts[BALLOON].is_there and not reports.path and place not in reports.searched

    return is_needed


def search(place: str) -> Query:
    """The devices in one place, once for each balloon: a list of names and types."""
    return Query(
        "qom-list",
        list[ObjectProperty],
        example=[{"name": "balloon0", "type": "child<virtio-balloon-pci>"}],
        at_rest=[],
        every="event",
        poll_while=searching_in(place),
        needed_when=searching_in(place),
        arguments=b'{"path":"/machine/%s"}' % place.encode(),
        of=place,
    )


# A report is in QEMU's memory: to read it costs nothing.
QUERY_STATS = Query(
    "qom-get",
    GuestStats,
    example={"stats": {stat(member): 1 for member in Stats.__struct_fields__}, "last-update": 1},
    at_rest={},
    every="event",
    poll_while=lambda facts: bool(facts[REPORTS].path) and facts[REPORTS].is_due(facts.at),
    needed_when=lambda facts: bool(facts[REPORTS].path),
    arguments_of=ArgumentsOf(
        STATS_OF, lambda facts: b'{"path":"%s","property":"guest-stats"}' % facts[REPORTS].path.encode()
    ),
    of="guest-stats",
)
SEARCHES = {place: search(place) for place in PLACES}


def update_place(place: str) -> Callable[[list[ObjectProperty], VmFacts], None]:
    def update(devices: list[ObjectProperty], facts: VmFacts) -> None:
        reports = facts[REPORTS]
        reports.searched.add(place)
        for device in devices:
            if IS_BALLOON.fullmatch(device.type) and re.fullmatch(NAME, device.name):
                reports.path = f"/machine/{place}/{device.name}"

    return update


def forget_search(place: str) -> Callable[[VmFacts], None]:
    return lambda facts: facts[REPORTS].searched.add(place)


def update_stats(report: GuestStats, facts: VmFacts) -> None:
    reports = facts[REPORTS]
    reports.asked_at = facts.at
    reports.tells = report.last_update > 0
    reports.take(report)


def forget_device(facts: VmFacts) -> None:
    """It was unplugged; another one is searched for when there is a balloon again."""
    reports = facts[REPORTS]
    reports.path, reports.searched, reports.tells = "", set(), False


def update_balloon(balloon: ProxmoxBalloon, facts: VmFacts) -> None:
    if not facts[REPORTS].tells:
        facts[REPORTS].take(balloon.report())


def reported(member: str) -> Read[ProxmoxBalloon]:
    """By the reply to query-balloon, which is asked after guest-stats: it also tells that a balloon is gone."""

    def read(_balloon: ProxmoxBalloon, facts: VmFacts) -> Iterable[Sample]:
        reports = facts[REPORTS]
        told = getattr(reports.last.stats, member)
        if reports.is_fresh(facts.at) and told != NOT_REPORTED:
            yield (), told

    return read


def last_update(_balloon: ProxmoxBalloon, facts: VmFacts) -> Iterable[Sample]:
    if at := facts[REPORTS].last.last_update:
        yield (), at


BY = "by qom-get of guest-stats and query-balloon, where the balloon is armed"
GAUGES = {
    "qemu_guest_memory_total_bytes": ("total_memory", f"Memory that the guest has, {BY}."),
    "qemu_guest_memory_free_bytes": ("free_memory", f"Memory that the guest uses for nothing at all, {BY}."),
    "qemu_guest_memory_available_bytes": (
        "available_memory",
        f"Memory that the guest could give to programs without swapping, {BY}.",
    ),
    "qemu_guest_memory_disk_caches_bytes": ("disk_caches", f"Memory that caches the guest's disks, {BY}."),
}
COUNTERS = {
    "qemu_guest_swap_in_bytes_total": ("swap_in", f"Memory that the guest swapped in, {BY}."),
    "qemu_guest_swap_out_bytes_total": ("swap_out", f"Memory that the guest swapped out, {BY}."),
    "qemu_guest_major_faults_total": ("major_faults", f"Page faults of the guest that waited for a disk, {BY}."),
    "qemu_guest_minor_faults_total": ("minor_faults", f"Page faults of the guest without a disk, {BY}."),
    "qemu_guest_hugetlb_allocations_total": ("htlb_pgalloc", f"Huge pages that the guest allocated, {BY}."),
    "qemu_guest_hugetlb_failures_total": ("htlb_pgfail", f"Huge pages that the guest could not allocate, {BY}."),
    "qemu_guest_oom_kills_total": (
        "oom_kills",
        f"Processes that the guest's own OOM killer ended, {BY}; from QEMU 9.2 and Linux 6.12 in the guest on.",
    ),
}
FAMILIES = (
    *(
        gauge(name, words, query(QUERY_BALLOON, reported(member), ProxmoxBalloon))
        for name, (member, words) in GAUGES.items()
    ),
    gauge(
        "qemu_guest_memory_last_update_timestamp_seconds",
        f"When the guest last reported on its memory, {BY}; the rest is absent when that is too long ago.",
        query(QUERY_BALLOON, last_update, ProxmoxBalloon),
    ),
    *(
        counter(name, words, query(QUERY_BALLOON, reported(member), ProxmoxBalloon))
        for name, (member, words) in COUNTERS.items()
    ),
)

GROUP = Group(
    "guest_memory",
    FAMILIES,
    queries=(*SEARCHES.values(), QUERY_STATS, QUERY_BALLOON),
    updates=(
        *BALLOON_UPDATES,
        *(
            StateUpdate(asked.reply, list[ObjectProperty], update_place(place), forget_search(place))
            for place, asked in SEARCHES.items()
        ),
        StateUpdate(QUERY_STATS.reply, GuestStats, update_stats, forget_device),
        StateUpdate(QUERY_BALLOON.reply, ProxmoxBalloon, update_balloon),
    ),
    of_a_machine=True,
    more=f"{len(GAUGES) + len(COUNTERS) + 1} where the balloon is armed and the guest reports",
)
