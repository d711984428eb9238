"""The machine as a whole: who it is, whether it runs, what stopped, reset or ended it."""

import pytest

from play import BOOT, Story
from qmp_exporter.catalog.vm import STATE_EVENTS

RUN_STATES = (
    "debug", "finish-migrate", "inmigrate", "internal-error", "io-error", "paused", "postmigrate", "prelaunch",
    "restore-vm", "running", "save-vm", "shutdown", "suspended", "watchdog", "guest-panicked", "colo",
)  # fmt: skip
SHUTDOWN_CAUSES = (
    "none", "host-error", "host-qmp-quit", "host-qmp-system-reset", "host-signal", "host-ui", "guest-shutdown",
    "guest-reset", "guest-panic", "subsystem-reset", "snapshot-load",
)  # fmt: skip


def running() -> Story:
    story = Story()
    story.answers("query-status", {"status": "running", "running": True})
    return story


def test_who_it_is_comes_from_the_greeting_and_two_queries():
    story = Story(version="10.0.2")
    story.says('qemu_vm_info{name="",uuid="",version="10.0.2"}', 1)
    story.answers("query-name", {"name": "web01"})
    story.answers("query-uuid", {"UUID": "6a3c1f0e-6d2f-4c53-9f0a-0123456789ab"})
    story.says_only(
        "qemu_vm_info", 'qemu_vm_info{name="web01",uuid="6a3c1f0e-6d2f-4c53-9f0a-0123456789ab",version="10.0.2"}'
    )


def test_a_vm_without_a_name_has_an_empty_one():
    story = Story()
    story.answers("query-name", {})
    story.says('qemu_vm_info{name="",uuid="",version="10.0.2"}', 1)


def test_another_vm_at_the_same_socket_is_not_taken_for_the_one_before():
    story = Story()
    story.answers("query-name", {"name": "web01"})
    story.disconnects()
    story.says_nothing_of("qemu_vm_info")
    story.connects("11.1.0")
    story.says_only("qemu_vm_info", 'qemu_vm_info{name="",uuid="",version="11.1.0"}')


@pytest.mark.parametrize("state", RUN_STATES)
def test_the_run_state_is_one_of_qemus(state):
    story = Story()
    story.answers("query-status", {"status": state, "running": state == "running"})
    story.says_only("qemu_vm_state", f'qemu_vm_state{{state="{state}"}}')
    story.says("qemu_vm_running", int(state == "running"))


def test_a_run_state_never_heard_of_is_unknown():
    story = running()
    story.answers("query-status", {"status": "levitating", "running": False})
    story.says_only("qemu_vm_state", 'qemu_vm_state{state="unknown"}')


def test_qemus_of_5_2_say_singlestep_besides():
    story = Story()
    story.answers("query-status", {"status": "running", "singlestep": False, "running": True})
    story.says("qemu_vm_running", 1)


def test_stop_counts_and_stops_at_once_and_the_query_says_why():
    story = running()
    story.happens("STOP")
    story.says("qemu_vm_stops_total", 1)
    story.says("qemu_vm_running", 0)
    story.says('qemu_vm_state{state="running"}', 1)
    assert "query-status" in story.wants()
    story.answers("query-status", {"status": "io-error", "running": False})
    story.says_only("qemu_vm_state", 'qemu_vm_state{state="io-error"}')


def test_resume_counts_and_the_query_says_whether_it_runs():
    story = Story()
    story.happens("RESUME")
    story.says("qemu_vm_resumes_total", 1)
    story.answers("query-status", {"status": "suspended", "running": False})  # asleep in S3 all the while
    story.says("qemu_vm_running", 0)


@pytest.mark.parametrize("event", STATE_EVENTS)
def test_after_each_event_that_may_change_it_the_run_state_is_asked(event):
    story = Story()
    story.wants()
    story.happens(event, action="none", status="active")
    assert "query-status" in story.wants()


def test_a_reply_that_an_event_overtook_does_not_win():
    story = running()
    story.asks("query-status")
    story.happens("STOP")
    assert not story.replies("query-status", {"status": "running", "running": True})
    story.says("qemu_vm_running", 0)
    assert "query-status" in story.wants()


def test_a_change_of_state_has_the_time_of_the_event_that_announced_it():
    story = running()
    story.happens("STOP", at=BOOT + 500)
    story.answers("query-status", {"status": "paused", "running": False})
    story.says("qemu_vm_state_change_timestamp_seconds", BOOT + 500)


def test_a_change_that_nothing_announced_has_the_time_of_the_query():
    story = running()
    story.answers("query-status", {"status": "postmigrate", "running": False})
    story.says("qemu_vm_state_change_timestamp_seconds", story.now)


def test_the_same_state_again_is_no_change():
    story = running()
    since = story.now
    story.happens("WATCHDOG", action="none")
    story.answers("query-status", {"status": "running", "running": True})
    story.answers("query-status", {"status": "running", "running": True})
    story.says("qemu_vm_state_change_timestamp_seconds", since)
    story.answers("query-status", {"status": "paused", "running": False})
    story.says("qemu_vm_state_change_timestamp_seconds", story.now)


def test_a_vm_that_is_resumed_and_stops_again_between_two_answers_stands_still_since_the_second_stop():
    story = running()
    story.happens("STOP", at=BOOT + 500)
    story.answers("query-status", {"status": "io-error", "running": False})
    story.happens("RESUME", at=BOOT + 900)
    story.happens("STOP", at=BOOT + 901)
    story.answers("query-status", {"status": "io-error", "running": False})
    story.says("qemu_vm_stops_total", 2)
    story.says("qemu_vm_state_change_timestamp_seconds", BOOT + 901)


def test_an_event_that_only_may_change_the_state_does_not_make_it_new():
    story = running()
    since = story.now
    story.happens("MIGRATION", status="setup")
    story.answers("query-status", {"status": "running", "running": True})
    story.says("qemu_vm_state_change_timestamp_seconds", since)


def test_on_a_new_connection_the_state_is_as_old_as_its_first_answer():
    story = running()
    story.disconnects()
    story.connects()
    story.answers("query-status", {"status": "running", "running": True})
    story.says("qemu_vm_state_change_timestamp_seconds", story.now)


# --- RESET and SHUTDOWN, whose reason came late to QEMU

ends = pytest.mark.parametrize(
    ("event", "counter"), [("RESET", "qemu_vm_resets_total"), ("SHUTDOWN", "qemu_vm_shutdowns_total")]
)


@ends
@pytest.mark.parametrize("reason", SHUTDOWN_CAUSES)
def test_each_cause_is_counted(event, counter, reason):
    story = Story()
    for _ in range(2):
        story.happens(event, guest=reason.startswith("guest"), reason=reason)
    story.says(f'{counter}{{reason="{reason}"}}', 2)


@ends
def test_a_cause_never_heard_of_is_other(event, counter):
    story = Story()
    story.happens(event, guest=False, reason="meteorite")
    story.says(f'{counter}{{reason="other"}}', 1)


@ends
@pytest.mark.parametrize(("guest", "reason"), [(True, "guest"), (False, "host")])
def test_before_4_0_there_is_only_whether_it_was_the_guest(event, counter, guest, reason):
    story = Story(version="3.1.0")
    story.happens(event, guest=guest)
    story.says(f'{counter}{{reason="{reason}"}}', 1)


@ends
def test_before_2_10_there_is_nothing(event, counter):
    story = Story(version="2.8.0")
    story.happens(event)
    story.says(f'{counter}{{reason="unknown"}}', 1)


@pytest.mark.parametrize(
    ("counter", "reasons"),
    [
        ("qemu_vm_resets_total", ("guest-reset", "host-qmp-system-reset")),
        ("qemu_vm_shutdowns_total", ("guest-shutdown", "host-qmp-quit", "host-signal")),
    ],
)
def test_only_the_ordinary_reasons_stand_at_zero(counter, reasons):
    of_it = {sample: value for sample, value in Story().page().items() if sample.startswith(counter)}
    assert of_it == {f'{counter}{{reason="{reason}"}}': 0 for reason in reasons}


# --- the watchdog and the clock

WATCHDOG_ACTIONS = ["reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"]


def test_each_action_of_the_watchdog_stands_at_zero():
    story = Story()
    for action in WATCHDOG_ACTIONS:
        story.says(f'qemu_watchdog_expirations_total{{action="{action}"}}', 0)


@pytest.mark.parametrize("action", WATCHDOG_ACTIONS)
def test_a_watchdog_that_expires_counts_by_its_action(action):
    story = Story()
    story.happens("WATCHDOG", action=action)
    story.says(f'qemu_watchdog_expirations_total{{action="{action}"}}', 1)


def test_an_action_of_the_watchdog_never_heard_of_is_other():
    story = Story()
    story.happens("WATCHDOG", action="bark")
    story.says('qemu_watchdog_expirations_total{action="other"}', 1)


def test_the_clock_of_the_guest_is_counted_and_kept():
    story = Story()
    story.says("qemu_rtc_changes_total", 0)
    story.says_nothing_of("qemu_rtc_offset_seconds")
    story.happens("RTC_CHANGE", offset=-3600)  # no qom-path before 7.0
    story.happens("RTC_CHANGE", offset=78, qom_path="/machine/unattached/device[7]/rtc")
    story.says("qemu_rtc_changes_total", 2)
    story.says("qemu_rtc_offset_seconds", 78)


def test_stops_and_resumes_stand_at_zero():
    story = Story()
    story.says("qemu_vm_stops_total", 0)
    story.says("qemu_vm_resumes_total", 0)
