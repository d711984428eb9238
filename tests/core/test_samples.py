"""Samples: bounded whatever a peer sends, closed lists closed, values moved when a device gets its name."""

import unicodedata
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.budget import Budget
from qmp_exporter.core.family import MAX_LABEL, OTHER, Label, counter, gauge, histogram
from qmp_exporter.core.samples import LINGER, MOST_LIMITED, OWN, Samples

DEVICE = Label("device", "Which disk.", limit=4)
OPERATION = Label("operation", "Which operation.", values=("read", "write"))
ERRORS, LEVEL, COUNT, TRAY, LATENCY = range(5)
FAMILIES = (
    counter("qemu_errors_total", "Errors.", labels=(DEVICE, OPERATION)),
    gauge("qemu_level", "Level.", labels=(DEVICE,)),
    counter("qemu_count_total", "Count."),
    gauge("qemu_tray", "Tray.", labels=(DEVICE, OPERATION)),
    histogram("qemu_latency_seconds", "Latency.", labels=(DEVICE,)),
)
device_names = st.sampled_from([f"disk{number}" for number in range(30)]) | st.text(max_size=3)
changes = st.lists(st.tuples(st.tuples(device_names, st.sampled_from(["read", "write", "erase"])), st.integers(0, 9)))


def fresh() -> Samples:
    return Samples(FAMILIES)


def test_an_event_adds_to_what_there_is():
    samples = fresh()
    samples.count(ERRORS, [(("disk0", "read"), 1)])
    samples.count(ERRORS, [(("disk0", "read"), 1), (("disk0", "write"), 1)])
    assert samples.values[ERRORS] == {("disk0", "read"): 2, ("disk0", "write"): 1}


def test_a_value_outside_of_a_closed_list_is_other():
    samples = fresh()
    samples.count(ERRORS, [(("disk0", "erase"), 1), (("disk0", "trim"), 1)])
    assert samples.values[ERRORS] == {("disk0", "other"): 2}


def test_one_device_too_many_is_other():
    samples = fresh()
    samples.put(LEVEL, [((f"disk{number}",), number) for number in range(6)])
    assert list(samples.values[LEVEL]) == [("disk0",), ("disk1",), ("disk2",), ("disk3",), ("other",)]
    assert samples.limited == 2


def test_devices_are_counted_in_all_metrics_together():
    samples = fresh()
    samples.count(ERRORS, [((f"disk{number}", "read"), 1) for number in range(3)])
    samples.put(LEVEL, [((f"disk{number}",), 1) for number in range(2, 6)])
    assert list(samples.values[LEVEL]) == [("disk2",), ("disk3",), ("other",)]
    samples.count(ERRORS, [(("disk3", "write"), 1), (("disk4", "write"), 1)])
    assert samples.values[ERRORS][("disk3", "write")] == 1
    assert samples.values[ERRORS][("other", "write")] == 1


def test_what_is_gone_makes_room():
    samples = fresh()
    for number in range(0, 40, 4):
        samples.replace(LEVEL, [((f"disk{index}",), 1) for index in range(number, number + 2)])
        assert ("other",) not in samples.values[LEVEL]
    assert samples.limited == 0


def test_what_is_gone_makes_no_room_while_another_metric_has_it():
    samples = fresh()
    samples.count(ERRORS, [((f"disk{number}", "read"), 1) for number in range(4)])
    samples.replace(LEVEL, [(("disk0",), 1)])
    samples.replace(LEVEL, [(("disk9",), 1)])
    assert samples.values[LEVEL] == {("other",): 1}


def test_counters_that_find_no_room_add_up_and_of_gauges_the_last_stands():
    samples = fresh()
    changes = [((f"disk{number}", "read"), number) for number in range(7)]
    samples.replace(ERRORS, changes)
    assert samples.values[ERRORS][("other", "read")] == 4 + 5 + 6
    samples.replace(TRAY, changes)
    assert samples.values[TRAY][("other", "read")] == 6


def test_the_buckets_of_a_histogram_are_not_limited_here():
    samples = fresh()
    samples.replace(LATENCY, [(("disk0", f"{bound}.0"), bound) for bound in range(200)])
    assert len(samples.values[LATENCY]) == 200


def test_a_known_device_is_not_one_too_many():
    samples = fresh()
    for number in (1, 2):
        samples.put(LEVEL, [((f"disk{index}",), number) for index in range(4)])
    assert samples.limited == 0
    assert set(samples.values[LEVEL].values()) == {2}


def test_a_reply_says_all_there_is():
    samples = fresh()
    samples.replace(LEVEL, [(("disk0",), 1), (("disk1",), 2)])
    samples.replace(LEVEL, [(("disk1",), 2)])
    assert samples.values[LEVEL] == {("disk1",): 2}


def test_what_a_counter_counted_of_a_device_that_is_gone_is_scraped_before_it_ends():
    samples = fresh()
    samples.replace(ERRORS, [(("disk0", "read"), 1), (("disk1", "read"), 2)])
    samples.replace(ERRORS, [(("disk1", "read"), 3)])
    for _ in range(3):
        samples.leave(1000.0)
    assert samples.values[ERRORS] == {("disk0", "read"): 1, ("disk1", "read"): 3}
    samples.dirty.clear()
    samples.leave(1000.0 + LINGER)
    assert samples.values[ERRORS] == {("disk1", "read"): 3}
    assert samples.dirty == {ERRORS}


def test_what_comes_back_before_that_stays():
    samples = fresh()
    for replies in ([(("disk0", "read"), 1)], [], [(("disk0", "read"), 2)]):
        samples.replace(ERRORS, replies)
    samples.leave(1000.0)
    samples.leave(1000.0 + LINGER)
    assert samples.values[ERRORS] == {("disk0", "read"): 2}


def test_what_comes_has_a_better_claim_to_the_room_than_what_is_gone():
    samples = fresh()
    for number in range(0, 40, 4):
        samples.replace(ERRORS, [((f"disk{index}", "read"), 1) for index in range(number, number + 2)])
        assert not any(device == OTHER for device, _ in samples.values[ERRORS])
    assert samples.limited == 0


def test_replies_that_name_new_devices_each_time_do_not_add_up():
    samples = fresh()
    for number in range(0, 40, 4):  # each names four new ones before the old ones
        samples.replace(LEVEL, [((f"disk{index}",), 1) for index in range(number + 3, -1, -1)])
    assert len(samples.values[LEVEL]) <= DEVICE.limit + 1


@given(st.lists(st.tuples(st.sampled_from(["count", "put", "replace", "seed"]), changes)))
def test_no_history_grows_beyond_the_bounds(history):
    samples = fresh()
    for method, several in history:
        if method == "seed":
            samples.seed(ERRORS, [labels for labels, _ in several])
        elif method == "count":
            samples.count(ERRORS, several)
        else:
            getattr(samples, method)(TRAY, several)
    devices = {device for index in (ERRORS, TRAY) for device, _ in samples.values[index]}
    assert len(devices - {OTHER}) <= DEVICE.limit
    for index in (ERRORS, TRAY):
        assert all(operation in {"read", "write", "other"} for _, operation in samples.values[index])


@given(st.text())
def test_a_label_is_short_and_printable_but_for_newlines(text):
    samples = fresh()
    samples.put(LEVEL, [((text,), 1)])
    ((value,),) = samples.values[LEVEL]
    assert len(value) <= MAX_LABEL
    assert not {unicodedata.category(character) for character in value if character != "\n"} & {"Cc", "Cs", "Zl", "Zp"}


def test_a_counter_stands_at_zero_before_it_counts():
    samples = fresh()
    samples.seed(ERRORS, [("disk0", "read"), ("disk0", "write")])
    assert samples.values[ERRORS] == {("disk0", "read"): 0, ("disk0", "write"): 0}


def test_what_one_vm_counts_stays_at_0_with_others_that_are_alike():
    foreseen = [("disk0", "read"), ("disk0", "write")]
    one, other = fresh(), fresh()
    for samples in (one, other):
        samples.seed(ERRORS, foreseen)
    one.count(ERRORS, [(("disk0", "read"), 1)])
    one.rename(ERRORS, 0, {"disk0": "disk1"})
    one.count(COUNT, [((), 1)])
    assert other.values[ERRORS] == dict.fromkeys(foreseen, 0)
    assert not other.values[COUNT]


def test_a_state_that_many_vms_are_in_is_kept_once():
    one, other = fresh(), fresh()
    for samples in (one, other):
        samples.replace(TRAY, [(("disk0", "read"), 1), (("disk0", "write"), 0)])
    assert one.values[TRAY] is other.values[TRAY]
    one.put(TRAY, [(("disk0", "read"), 0)])
    assert other.values[TRAY] == {("disk0", "read"): 1, ("disk0", "write"): 0}
    one.seed(TRAY, [("disk1", "read")])
    other.seed(TRAY, [("disk1", "read")])
    assert other.values[TRAY] == {("disk0", "read"): 1, ("disk0", "write"): 0, ("disk1", "read"): 0}


def test_a_seed_takes_nothing_away():
    samples = fresh()
    samples.count(ERRORS, [(("disk0", "read"), 3)])
    samples.seed(ERRORS, [("disk0", "read")])
    assert samples.values[ERRORS] == {("disk0", "read"): 3}


def test_what_was_counted_under_a_node_goes_on_under_its_device():
    samples = fresh()
    samples.count(ERRORS, [(("#block123", "read"), 3), (("disk0", "read"), 1), (("disk1", "read"), 5)])
    samples.rename(ERRORS, 0, {"#block123": "disk0"})
    assert samples.values[ERRORS] == {("disk0", "read"): 4, ("disk1", "read"): 5}


def test_only_what_changed_is_dirty():
    samples = fresh()
    samples.put(LEVEL, [(("disk0",), 1)])
    samples.replace(TRAY, [(("disk0", "read"), 1)])
    samples.seed(COUNT, [()])
    assert samples.dirty == {LEVEL, TRAY, COUNT}
    samples.dirty.clear()
    samples.put(LEVEL, [(("disk0",), 1)])
    samples.replace(TRAY, [(("disk0", "read"), 1)])
    samples.seed(COUNT, [()])
    samples.rename(ERRORS, 0, {"disk0": "disk1"})
    samples.clear(ERRORS)
    assert samples.dirty == set()
    samples.clear(LEVEL)
    samples.count(COUNT, [((), 1)])
    assert samples.dirty == {LEVEL, COUNT}


def test_a_reply_with_very_many_values_of_a_label_is_left_where_it_would_only_add_to_other():
    samples = fresh()
    read = 0

    def many() -> Iterator[tuple[tuple[str, str], int]]:
        nonlocal read
        for read in range(100_000):
            yield (f"disk{read}", "read"), 1

    samples.replace(TRAY, many())
    assert list(samples.values[TRAY]) == [*((f"disk{number}", "read") for number in range(4)), ("other", "read")]
    assert read < 2 * MOST_LIMITED


def test_vms_with_very_many_series_share_what_is_left_and_a_modest_one_has_its_own():
    budget = Budget(2 * OWN)
    greedy, other, modest = (Samples(FAMILIES, budget) for _ in range(3))

    def latency(samples: Samples, number: int) -> int:
        samples.replace(LATENCY, ((("disk0", str(bound)), 1) for bound in range(number)))
        return len(samples.values[LATENCY])

    assert latency(greedy, 3 * OWN) == 3 * OWN
    assert latency(other, OWN + 1) == 0
    assert other.limited == OWN + 1
    assert latency(modest, OWN) == OWN
    greedy.release()
    assert latency(greedy, 4 * OWN) == 0
    assert latency(other, OWN + 1) == OWN + 1
