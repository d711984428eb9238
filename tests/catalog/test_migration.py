"""Live migration: told by events where somebody switched them on, else found by asking; followed while it lasts."""

import pytest

from play import Story

RAM = {"transferred": 10, "remaining": 30, "total": 40, "dirty-pages-rate": 5, "page-size": 4096}
ACTIVE = {"status": "active", "ram": RAM, "expected-downtime": 300}
UNDER_WAY = (
    "setup", "cancelling", "active", "postcopy-device", "postcopy-active", "postcopy-paused", "postcopy-recover-setup",
    "postcopy-recover", "failing", "colo", "pre-switchover", "device", "wait-unplug",
)  # fmt: skip
AT_REST = ("none", "cancelled", "completed", "failed")
PROGRESS = {
    "qemu_migration_ram_transferred_bytes": 10,
    "qemu_migration_ram_remaining_bytes": 30,
    "qemu_migration_ram_size_bytes": 40,
    "qemu_migration_dirty_bytes_per_second": 5 * 4096,
    "qemu_migration_expected_downtime_seconds": 0.3,
}


def says_status(story: Story, status: str) -> None:
    story.says_only("qemu_migration_status", f'qemu_migration_status{{status="{status}"}}')


def polled(story: Story) -> bool:
    story.wants()
    story.now += 15
    return "query-migrate" in story.wants()


def test_a_vm_that_never_migrated_has_no_series_of_it():
    story = Story()
    story.answers("query-migrate", {})
    story.says_nothing_of("qemu_migration")
    assert not polled(story)


def test_without_events_it_is_found_within_a_minute():
    story = Story()
    story.answers("query-migrate", {})
    story.wants()
    assert "query-migrate" in story.wants_within_a_minute()


@pytest.mark.parametrize("status", UNDER_WAY)
def test_while_it_is_under_way_it_is_asked_with_each_poll(status):
    story = Story()
    story.happens("MIGRATION", status=status)
    says_status(story, status)
    assert polled(story)
    story = Story()
    story.answers("query-migrate", {"status": status})
    says_status(story, status)
    assert polled(story)


@pytest.mark.parametrize("status", AT_REST)
def test_when_it_is_over_it_is_not(status):
    story = Story()
    story.answers("query-migrate", ACTIVE)
    story.answers("query-migrate", {"status": status, "ram": RAM})
    says_status(story, status)
    assert not polled(story)


def test_a_status_never_heard_of_is_unknown():
    story = Story()
    story.happens("MIGRATION", status="teleporting")
    says_status(story, "unknown")


def test_its_progress_is_there_while_it_is_under_way():
    story = Story()
    story.answers("query-migrate", ACTIVE)
    for sample, value in PROGRESS.items():
        story.says(sample, value)
    story.answers("query-migrate", {"status": "completed", "ram": RAM, "downtime": 7})
    for sample in PROGRESS:
        story.says_nothing_of(sample)


def test_an_incoming_migration_tells_no_progress():
    story = Story()
    story.answers("query-migrate", {"status": "active"})
    says_status(story, "active")
    story.says_nothing_of("qemu_migration_ram")


@pytest.mark.parametrize("event", ["MIGRATION", "STOP", "RESUME"])
def test_after_these_it_is_asked(event):
    story = Story()
    story.wants()
    story.happens(event, status="active")
    assert "query-migrate" in story.wants()
