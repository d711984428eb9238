"""How often it failed -> how long to wait."""

from hypothesis import given
from hypothesis import strategies as st

from qmp_exporter.core.backoff import BUSY, LONGEST, delay, least_delay

chances = st.floats(0, 1, exclude_max=True)
failures = st.integers(1, 10**9)


def test_it_doubles_up_to_the_longest():
    assert [delay(number, 0.5) for number in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(failures, chances)
def test_it_is_never_without_a_pause_nor_much_longer_than_the_longest(number, chance):
    assert 0.75 <= delay(number, chance) <= LONGEST * 1.25


@given(failures, chances)
def test_chance_moves_it_by_a_quarter_at_most(number, chance):
    middle = delay(number, 0.5)
    assert 0.75 * middle <= delay(number, chance) <= 1.25 * middle


@given(chances)
def test_a_busy_monitor_is_asked_once_more_soon(chance):
    assert delay(1, chance, busy=True) < 2


@given(st.integers(2, 10**9), chances)
def test_and_then_left_to_its_owner_for_a_minute_or_more(number, chance):
    assert BUSY <= delay(number, chance, busy=True) < 2 * BUSY


def test_the_more_often_in_a_row_a_new_socket_came_at_once_the_longer_it_is_waited_for_all_the_same():
    assert [least_delay(number) for number in (0, 1, 2, 3, 10, 10**9)] == [0, 0.2, 0.4, 0.8, LONGEST, LONGEST]
