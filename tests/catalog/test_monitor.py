"""The monitor itself: reached or not, lost with or without a word, and what it sends."""

import pytest

from play import BOOT, Story
from qmp_exporter.core.wire import BadMessage

CONNECTED = 'qemu_monitor_state{state="connected"}'
CONNECTING = 'qemu_monitor_state{state="connecting"}'
UNREACHABLE = ("busy", "missing", "refused", "denied", "foreign", "error")


def resynced() -> Story:
    story = Story(connected=False)
    story.connects(commands=["query-status", "query-name"])
    story.answers("query-status", {"status": "running", "running": True})
    story.answers("query-name", {"name": "web01"})
    return story


def test_before_anything_happened_the_vm_is_down_and_connecting():
    story = Story(connected=False)
    story.says("qemu_up", 0)
    story.says_only("qemu_monitor_state", CONNECTING)
    story.says("qemu_monitor_connects_total", 0)
    assert len({sample.split("{")[0] for sample in story.page()}) == 3


def test_it_is_up_when_every_query_of_the_connect_was_answered():
    story = Story(connected=False)
    story.connects(commands=["query-status", "query-name"])
    story.says_only("qemu_monitor_state", CONNECTED)
    story.answers("query-status", {"status": "running", "running": True})
    story.says("qemu_up", 0)
    story.answers("query-name", {})
    story.says("qemu_up", 1)


def test_an_error_is_an_answer_too():
    story = Story(connected=False)
    story.connects(commands=["query-status"])
    story.refuses("query-status")
    story.says("qemu_up", 1)


def test_a_qemu_that_will_not_say_its_commands_is_asked_them_all():
    story = Story(connected=False)
    story.connects()
    story.refuses("query-commands")
    assert "query-vnc-servers" in story.wants()
    assert "query-vnc" not in story.wants()


def test_a_storage_daemon_has_no_run_state_and_is_up():
    story = Story(connected=False)
    story.connects(commands=["query-block", "query-blockstats", "query-block-jobs"])
    for command in ("query-block", "query-blockstats", "query-block-jobs"):
        story.answers(command, [])
    story.says("qemu_up", 1)
    story.says_nothing_of("qemu_vm_state")


@pytest.mark.parametrize("state", UNREACHABLE)
def test_why_there_is_no_connection_is_a_state(state):
    story = Story(connected=False)
    story.cannot_connect(state)
    story.says("qemu_up", 0)
    story.says_only("qemu_monitor_state", f'qemu_monitor_state{{state="{state}"}}')


def test_up_and_the_monitor_state_are_always_there():
    story = resynced()
    story.disconnects()
    story.says("qemu_up", 0)
    story.says_only("qemu_monitor_state", CONNECTING)
    story.cannot_connect("refused")
    story.says("qemu_up", 0)
    story.says_only("qemu_monitor_state", 'qemu_monitor_state{state="refused"}')
    story.connects(commands=["query-status"])
    story.says("qemu_up", 0)
    story.says_only("qemu_monitor_state", CONNECTED)
    story.answers("query-status", {"status": "running", "running": True})
    story.says("qemu_up", 1)


def test_gauges_go_with_the_monitor_and_counters_stay():
    story = resynced()
    story.happens("STOP")
    story.answers("query-block", [{"device": "cd", "removable": True, "tray_open": True, "io-status": "ok"}])
    story.happens("VNC_CONNECTED", client={"family": "ipv4", "host": "192.0.2.1", "service": "4711"})
    story.answers("query-block-jobs", [{"type": "mirror", "device": "j", "len": 2, "offset": 1, "speed": 0}])
    story.answers("query-blockstats", [{"device": "cd", "stats": {"rd_bytes": 512}}])
    story.happens("RTC_CHANGE", offset=3)
    counters = {sample for sample in story.page() if sample.split("{")[0].endswith("_total")}
    story.disconnects()
    left = {sample for sample in story.page() if not sample.startswith(("qemu_up", "qemu_monitor_state"))}
    assert left == counters
    story.says('qemu_block_read_bytes_total{device="cd"}', 512)


def test_an_event_before_a_connection_that_then_fails_leaves_no_gauge():
    story = Story(connected=False)
    story.happens("VNC_CONNECTED", client={})
    story.happens("SHUTDOWN", guest=False, reason="host-signal")
    story.cannot_connect("error")
    story.says_nothing_of("qemu_vnc_clients")
    story.says_nothing_of("qemu_last_event")
    story.says("qemu_vnc_connections_total", 1)
    story.connects()
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="none"}', 1)


def test_connections_are_counted():
    story = resynced()
    story.says("qemu_monitor_connects_total", 1)
    story.disconnects()
    story.connects()
    story.says("qemu_monitor_connects_total", 2)


def test_an_end_without_a_word_is_none():
    story = resynced()
    story.says('qemu_monitor_disconnects_total{after="none"}', 0)
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="none"}', 1)
    story.says('qemu_monitor_disconnects_total{after="shutdown"}', 0)


def test_an_end_after_shutdown_was_announced():
    story = resynced()
    story.happens("SHUTDOWN", guest=False, reason="host-qmp-quit")
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="shutdown"}', 1)
    story.says('qemu_monitor_disconnects_total{after="none"}', 0)


def test_a_watchdog_that_powers_off_announces_the_end_without_shutdown():
    story = resynced()
    story.happens("WATCHDOG", action="poweroff")
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="shutdown"}', 1)


@pytest.mark.parametrize("action", ["reset", "shutdown", "pause", "debug", "none", "inject-nmi"])
def test_no_other_action_of_the_watchdog_announces_an_end(action):
    story = resynced()
    story.happens("WATCHDOG", action=action)
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="none"}', 1)


@pytest.mark.parametrize("event", ["RESET", "RESUME"])
def test_a_kept_qemu_that_goes_on_and_is_killed_was_not_announced(event):
    story = resynced()
    story.happens("SHUTDOWN", guest=True, reason="guest-shutdown")  # with -no-shutdown
    story.happens("STOP")
    story.happens(event)
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="none"}', 1)


def test_an_announcement_is_forgotten_with_the_session():
    story = resynced()
    story.happens("SHUTDOWN", guest=False, reason="host-signal")
    story.disconnects()
    story.connects()
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="none"}', 1)


def test_a_shutdown_that_cannot_be_read_announces_the_end_all_the_same():
    story = resynced()
    with pytest.raises(BadMessage):
        story.emits("SHUTDOWN", {"reason": 7})
    story.disconnects()
    story.says('qemu_monitor_disconnects_total{after="shutdown"}', 1)


def test_the_last_reply_has_the_time_at_which_it_came():
    story = resynced()
    story.says("qemu_monitor_last_reply_timestamp_seconds", story.now)
    story.happens("STOP")
    story.says("qemu_monitor_last_reply_timestamp_seconds", story.now - 1)
    story.refuses("query-status")
    story.says("qemu_monitor_last_reply_timestamp_seconds", story.now)


def test_every_event_is_counted_by_name():
    story = resynced()
    story.happens("NIC_RX_FILTER_CHANGED", path="/machine")
    story.happens("NEVER_HEARD_OF")
    story.happens("NEVER_HEARD_OF", text={"deep": []})
    story.says('qemu_events_total{event="NIC_RX_FILTER_CHANGED"}', 1)
    story.says('qemu_events_total{event="NEVER_HEARD_OF"}', 2)


@pytest.mark.parametrize("name", ["stop", "STOP!", "", "Ü", 'A"B', "A" * 65, "STOP\n"])
def test_an_event_with_an_impossible_name_is_other(name):
    story = resynced()
    story.happens(name)
    story.says('qemu_events_total{event="other"}', 1)


def test_no_peer_fills_the_page_with_names_of_events():
    story = resynced()
    for number in range(1000):
        story.happens(f"EVENT_{number}")
    counted = {sample: value for sample, value in story.page().items() if sample.startswith("qemu_events_total")}
    assert len(counted) <= 129
    assert sum(counted.values()) == 1000


@pytest.mark.parametrize(
    "name", ["watched", "monitor", "connected", "resynced", "disconnected", "query-status", "any event"]
)
def test_an_event_by_the_name_of_something_else_is_only_counted(name):
    story = resynced()
    before = story.page()
    story.happens(name, status="paused", running=False)
    after = story.page()
    changed = {sample for sample in after if after[sample] != before.get(sample)}
    assert changed == {'qemu_events_total{event="other"}', "qemu_last_event_timestamp_seconds"}


def test_the_newest_event_has_its_own_time():
    story = resynced()
    story.happens("STOP", at=BOOT - 3600)  # the host's clock is elsewhere
    story.says("qemu_last_event_timestamp_seconds", BOOT - 3600)


def test_an_event_of_a_host_without_a_clock_has_the_time_at_which_it_came():
    story = resynced()
    story.happens("STOP", at=-1.000001)
    story.says("qemu_last_event_timestamp_seconds", story.now)
