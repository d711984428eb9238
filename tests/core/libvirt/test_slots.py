"""Callers -> at most a few at a time, in the order in which they came."""

from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.libvirt.slots import Slots


class Caller:
    def __init__(self, told):
        self._told = told

    def has_slot(self):
        self._told.append(self)


def test_the_one_who_has_waited_longest_is_next():
    told = []
    first, second, third = (Caller(told) for _ in range(3))
    slots = Slots(1)
    assert slots.take(first)
    assert slots.take(first)
    assert not slots.take(second)
    assert not slots.take(third)
    slots.give_back(first)
    assert told == [second]
    assert slots.holders == (second,)
    assert not slots.take(first)
    slots.give_back(second)
    assert told == [second, third]


def test_who_no_longer_waits_is_passed_over():
    told = []
    first, second, third = (Caller(told) for _ in range(3))
    slots = Slots(1)
    assert [slots.take(one) for one in (first, second, third)] == [True, False, False]
    slots.give_back(second)
    slots.give_back(first)
    assert told == [third]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_there_are_never_more_than_allowed_and_none_is_left_over(steps):
    told = []
    callers = [Caller(told) for _ in range(10)]
    slots = Slots(4)
    waiting = set()
    for takes, number in steps:
        caller = callers[number]
        if takes:
            if not slots.take(caller):
                waiting.add(number)
        else:
            slots.give_back(caller)
            waiting.discard(number)
        waiting -= {callers.index(one) for one in slots.holders}
        assert len(slots.holders) <= 4
        assert not waiting or slots.is_full
