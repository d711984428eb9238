"""Payloads with a member of the wrong type or without one -> BadMessage, and the page as it was but for the count.

The rows of a payload are found through the catalog, so that a new row is tested as soon as it is there.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from play import Story, changes
from qmp_exporter.catalog import CATALOG, GROUPS
from qmp_exporter.core.wire import BadMessage

EVENTS = {name: data for group in GROUPS.values() for name, data in group.events.items()}
REPLIES = {query.reply: query.example for query in CATALOG.queries}
WRONG = {str: 7, int: "7", bool: "yes", list: {}, dict: []}
TOO_MUCH = 2**63
# Signals whose rows do not look at the payload: they count whatever it is.
COUNTED_ALL_THE_SAME = {
    "RTC_CHANGE": {"qemu_rtc_changes_total"},
    "VNC_CONNECTED": {"qemu_vnc_connections_total"},
    "VNC_INITIALIZED": {"qemu_vnc_initializations_total"},
    "VNC_DISCONNECTED": {"qemu_vnc_disconnections_total"},
}


def spoiled(value: Any) -> list[Any]:
    """Every way to put one wrong type into it."""
    ways = [WRONG[type(value)]]
    if isinstance(value, int) and not isinstance(value, bool):
        ways.append(0.5)
    if isinstance(value, dict):
        ways += [value | {key: wrong} for key, inner in value.items() for wrong in spoiled(inner)]
    if isinstance(value, list):
        ways += [[wrong] for inner in value for wrong in spoiled(inner)]
    return ways


def out_of_range(value: Any) -> list[Any]:
    """Every way to put one number into it that cannot be true."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [-TOO_MUCH - 1, TOO_MUCH, 10**400]
    if isinstance(value, dict):
        return [value | {key: wrong} for key, inner in value.items() for wrong in out_of_range(inner)]
    return [[wrong] for inner in value for wrong in out_of_range(inner)] if isinstance(value, list) else []


def cases(good: dict[str, Any], ways: Callable[[Any], list[Any]]) -> list[Any]:
    return [
        pytest.param(name, wrong, id=f"{name}-{ascii(wrong)[:60]}")
        for name, value in good.items()
        for wrong in ways(value)
    ]


def told() -> Story:
    story = Story()
    for command, value in REPLIES.items():
        if command != "query-vnc":
            story.answers(command, value)
    return story


@pytest.mark.parametrize(("event", "wrong"), cases(EVENTS, spoiled))
def test_an_event_of_the_wrong_shape_is_counted_by_name_and_changes_nothing_else(event, wrong):
    story = told()
    before = story.page()
    with pytest.raises(BadMessage) as bad:
        emits(story, event, wrong)
    assert bad.value.reason == "shape"
    changed = {sample.split("{")[0] for sample in changes(before, story.page())}
    assert changed == {
        "qemu_events_total",
        "qemu_last_event_timestamp_seconds",
        *COUNTED_ALL_THE_SAME.get(event, ()),
    }


@pytest.mark.parametrize(("command", "wrong"), cases(REPLIES, spoiled))
def test_a_reply_of_the_wrong_shape_changes_nothing_but_the_time_of_the_last_reply(command, wrong):
    story = told()
    before = story.page()
    with pytest.raises(BadMessage) as bad:
        story.answers(command, in_json(wrong))
    assert bad.value.reason == "shape"
    assert set(changes(before, story.page())) <= {"qemu_monitor_last_reply_timestamp_seconds"}
    assert story.page().keys() == before.keys()


@pytest.mark.parametrize(("command", "wrong"), cases(REPLIES, out_of_range))
def test_a_number_out_of_range_spoils_no_sample_but_its_own(command, wrong):
    story = told()
    before = story.page()
    with contextlib.suppress(BadMessage):  # a histogram is left out without a word
        story.answers(command, in_json(wrong))
    after = story.page()
    assert set(changes(before, after)) <= {"qemu_monitor_last_reply_timestamp_seconds"}
    missing = {sample.split("{")[0] for sample in before.keys() - after.keys()}
    assert len(missing) <= 1
    if missing and missing != {"qemu_block_latency_seconds_bucket"}:
        with pytest.raises(BadMessage) as bad:
            story.answers(command, in_json(wrong))
        assert bad.value.reason == "range"


def test_what_a_guest_can_make_its_balloon_tell_is_absent():
    story = Story()
    story.happens("BALLOON_CHANGE", actual=2**30)
    with pytest.raises(BadMessage, match="qemu_balloon_actual_bytes"):
        emits(story, "BALLOON_CHANGE", {"actual": 2**64 - 4096})
    story.says_nothing_of("qemu_balloon_actual_bytes")


def test_a_clock_that_is_behind_is_no_number_out_of_range():
    story = Story()
    story.happens("RTC_CHANGE", offset=-3600)
    story.says("qemu_rtc_offset_seconds", -3600)


def test_a_reply_of_the_wrong_shape_counts_as_answered():
    story = Story(connected=False)
    story.connects(commands=["query-status"])
    with pytest.raises(BadMessage):
        story.answers("query-status", [])
    story.says("qemu_up", 1)


@pytest.mark.parametrize("event", EVENTS)
def test_the_payloads_here_are_good_but_for_what_is_spoiled(event):
    story = told()
    story.emits(event, EVENTS[event])


def test_every_payload_that_a_row_reads_is_here():
    read = {name for name, feeds in CATALOG._feeds.items() if any(feed.decode for feed in feeds)}
    assert read == EVENTS.keys() | REPLIES.keys()


def test_every_member_that_a_row_reads_is_here():
    for query in CATALOG.queries:
        read = {
            source.payload for family in CATALOG.families for source in family.sources if source.name == query.reply
        }
        assert set().union(*map(members, (query.returns, *read))) == given(query.example), query.reply


def members(kind: Any, within: frozenset[Any] = frozenset()) -> set[str]:
    """The names on the wire of all members of a type and of those within it."""
    names: set[str] = set()
    for one in (kind, *getattr(kind, "__args__", ())):
        if one in within:  # a node below a node
            continue
        if isinstance(one, type) and issubclass(one, Struct):
            for field in msgspec.structs.fields(one):
                names |= {field.encode_name} | members(field.type, within | {one})
        elif one is not kind:
            names |= members(one, within)
    return names


def given(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(given(inner) for inner in value.values()))
    return set().union(*(given(inner) for inner in value)) if isinstance(value, list) else set()


def emits(story: Story, event: str, data: Any) -> None:
    story.emits(event, in_json(data))


def in_json(value: Any) -> Any:
    """Integers that no encoder of ours writes, as a broken peer may."""
    if isinstance(value, dict):
        return {key: in_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [in_json(inner) for inner in value]
    return msgspec.Raw(str(value).encode()) if isinstance(value, int) and abs(value) >= TOO_MUCH else value
