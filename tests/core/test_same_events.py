"""Events that come again with the same data -> counted as the long way counts them, whatever changes between them."""

from hypothesis import given
from hypothesis import strategies as st

from play import Story
from qmp_exporter.core.same_events import MOST

ERROR = {"operation": "write", "action": "report", "device": "", "node-name": "node0"}
DISK = {"device": "", "qdev": "virtio-disk0", "inserted": {"node-name": "node0"}}
COUNTED = 'qemu_block_io_errors_total{{action="report",device="{}",operation="write"}}'


def storm(story: Story, times: int, **members: str) -> None:
    for _ in range(times):
        story.emits("BLOCK_IO_ERROR", ERROR | {name.replace("_", "-"): value for name, value in members.items()})


def test_a_storm_is_counted_to_the_last_event_with_the_time_of_the_newest():
    story = Story()
    story.answers("query-block", [DISK])
    storm(story, 1000)
    story.says(COUNTED.format("virtio-disk0"), 1000)
    story.says('qemu_events_total{event="BLOCK_IO_ERROR"}', 1000)
    story.says("qemu_last_event_timestamp_seconds", story.now)


def test_a_reply_that_comes_with_an_event_does_not_make_the_event_newer():
    story = Story()
    story.happens("RTC_CHANGE", offset=1, at=1_700_000_500.0)
    story.answers("query-status", {"status": "running", "running": True})
    story.says("qemu_last_event_timestamp_seconds", 1_700_000_500.0)


def test_a_storm_goes_on_under_the_name_that_its_node_turns_out_to_have():
    story = Story()
    storm(story, 10)
    story.answers("query-block", [DISK])
    storm(story, 10)
    story.says(COUNTED.format("virtio-disk0"), 20)
    story.says_nothing_of(COUNTED.format("node0"))


def test_a_storm_on_another_device_of_the_same_node_is_not_counted_for_the_first():
    story = Story()
    story.answers("query-block", [DISK])
    storm(story, 10)
    story.answers("query-block", [DISK | {"qdev": "virtio-disk9"}])
    storm(story, 10)
    story.says(COUNTED.format("virtio-disk9"), 10)


def test_a_series_that_ended_begins_at_one():
    story = Story()
    story.answers("query-block", [DISK])
    storm(story, 10)
    story.answers("query-block", [])
    story.scraped_for_long()
    storm(story, 1, node_name="node0")
    story.says(COUNTED.format("node0"), 1)


def test_events_that_are_never_the_same_are_not_kept():
    story = Story()
    for number in range(1000):
        storm(story, 2, node_name=f"node{number}")
    kept = story.vm._same._counts
    assert sum(map(len, kept.values())) <= MOST


@given(st.lists(st.sampled_from(["STOP", "RESUME", "RTC_CHANGE", "SHUTDOWN", "VNC_CONNECTED", "WAKEUP"]), max_size=60))
def test_the_page_is_that_of_a_vm_whose_events_are_all_taken_the_long_way(events):
    client = {"family": "ipv4", "host": "192.0.2.1", "service": "40001"}
    data = {"RTC_CHANGE": {"offset": 1}, "VNC_CONNECTED": {"client": client}}
    quick, long = Story(), Story()
    for event in events:
        quick.emits(event, data.get(event, {}))
        long.emits(event, data.get(event, {}))
        long.vm._same.forget()
    assert quick.page() == long.page()
