"""Memory and its balloon: asked where there is one, and not again where there is none."""

import pytest

from play import Story


def test_the_memory_of_the_machine():
    story = Story()
    story.answers("query-memory-size-summary", {"base-memory": 2**30, "plugged-memory": 2**29})
    story.says("qemu_memory_base_bytes", 2**30)
    story.says("qemu_memory_plugged_bytes", 2**29)


def test_a_machine_without_slots_has_no_plugged_memory_rather_than_none_plugged():
    story = Story()
    story.answers("query-memory-size-summary", {"base-memory": 2**30})
    story.says_nothing_of("qemu_memory_plugged_bytes")


@pytest.mark.parametrize("event", ["DEVICE_DELETED", "MEMORY_DEVICE_SIZE_CHANGE", "ACPI_DEVICE_OST"])
def test_after_these_the_memory_is_asked(event):
    story = Story()
    story.wants()
    story.happens(event, path="/machine/peripheral/dimm0")
    assert "query-memory-size-summary" in story.wants()


def test_the_balloon_is_what_the_event_says_at_once():
    story = Story()
    story.answers("query-balloon", {"actual": 2**30})
    story.happens("BALLOON_CHANGE", actual=2**29)
    story.says("qemu_balloon_actual_bytes", 2**29)
    assert "query-balloon" in story.wants()


def test_a_vm_without_a_balloon_is_asked_once():
    story = Story()
    story.refuses("query-balloon")
    story.wants()
    story.now += 3600
    assert "query-balloon" not in story.wants()
    story.says_nothing_of("qemu_balloon")


def test_a_balloon_that_was_unplugged_is_absent_and_asked_about_no_more():
    story = Story()
    story.answers("query-balloon", {"actual": 2**30})
    story.refuses("query-balloon")
    story.says_nothing_of("qemu_balloon")
    story.wants()
    story.now += 3600
    assert "query-balloon" not in story.wants()


def test_a_vm_with_a_balloon_is_asked_with_each_poll():
    story = Story()
    story.answers("query-balloon", {"actual": 2**30})
    story.wants()
    story.now += 15
    assert "query-balloon" in story.wants()


def test_a_balloon_that_was_plugged_in_is_found_by_its_event():
    story = Story()
    story.refuses("query-balloon")
    story.wants()
    story.happens("BALLOON_CHANGE", actual=2**29)
    story.wants()
    story.now += 15
    assert "query-balloon" in story.wants()


def test_another_vm_at_the_same_socket_may_have_no_balloon():
    story = Story()
    story.answers("query-balloon", {"actual": 2**30})
    story.disconnects()
    story.says_nothing_of("qemu_balloon")
    story.connects()
    story.wants()
    story.now += 15
    assert "query-balloon" not in story.wants()
