"""libvirt's words -> QEMU's, and why it says nothing -> what to do."""

import json

import pytest

from qmp_exporter.catalog.vm import STATE
from qmp_exporter.core.libvirt import states
from qmp_exporter.core.libvirt.conversation import Rejected
from qmp_exporter.core.libvirt.wire import Procedure


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ((1, 1), "running"),
        ((3, 1), "paused"),
        ((3, 5), "io-error"),
        ((3, 6), "watchdog"),
        ((3, 10), "guest-panicked"),
        ((3, 99), "paused"),
        ((6, 1), "guest-panicked"),
        ((7, 0), "suspended"),
        ((99, 0), "unknown"),
    ],
)
def test_a_state_of_libvirt_is_one_of_qemu(told, state):
    assert json.loads(states.status(*told)) == {"status": state, "running": state == "running"}


def test_every_state_is_one_that_the_metric_has():
    for state in range(12):
        for reason in range(20):
            assert json.loads(states.status(state, reason))["status"] in STATE.values


@pytest.mark.parametrize(
    ("detail", "announced"), [(0, True), (1, True), (2, False), (3, True), (4, True), (5, False), (6, True), (99, True)]
)
def test_only_a_crash_and_a_failure_come_unannounced(detail, announced):
    assert states.end(detail).announced is announced


@pytest.mark.parametrize(
    ("procedure", "code", "state", "words"),
    [
        (Procedure.MONITOR_EVENTS, 29, "denied", "is for reading only"),
        (Procedure.AUTH_POLKIT, 45, "denied", "not in the group libvirt"),
        (Procedure.AUTH_LIST, 0, "denied", "not in the group libvirt"),
        (Procedure.LIST_ALL_DOMAINS, 88, "denied", "a rule of polkit forbids LIST_ALL_DOMAINS"),
        (Procedure.OPEN, 38, "error", "OPEN failed"),
    ],
)
def test_a_rejection_says_what_to_do(procedure, code, state, words):
    found, said = states.why(Rejected(procedure, code, "no"), "/run/libvirt/libvirt-sock-ro")
    assert found == state
    assert words in said
    assert "libvirt says: no" in said
