"""Counters and a clock -> the CPU and the disk traffic of the last minutes."""

import pytest

from qmp_exporter.core.activity import CPU, DISK, POINTS, Activity

Told = dict[str, dict[tuple[str, ...], float]]


def after(*steps: tuple[float, Told]) -> Activity:
    activity = Activity()
    for now, told in steps:
        activity.note(lambda name, told=told: told.get(name, {}), now)
    return activity


def used(cpu: float, read: float = 0, written: float = 0) -> Told:
    return {CPU: {(): cpu}, DISK[0]: {("sda",): read, ("sdb",): 0}, DISK[1]: {("sda",): written}}


def test_each_point_is_what_was_used_in_a_second_since_the_one_before():
    activity = after((0, used(1)), (15, used(4, read=1500, written=3000)), (35, used(4, read=1500, written=3000)))
    assert list(activity.cpus) == pytest.approx([0.2])
    assert list(activity.disk_bytes) == pytest.approx([300])


def test_where_nothing_moves_for_long_the_point_is_zero():
    activity = after((0, used(1)), (15, used(1)), (30, used(1)), (45, used(1)), (60, used(1)))
    assert list(activity.cpus) == [0, 0]


def test_what_comes_too_soon_is_no_point_and_not_lost():
    activity = after((0, used(1)), (5, used(2)), (20, used(5)))
    assert list(activity.cpus) == pytest.approx([0.2])


def test_they_are_the_last_minutes_only():
    activity = after(*((15 * number, used(number**2)) for number in range(3 * POINTS)))
    assert len(activity.cpus) == len(activity.disk_bytes) == POINTS
    assert activity.cpus[-1] == pytest.approx((2 * 3 * POINTS - 3) / 15)


@pytest.mark.parametrize("then", [used(0.5), {}])
def test_of_another_process_and_of_a_vm_that_is_lost_there_are_none(then):
    assert list(after((0, used(1)), (15, used(2)), (30, then)).cpus) == []


def test_a_vm_without_the_one_may_have_the_other():
    activity = after((0, {CPU: {(): 1}}), (15, {CPU: {(): 2}}))
    assert len(activity.cpus) == 1
    assert len(activity.disk_bytes) == 0
