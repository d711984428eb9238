"""Samples and a clock -> which troubles began and which are over: those that last, for as long as they are kept."""

from collections.abc import Mapping

import pytest

from qmp_exporter.core.current_troubles import CurrentTroubles, Rows, in_words
from qmp_exporter.core.evidence import RISES, SERIES
from qmp_exporter.core.trouble import Condition, Trouble, any_of, held, holds, rose, zeros

Samples = dict[str, Mapping[tuple[str, ...], float]]
NAMES = {"qemu_state": ("state",), "qemu_errors_total": ("device", "action"), "qemu_up": ()}


def row(when: Condition, **more: object) -> Trouble:
    return Trouble("QEMUTrouble", "warning", "in trouble", "first", "A VM.", "", "", "", when, **more)


class Told:
    """A VM with one row, and what was told of it: the seconds and the labels."""

    def __init__(self, when: Condition, **more: object) -> None:
        self.samples: Samples = {}
        self.troubles = CurrentTroubles(
            Rows([row(when, **more)]), lambda name: self.samples.get(name, {}), NAMES.__getitem__
        )
        self.began: list[tuple[float, dict[str, str]]] = []
        self.over: list[tuple[float, dict[str, str]]] = []

    def update(self, now: float, **samples: Mapping[tuple[str, ...], float]) -> "Told":
        self.samples.update(samples)
        change = self.troubles.update(now, 1000 + now)
        self.began += [(now, dict(one.labels)) for one in change.began]
        self.over += [(now, dict(one.labels)) for one in change.over]
        return self

    @property
    def stands(self) -> bool:
        return bool(self.troubles.standing)


def test_what_holds_is_told_once_and_once_when_it_is_over():
    told = Told(holds("qemu_state", state="hung|dead"))
    told.update(0, qemu_state={("hung",): 0, ("dead",): 0}).update(1, qemu_state={("hung",): 1, ("dead",): 0}).update(2)
    assert told.began == [(1, {"state": "hung"})]
    assert told.troubles.standing[0].since == 1001
    told.update(3, qemu_state={("hung",): 0, ("dead",): 1})
    assert told.began == [(1, {"state": "hung"}), (3, {"state": "dead"})]
    assert told.over == [(3, {"state": "hung"})]


def test_what_does_not_last_is_none():
    told = Told(zeros("qemu_up"), lasts=10)
    for now, value in enumerate((0, 0, 1, *[0] * 10, 0)):
        told.update(now, qemu_up={(): value})
    assert told.began == [(13, {})]


def test_what_is_kept_is_over_so_much_later_and_no_new_trouble_when_it_comes_again_meanwhile():
    told = Told(zeros("qemu_up"), keeps=5)
    for now, value in enumerate((0, 1, 1, 0, 1, 1, 1, 1, 1, 1)):
        told.update(now, qemu_up={(): value})
    assert told.began == [(0, {})]
    assert told.over == [(8, {})]


def test_a_counter_that_rose_is_told_by_the_labels_that_are_not_added_up():
    told = Told(rose("qemu_errors_total", 600, without=("action",)))
    told.update(0, qemu_errors_total={("sda", "stop"): 0, ("sdb", "stop"): 5})
    assert told.began == [(0, {"device": "sdb"})]  # what nobody saw begin is new to us
    told.update(1, qemu_errors_total={("sda", "stop"): 1, ("sda", "report"): 1, ("sdb", "stop"): 5})
    assert told.began[1:] == [(1, {"device": "sda"})]
    assert told.update(600.5).over == [(600.5, {"device": "sdb"})]
    assert told.update(601).over[1:] == [(601, {"device": "sda"})]


@pytest.mark.parametrize(("values", "stands"), [((0, 1, 2), False), ((0, 1, 2, 3), True), ((2, 3, 1, 2), True)])
def test_rises_are_added_up_also_where_a_counter_began_again(values, stands):
    told = Told(rose("qemu_errors_total", 600, by=2))
    told.update(-1000, qemu_errors_total={("sda", "stop"): values[0]})
    for now, value in enumerate(values[1:]):
        told.update(now, qemu_errors_total={("sda", "stop"): value})
    assert told.stands is stands


def test_of_a_counter_that_rises_without_end_a_few_rises_are_kept():
    told = Told(rose("qemu_errors_total", 600))
    for now in range(10 * RISES):
        told.update(now, qemu_errors_total={("sda", "stop"): now})
    (rises,) = told.troubles._past.rises["qemu_errors_total"].values()
    assert len(rises) == RISES


def test_a_vm_that_renames_its_disks_without_end_fills_no_memory():
    told = Told(any_of(rose("qemu_errors_total", 600), held("qemu_state", 900)))
    for now in range(3 * SERIES):
        told.update(now, qemu_errors_total={(f"sd{now}", "stop"): 1}, qemu_state={(f"state{now}",): 1})
    past = told.troubles._past
    assert len(past.rises["qemu_errors_total"]) == len(past.held_until["qemu_state"]) == SERIES
    assert (f"sd{now}", "stop") in past.rises["qemu_errors_total"]
    assert (f"state{now}",) in past.held_until["qemu_state"]


def test_a_state_that_went_with_the_monitor_counts_for_a_while():
    told = Told(held("qemu_state", 900, state="io-error"))
    told.update(0, qemu_state={("io-error",): 1}).update(1, qemu_state={}).update(900)
    assert told.over == []
    assert told.update(901).over == [(901, {"state": "io-error"})]
    told.update(902, qemu_state={("io-error",): 1}).update(903, qemu_state={("io-error",): 0})
    assert told.over[1:] == [(903, {"state": "io-error"})]


def test_one_of_two_conditions_is_enough_and_both_are_one_trouble():
    told = Told(any_of(held("qemu_state", 900, without=("state",), state="hung"), zeros("qemu_up")))
    told.update(0, qemu_state={("hung",): 1}, qemu_up={(): 0})
    assert told.began == [(0, {})]


def test_the_worst_are_first_and_of_those_the_oldest():
    rows = [
        Trouble(f"QEMU{severity}{number}", severity, "", "", "A.", "", "", "", holds("qemu_state", state=str(number)))
        for severity, number in (("warning", 1), ("critical", 2), ("critical", 3))
    ]
    samples = {(str(number),): 0.0 for number in (1, 2, 3)}
    troubles = CurrentTroubles(Rows(rows), lambda _: samples, NAMES.__getitem__)
    for now, number in enumerate((1, 3, 2)):
        samples[str(number),] = 1
        troubles.update(now, now)
    assert [one.trouble.name for one in troubles.standing] == ["QEMUcritical3", "QEMUcritical2", "QEMUwarning1"]


def test_a_text_names_what_it_is_about():
    text = 'VM {{ $labels.vm }}: qemu_vm_state{vm="{{ $labels.vm }}"}, {{ $labels.tenant }}'
    assert in_words(text, {"vm": "web01"}) == 'VM web01: qemu_vm_state{vm="web01"}, ?'


@pytest.mark.parametrize(
    ("name", "summary"), [("VMCrashed", "A VM."), ("QEMUVMCrashed", "A VM"), ("QEMUVMCrashed", "VM {{ $labels.vm }}.")]
)
def test_a_row_that_is_none_is_refused(name, summary):
    with pytest.raises(ValueError, match=name):
        Trouble(name, "warning", "", "", summary, "", "", "", None)
