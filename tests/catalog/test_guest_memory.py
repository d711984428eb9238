"""What the guest reports of its memory, by a property of the balloon, or by Proxmox' query-balloon."""

import pytest

from play import Story
from qmp_exporter.catalog.guest_memory import LEAST, NOT_REPORTED, PERIODS, QUERY_STATS, UNARMED

PLACES = ("qom-list of peripheral", "qom-list of peripheral-anon")
STATS = "qom-get of guest-stats"
BALLOON0 = {"name": "balloon0", "type": "child<virtio-balloon-pci>"}
GIB = 1 << 30


def with_balloon(*devices: dict, place: str = PLACES[0]) -> Story:
    story = Story()
    story.answers("query-balloon", {"actual": GIB})
    story.answers(place, [{"name": "type", "type": "string"}, *(devices or (BALLOON0,))])
    return story


def reports(story: Story, *, at: float | None = None, **stats: int) -> None:
    """The guest has reported `at` that time, and all is asked once."""
    told = {f"stat-{name.replace('_', '-')}": count for name, count in stats.items()}
    story.answers(STATS, {"stats": told, "last-update": int(story.now if at is None else at)})
    story.answers("query-balloon", {"actual": GIB})


def path(story: Story) -> bytes:
    return QUERY_STATS.arguments_for(story.vm.facts)


def polled(story: Story) -> set[str]:
    """What the next poll asks, by what its replies are called."""
    story.session.scheduler.start(story.now, 0.0)
    story.now += 15.0
    asked = set()
    while query := story.session.scheduler.next(story.now):
        story.session.scheduler.answered(query, story.now)
        asked.add(query.reply)
    return asked


def test_what_a_guest_reports_is_on_the_page():
    story = with_balloon()
    told = {"total_memory": 4 * GIB, "free_memory": GIB, "available_memory": 2 * GIB, "disk_caches": 5, "swap_in": 6}
    reports(story, **told, swap_out=7, major_faults=8, minor_faults=9, htlb_pgalloc=10, htlb_pgfail=11, oom_kills=12)
    story.says("qemu_guest_memory_total_bytes", 4 * GIB)
    story.says("qemu_guest_memory_free_bytes", GIB)
    story.says("qemu_guest_memory_available_bytes", 2 * GIB)
    story.says("qemu_guest_memory_disk_caches_bytes", 5)
    story.says("qemu_guest_swap_in_bytes_total", 6)
    story.says("qemu_guest_swap_out_bytes_total", 7)
    story.says("qemu_guest_major_faults_total", 8)
    story.says("qemu_guest_minor_faults_total", 9)
    story.says("qemu_guest_hugetlb_allocations_total", 10)
    story.says("qemu_guest_hugetlb_failures_total", 11)
    story.says("qemu_guest_oom_kills_total", 12)


def test_what_a_guest_does_not_report_is_absent():
    story = with_balloon()
    reports(story, total_memory=4 * GIB, oom_kills=NOT_REPORTED)
    story.says("qemu_guest_memory_total_bytes", 4 * GIB)
    story.says_nothing_of("qemu_guest_oom_kills")
    story.says_nothing_of("qemu_guest_memory_free")


def test_a_balloon_that_is_not_armed_says_nothing():
    story = with_balloon()
    reports(story, at=0)
    story.says_nothing_of("qemu_guest_memory_")


def test_a_report_that_is_too_old_is_left_out_but_for_its_time():
    story = with_balloon()
    first = story.now
    reports(story, at=first, total_memory=GIB)
    story.now += LEAST + 1
    story.answers("query-balloon", {"actual": GIB})
    story.says_nothing_of("qemu_guest_memory_total_bytes")
    story.says("qemu_guest_memory_last_update_timestamp_seconds", int(first))


def test_of_a_guest_that_reports_seldom_a_report_is_good_for_longer():
    story = with_balloon()
    reports(story, total_memory=GIB)
    story.now += 300
    reports(story, total_memory=GIB)
    story.now += 300 * PERIODS - 10
    story.answers("query-balloon", {"actual": GIB})
    story.says("qemu_guest_memory_total_bytes", GIB)


def test_a_balloon_without_an_id_is_found_where_such_devices_are():
    story = with_balloon({"name": "device[3]", "type": "child<virtio-balloon-pci>"}, place=PLACES[1])
    assert path(story) == b'{"path":"/machine/peripheral-anon/device[3]","property":"guest-stats"}'


@pytest.mark.parametrize(
    "device",
    [
        {"name": "net0", "type": "child<virtio-net-pci>"},
        {"name": "balloon0", "type": "link<virtio-balloon-pci>"},
        {"name": 'x","property":"secret', "type": "child<virtio-balloon-pci>"},
        {"name": "../../objects/secret0", "type": "child<virtio-balloon-pci>"},
        {"name": "x" * 65, "type": "child<virtio-balloon-pci>"},
    ],
)
def test_what_is_no_balloon_or_has_no_name_of_qemus_is_not_asked(device):
    story = with_balloon(device)
    assert STATS not in polled(story)


def test_the_device_is_searched_once_and_then_asked_with_each_poll():
    story = Story()
    story.answers("query-balloon", {"actual": GIB})
    assert set(PLACES) <= polled(story)
    story.answers(PLACES[0], [BALLOON0])
    reports(story, total_memory=GIB)
    for _ in range(3):
        asked = polled(story)
        assert STATS in asked
        assert not asked & set(PLACES)


def test_where_no_device_is_found_it_is_not_searched_again():
    story = with_balloon({"name": "net0", "type": "child<virtio-net-pci>"})
    story.refuses(PLACES[1])
    assert not polled(story) & {STATS, *PLACES}


def test_a_balloon_that_reports_nothing_is_looked_at_now_and_then():
    story = with_balloon()
    reports(story, at=0)
    assert STATS not in polled(story)
    story.now += UNARMED
    story.answers("query-balloon", {"actual": GIB})
    assert STATS in polled(story)


def test_without_a_balloon_nothing_is_searched():
    story = Story()
    story.refuses("query-balloon")
    assert not polled(story) & {STATS, *PLACES}


def test_a_balloon_that_was_unplugged_takes_its_report_along():
    story = with_balloon()
    reports(story, total_memory=GIB)
    story.refuses(STATS)
    story.refuses("query-balloon")
    story.says_nothing_of("qemu_guest_memory_")


def test_what_proxmox_adds_to_query_balloon_is_enough():
    story = Story()
    told = {"actual": GIB, "max_mem": 2 * GIB, "total_mem": 3 * GIB, "free_mem": GIB, "mem_swapped_in": 5}
    story.answers("query-balloon", told | {"major_page_faults": 6, "last_update": int(story.now)})
    story.says("qemu_guest_memory_total_bytes", 3 * GIB)
    story.says("qemu_guest_memory_free_bytes", GIB)
    story.says("qemu_guest_swap_in_bytes_total", 5)
    story.says("qemu_guest_major_faults_total", 6)
    story.says_nothing_of("qemu_guest_memory_available_bytes")


def test_of_two_that_tell_of_a_report_the_one_that_tells_more_of_it_counts():
    story = with_balloon()
    at = int(story.now)
    story.answers(STATS, {"stats": {"stat-available-memory": 7}, "last-update": at})
    story.answers("query-balloon", {"actual": GIB, "total_mem": 3 * GIB, "last_update": at + 2})
    story.says("qemu_guest_memory_available_bytes", 7)
    story.says_nothing_of("qemu_guest_memory_total_bytes")
