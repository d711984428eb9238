"""QEMU announces its end -> it is left in peace, until it is seen to stay."""

import pytest

from asking import POLL, STATUS, Loop
from play import Story
from qmp_exporter.core.query_scheduler import QUIET


@pytest.fixture
def ending() -> Loop:
    """It has just announced its end, and nothing was asked since."""
    loop = Loop()
    loop.now += 1.0
    loop.scheduler.expect_end()
    loop.asked.clear()
    return loop


def test_a_qemu_that_ends_is_not_asked_even_if_a_poll_is_due(ending):
    ending.now += POLL * 2
    ending.happens("DEVICE_TRAY_MOVED")
    assert ending.asked == []


@pytest.mark.parametrize("event", ["STOP", "RESET", "RESUME"])
def test_one_that_stays_is_asked_at_once(ending, event):
    ending.happens(event)
    assert ending.asked[0] is STATUS


def test_one_of_which_nothing_is_heard_is_asked_when_it_should_be_gone(ending):
    ending.happens("DEVICE_TRAY_MOVED")
    ending.sleep(QUIET * 0.9)
    assert ending.asked == []
    ending.sleep(QUIET * 0.2)
    assert ending.asked != []


@pytest.mark.parametrize(
    ("event", "data"),
    [("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}), ("WATCHDOG", {"action": "poweroff"})],
)
def test_both_ways_to_announce_an_end_are_understood(event, data):
    story = Story()
    story.wants()
    story.happens(event, **data)
    assert story.wants() == set()
    story.happens("DEVICE_TRAY_MOVED", device="ide0", tray_open=True)
    assert story.session.scheduler.next(story.now) is None
    story.happens("STOP")
    assert story.session.scheduler.next(story.now) is not None


def test_an_end_that_was_announced_before_the_session_began_is_no_less_one():
    story = Story(connected=False)
    story.happens("SHUTDOWN", guest=True, reason="guest-shutdown")
    story.connects()
    assert story.session.scheduler.next(story.now) is None
    story.happens("STOP")
    assert story.session.scheduler.next(story.now) is not None
