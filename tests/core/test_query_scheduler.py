"""Random lives of a monitor -> what is asked, and when: one at a time, nothing forgotten, nobody starved."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import BLOCK, IOTHREADS, NAME, POLL, QUERIES, STATS, STATUS, VNC, VNC_SERVERS, Loop
from qmp_exporter.core.family import Query
from qmp_exporter.core.in_flight import HUNG, PATIENCE, STUCK
from qmp_exporter.core.query_scheduler import (
    DEAR,
    LONGEST_REST,
    MAX_FOLLOW_UPS,
    MAX_OVERTAKEN,
    OUR_SHARE,
    QUERY_COMMANDS,
    RARE,
    REST,
    SHARE,
    SLOTS,
    SLOW_INTERVAL,
    QueryScheduler,
)
from qmp_exporter.core.vm_facts import VmFacts

EVENTS = ("STOP", "RESET", "DEVICE_TRAY_MOVED", "VNC_CONNECTED", "RTC_CHANGE")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("happens"), st.sampled_from(EVENTS)),
        st.tuples(st.just("sleep"), st.sampled_from([0.001, 0.03, 0.5, 4.9, 16.0, 61.0])),
        st.just(("answer",)),
        st.just(("answer",)),
        st.just(("fail",)),
    ),
    max_size=60,
)


def live(loop: Loop, history: list[tuple]) -> None:
    for method, *arguments in history:
        getattr(loop, method)(*arguments)


@given(steps, st.booleans())
def test_one_query_at_a_time_and_no_waking_up_for_nothing(history, connected):
    live(Loop(connected=connected), history)  # Loop itself asserts both


@given(steps, st.sampled_from([5.0, 600.0]))
def test_no_poll_interval_makes_it_wake_up_for_nothing(history, poll):
    live(Loop(poll=poll), [*history, ("sleep", 2 * STUCK)])


@given(steps)
def test_every_event_is_settled_in_the_end_by_a_reply_to_a_later_question(history):
    loop = Loop()
    live(loop, [step for step in history if step != ("fail",)])
    loop.answer_all()
    for query in QUERIES:
        last = max((at for at, event in enumerate(loop.events, start=1) if event in query.after), default=0)
        if not query.instead_of_newer:
            assert loop.true_as_of.get(query, 0) >= last, query.command


@given(steps)
def test_whatever_happened_the_polls_go_on(history):
    loop = Loop()
    live(loop, history)
    loop.answer_all()
    loop.asked.clear()
    ends = loop.now + 2 * SLOW_INTERVAL  # a query that failed is asked again after one
    while loop.now < ends:
        loop.sleep(2.0)
        loop.answer_all()
    assert Counter(loop.asked)[STATUS] >= 4
    assert Counter(loop.asked)[STATS] >= 4
    assert BLOCK in loop.asked or loop.scheduler._ready_at(BLOCK) > loop.now


@given(st.floats(0, 1e6), st.floats(0, 1, exclude_max=True), st.floats(0, 0.9))
def test_vms_are_polled_at_the_same_moments_whenever_they_were_met(met, chance, late):
    slot = POLL / SLOTS
    scheduler = QueryScheduler(QUERIES, POLL, VmFacts())
    scheduler.start(met, chance)
    scheduler.ask(QUERY_COMMANDS, met)
    scheduler.answered(QUERY_COMMANDS, met)
    first = met + scheduler.due(met)
    polled = first + late * slot
    scheduler.next(polled)
    second = polled + scheduler.due(polled)
    for poll in (first, second):
        assert abs(poll / slot - round(poll / slot)) < 1e-3
    assert second - first < POLL + 1e-3


@given(st.integers(1, 2000), st.floats(0.0001, 0.05))
def test_a_storm_asks_as_much_as_its_time_allows_however_many_events_it_has(events, pace):
    loop = Loop()
    loop.asked.clear()
    began = loop.now
    for _ in range(events):
        loop.happens("RESET")
        loop.now += pace
        loop.answer()
    loop.answer_all()
    asked = Counter(loop.asked)
    lasted = loop.now - began
    assert 1 <= asked[STATUS] <= lasted / STATUS.spacing + 2
    assert 1 <= asked[BLOCK] <= lasted / BLOCK.spacing + 2


def test_a_storm_on_a_slow_qemu_does_not_keep_the_polls_from_being_asked():
    loop = Loop()
    loop.sleep(POLL)
    loop.asked.clear()
    for _ in range(1000):
        loop.happens("STOP")
        loop.happens("VNC_CONNECTED")
        loop.now += 0.2  # each reply takes longer than the spacing of the follow-ups
        loop.answer()
    asked = Counter(loop.asked)
    assert asked[STATS] >= 10
    assert asked[BLOCK] >= 2
    assert asked[STATUS] > asked[BLOCK]


def test_a_follow_up_goes_before_a_poll():
    loop = Loop()
    loop.now += POLL * 2
    loop.scheduler.on_event("DEVICE_TRAY_MOVED")
    loop.turn()
    assert loop.asked[-1] is BLOCK


def test_no_more_than_so_many_follow_ups_before_a_poll():
    loop = Loop()
    loop.now += POLL * 2
    loop.asked.clear()
    for _ in range(MAX_FOLLOW_UPS + 1):
        loop.happens("STOP")
        loop.scheduler.answered(loop.asked[-1], loop.now)
        loop.now += STATUS.spacing
    assert loop.asked[: MAX_FOLLOW_UPS + 1].count(STATUS) == MAX_FOLLOW_UPS


def test_a_reply_overtaken_by_an_event_is_dropped_and_asked_again():
    loop = Loop()
    loop.happens("STOP")
    loop.now += 1.0
    loop.turn()
    assert loop.scheduler.in_flight.query is STATUS
    loop.scheduler.on_event("RESUME")
    assert loop.scheduler.answered(STATUS, loop.now) is False
    assert loop.scheduler.next(loop.now + 1.0) is STATUS
    assert loop.scheduler.answered(STATUS, loop.now) is True


def test_an_event_that_a_query_does_not_settle_overtakes_no_reply():
    loop = Loop()
    loop.happens("STOP")
    loop.now += 1.0
    loop.turn()
    loop.scheduler.on_event("DEVICE_TRAY_MOVED")
    assert loop.scheduler.answered(STATUS, loop.now) is True


def test_in_an_endless_storm_a_reply_is_taken_now_and_then():
    loop = Loop(poll=3600.0)
    taken = []
    for _ in range(3 * (MAX_OVERTAKEN + 1)):
        loop.happens("STOP")
        loop.now += 1.0
        loop.turn()
        loop.scheduler.on_event("STOP")
        taken.append(loop.scheduler.answered(STATUS, loop.now))
    assert taken == [False, False, False, True] * 3


def test_the_connect_begins_with_the_commands_that_qemu_has():
    loop = Loop(connected=False)
    loop.turn()
    assert loop.asked == [QUERY_COMMANDS]
    loop.scheduler.answered(QUERY_COMMANDS, loop.now)
    loop.scheduler.set_available(["query-status", "query-vnc", "query-events"])
    loop.answer_all()
    assert loop.asked == [QUERY_COMMANDS, STATUS, VNC]


def test_the_older_command_is_asked_only_where_the_newer_one_is_missing():
    assert VNC not in Loop().asked
    assert VNC_SERVERS in Loop().asked


def test_what_qemu_does_not_have_is_not_asked_after_an_event_either():
    loop = Loop(connected=False)
    loop.turn()
    loop.scheduler.answered(QUERY_COMMANDS, loop.now)
    loop.scheduler.set_available(["query-block"])  # as a storage daemon
    loop.answer_all()
    loop.happens("STOP")
    loop.sleep(5.0)
    assert set(loop.asked) == {QUERY_COMMANDS, BLOCK}


def test_the_resync_is_complete_when_every_query_was_answered_or_refused():
    loop = Loop(connected=False)
    loop.turn()
    assert not loop.scheduler.resynced
    loop.scheduler.answered(QUERY_COMMANDS, loop.now)
    assert not loop.scheduler.resynced
    loop.scheduler.set_available(["query-status", "query-name"])
    loop.turn()
    loop.answer()
    assert not loop.scheduler.resynced
    loop.fail()
    assert loop.scheduler.resynced


def test_a_qemu_that_offers_nothing_is_resynced_at_once():
    loop = Loop(connected=False)
    loop.turn()
    loop.scheduler.answered(QUERY_COMMANDS, loop.now)
    loop.scheduler.set_available([])
    assert loop.scheduler.resynced


def test_an_overtaken_reply_does_not_complete_the_resync():
    loop = Loop(connected=False)
    loop.turn()
    loop.scheduler.answered(QUERY_COMMANDS, loop.now)
    loop.scheduler.set_available(["query-status"])
    loop.turn()
    loop.scheduler.on_event("STOP")
    loop.scheduler.answered(STATUS, loop.now)
    assert not loop.scheduler.resynced


@given(st.lists(st.floats(0.001, 20.0), min_size=2, max_size=30))
def test_however_long_an_answer_takes_qemu_is_busy_with_it_for_a_few_per_cent_of_its_time(answers):
    loop = Loop()
    loop.happens("RESET")
    loop.answer_all()
    began, busy = loop.now, 0.0
    slowest = max(answers)
    for _ in answers:
        while loop.scheduler.in_flight.query is not BLOCK:  # an event each second wants it
            loop.happens("DEVICE_TRAY_MOVED")
            loop.answer() if loop.scheduler.in_flight.query is not BLOCK else None
            loop.now += 1.0
        loop.now += slowest
        busy += slowest
        loop.answer()
    loop.sleep(min(REST * slowest, LONGEST_REST))
    assert busy <= (SHARE + 0.001) * (loop.now - began) + 2 * slowest


def test_one_slow_answer_among_quick_ones_is_taken_for_somebody_elses_doing():
    loop = Loop()
    loop.happens("RESET")
    loop.answer_all()
    loop.happens("DEVICE_TRAY_MOVED")
    loop.sleep(BLOCK.spacing)
    loop.now += 30.0
    loop.answer()
    loop.asked.clear()
    loop.happens("DEVICE_TRAY_MOVED")
    loop.answer_all()
    assert BLOCK in loop.asked


def test_a_query_of_memory_is_asked_with_the_next_poll_however_long_the_last_ones_took():
    loop = Loop()
    for _ in range(3):
        while loop.scheduler.in_flight.query is not STATUS:
            loop.sleep(1.0)
            loop.answer() if loop.scheduler.in_flight.query is not STATUS else None
        loop.now += 30.0
        loop.answer()
    loop.asked.clear()
    loop.sleep(1.0)
    for _ in range(20):
        loop.answer()
        loop.sleep(1.0)
    assert STATUS in loop.asked


def test_an_overtaken_reply_is_taken_where_asking_again_has_to_wait_for_long():
    loop = Loop()
    for _ in range(2):
        loop.scheduler.ask(BLOCK, loop.now)
        loop.now += 4.0
        loop.scheduler.answered(BLOCK, loop.now)
    loop.scheduler.ask(BLOCK, loop.now)
    loop.scheduler.on_event("DEVICE_TRAY_MOVED")
    loop.now += 4.0
    assert loop.scheduler.answered(BLOCK, loop.now) is True
    assert BLOCK in loop.scheduler._urgent


def test_what_an_event_announces_is_asked_again_every_five_minutes_only():
    loop = Loop()
    loop.answer_all()
    loop.asked.clear()
    ends = loop.now + 2 * RARE * SLOW_INTERVAL
    while loop.now < ends:
        loop.sleep(1.0)
        loop.answer_all()
    assert loop.asked.count(IOTHREADS) == 2


def test_a_query_that_fails_waits_for_the_slow_cadence_until_it_is_answered():
    loop = Loop()
    loop.sleep(POLL)
    while loop.scheduler.in_flight.query is not STATS:
        loop.answer()
    loop.fail()
    loop.asked.clear()
    ends = loop.now + 4 * SLOW_INTERVAL
    while loop.now < ends:
        loop.sleep(1.0)
        loop.fail() if loop.scheduler.in_flight.query is STATS else loop.answer()
    assert loop.asked.count(STATS) in {4, 5}
    loop.asked.clear()
    ends = loop.now + 2 * SLOW_INTERVAL
    while loop.now < ends:
        loop.sleep(1.0)
        loop.answer()
    assert loop.asked.count(STATS) >= SLOW_INTERVAL / POLL


def test_a_qemu_that_answers_nothing_for_ten_seconds_hangs_until_it_answers():
    loop = Loop()
    loop.happens("STOP")
    asked_at = loop.now
    loop.sleep(HUNG * 3)
    assert loop.hung_at == [pytest.approx(asked_at + HUNG, abs=0.1)]
    loop.answer_all()
    loop.happens("STOP")
    loop.sleep(HUNG * 3)
    assert len(loop.hung_at) == 2


def test_a_query_without_an_answer_is_late_once():
    loop = Loop()
    loop.happens("STOP")
    loop.sleep(PATIENCE * 4)
    assert loop.late == [STATUS]


def test_after_a_minute_without_an_answer_others_are_asked_again():
    loop = Loop()
    loop.sleep(1)
    loop.happens("STOP")
    loop.asked.clear()
    loop.sleep(STUCK - 2)
    assert loop.asked == []
    loop.sleep(4)
    assert len(loop.asked) == 1


@given(st.floats(0, 1, exclude_max=True))
def test_chance_spreads_the_first_poll_over_half_an_interval(chance):
    scheduler = QueryScheduler(QUERIES, POLL, VmFacts())
    scheduler.start(100.0, chance)
    scheduler.ask(QUERY_COMMANDS, 100.0)
    scheduler.answered(QUERY_COMMANDS, 100.0)
    assert POLL / 2 - POLL / SLOTS < scheduler.due(100.0) <= POLL


def test_the_queries_that_touch_image_files_are_asked_once_a_minute():
    loop = Loop()
    loop.asked.clear()
    while loop.now < 20 * SLOW_INTERVAL:
        loop.sleep(1.0)
        loop.answer_all()
    assert Counter(loop.asked)[BLOCK] in {20, 21}
    assert Counter(loop.asked)[STATUS] in {80, 81}
    assert NAME not in loop.asked


def test_what_is_going_on_is_asked_about_with_each_poll_as_long_as_it_is():
    going_on: set[str] = set()
    job = Query("query-jobs", list, poll_while=lambda _: bool(going_on))
    scheduler = QueryScheduler((job,), POLL, VmFacts())
    scheduler.start(0.0, 0.0)
    scheduler.ask(QUERY_COMMANDS, 0.0)
    scheduler.answered(QUERY_COMMANDS, 0.0)
    scheduler.set_available(["query-jobs"])

    def asked(now: float) -> list[Query]:
        queries = []
        while query := scheduler.next(now):
            scheduler.answered(query, now)
            queries.append(query)
        return queries

    assert asked(1.0) == [job]
    assert asked(20.0) == []
    going_on.add("mirror")
    assert asked(40.0) == [job]
    assert asked(60.0) == [job]
    going_on.clear()
    assert asked(80.0) == []


def test_without_a_monitor_nothing_is_due():
    scheduler = QueryScheduler(QUERIES, POLL, VmFacts())
    assert scheduler.due(0.0) == float("inf")
    assert scheduler.next(1000.0) is None


@given(st.floats(DEAR + 0.001, 1.0))
def test_a_query_whose_answers_take_us_long_has_a_small_share_of_our_time_though_an_event_comes_with_each(took):
    loop = Loop()
    for _ in range(2):
        loop.scheduler.took_us(BLOCK, took)
    asked_at = []
    for _ in range(10):
        loop.happens("DEVICE_TRAY_MOVED")
        while loop.scheduler.in_flight.query is not BLOCK:
            loop.answer()
            loop.now += max(loop.scheduler.due(loop.now), 0.001)
            loop.turn()
        asked_at.append(loop.now)
        loop.scheduler.answered(BLOCK, loop.now)
        loop.scheduler.took_us(BLOCK, took)
    assert all(after - before >= 0.99 * took / OUR_SHARE for before, after in itertools.pairwise(asked_at))


@pytest.mark.parametrize("before", [(), (DEAR / 2,)], ids=["the first", "behind a quick one"])
def test_one_answer_that_took_us_long_is_taken_for_a_pause_of_ours(before):
    loop = Loop()
    for took in (*before, 1.0):
        loop.scheduler.took_us(BLOCK, took)
    loop.now += 2.0
    loop.happens("DEVICE_TRAY_MOVED")
    assert loop.scheduler.in_flight.query is BLOCK


# --- where no events are heard, in visits


def without_events(*queries: Query) -> QueryScheduler:
    """-> one that knows which queries there are, and has asked none of them"""
    scheduler = QueryScheduler(queries, 15.0, VmFacts(), hears_events=False)
    scheduler.start(0.0, 0.0)
    assert scheduler.next(0.0) is QUERY_COMMANDS
    scheduler.answered(QUERY_COMMANDS, 0.0)
    scheduler.set_available([query.command for query in queries])
    return scheduler


def test_what_an_event_would_announce_is_asked_with_each_poll_but_for_images():
    scheduler = without_events(STATUS, BLOCK)
    asked = []
    for now in range(0, 301, 15):
        while query := scheduler.next(float(now)):
            asked.append(query)
            scheduler.answered(query, float(now))
    assert asked.count(STATUS) >= 20
    assert 5 <= asked.count(BLOCK) <= 7


def test_a_query_of_images_that_nobody_could_wait_for_rests_for_an_hour():
    scheduler = without_events(BLOCK)
    assert scheduler.next(0.0) is BLOCK
    scheduler.failed(BLOCK, 0.25, took=LONGEST_REST)
    assert [now for now in range(15, 3600, 15) if scheduler.next(float(now))] == []
    assert scheduler.next(3616.0) is BLOCK
