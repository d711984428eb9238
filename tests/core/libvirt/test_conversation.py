"""A conversation with a libvirt daemon -> the calls in their order, and what becomes of the answers."""

import struct

import pytest

from libvirtd import KEEPALIVE, QEMU, REMOTE, Domain, frame, text
from qmp_exporter.core.libvirt import wire
from qmp_exporter.core.libvirt.conversation import ANSWERS_WITHIN, OPEN_WITHIN, Conversation, Rejected
from qmp_exporter.core.libvirt.wire import Failure, Procedure, Reply

WEB = Domain("web01")
LISTED = struct.pack(">I", 1) + WEB.packed() + struct.pack(">I", 1)
INTRODUCTION = [(REMOTE, 66), (REMOTE, 1), (REMOTE, 60), (REMOTE, 316), (QEMU, 4), (REMOTE, 273)]


class Talk:
    """A conversation whose daemon answers when the test says so."""

    def __init__(self):
        self.now = 100.0
        self.conversation = Conversation("qemu:///system", self.now)
        self.calls = []
        self._hear_calls()

    def _hear_calls(self):
        raw = self.conversation.take_unsent()
        while raw:
            size, program, _, procedure, kind, serial, _ = struct.unpack(">IIIIIII", raw[:28])
            self.calls.append((program, procedure))
            self.last, self.kind, self.arguments = serial, kind, raw[28:size]
            raw = raw[size:]

    def answers(self, payload=bytes(4), status=0):
        program, procedure = self.calls[-1]
        heard = self.conversation.receive(frame(program, procedure, 1, self.last, payload, status), self.now)
        self._hear_calls()
        return heard

    def opens(self):
        self.answers(struct.pack(">Ii", 1, 0))
        for _ in range(4):
            self.answers()
        self.answers(LISTED)


def test_events_are_asked_for_before_the_list_so_that_none_is_lost():
    talk = Talk()
    talk.opens()
    assert talk.calls == INTRODUCTION
    assert talk.conversation.is_open
    assert talk.conversation.domains == (wire.Domain("web01", WEB.uuid, 1),)
    assert talk.conversation.deadline is None


def test_polkit_is_asked_where_the_daemon_wants_it():
    talk = Talk()
    talk.answers(struct.pack(">Ii", 1, 2))
    assert talk.calls[-1] == (REMOTE, 70)
    talk.answers()
    assert talk.calls[-1] == (REMOTE, 1)
    assert talk.arguments == struct.pack(">I", 1) + text("qemu:///system") + struct.pack(">I", 0)


def test_another_authentication_is_rejected():
    with pytest.raises(Rejected, match="another authentication than polkit's"):
        Talk().answers(struct.pack(">Ii", 1, 1))


def test_a_refusal_tells_what_was_refused():
    talk = Talk()
    talk.answers(struct.pack(">Ii", 1, 0))
    for _ in range(3):
        talk.answers()
    with pytest.raises(Rejected, match="read only") as rejected:
        talk.answers(struct.pack(">iiI", 29, 10, 1) + text("read only"), status=1)
    assert (rejected.value.procedure, rejected.value.code) == (Procedure.MONITOR_EVENTS, 29)


def test_a_ping_is_answered_at_once():
    talk = Talk()
    talk.conversation.receive(frame(KEEPALIVE, 1, 2, 0, b""), talk.now)
    assert talk.conversation.take_unsent() == frame(KEEPALIVE, 2, 2, 0, b"")


def test_answers_to_calls_are_told_and_those_to_nothing_too():
    talk = Talk()
    talk.opens()
    serial = talk.conversation.call(Procedure.GET_STATE, b"", talk.now)
    talk._hear_calls()
    assert talk.answers(b"\0\0\0\1") == [Reply(serial, b"\0\0\0\1")]
    assert talk.conversation.receive(frame(REMOTE, 212, 1, 77, b""), talk.now) == [Reply(77, b"")]


def test_the_deadline_is_for_whatever_needs_no_qemu():
    talk = Talk()
    assert talk.conversation.deadline == talk.now + OPEN_WITHIN
    talk.opens()
    talk.conversation.call(Procedure.MONITOR_COMMAND, b"", talk.now)
    assert talk.conversation.deadline is None
    talk.conversation.call(Procedure.GET_STATE, b"", talk.now)
    talk._hear_calls()
    assert talk.conversation.deadline == talk.now + ANSWERS_WITHIN
    talk.answers()
    assert talk.conversation.deadline is None


def test_a_new_list_takes_the_place_of_the_old_one_and_is_asked_for_once():
    talk = Talk()
    talk.opens()
    talk.conversation.list_again(talk.now)
    talk.conversation.list_again(talk.now)
    talk._hear_calls()
    assert talk.calls == [*INTRODUCTION, (REMOTE, 273)]
    assert talk.answers(struct.pack(">II", 0, 0)) == []
    assert talk.conversation.domains == ()


def test_a_list_that_fails_leaves_what_is_known():
    talk = Talk()
    talk.opens()
    talk.conversation.list_again(talk.now)
    talk._hear_calls()
    talk.answers(struct.pack(">iiI", 38, 7, 0), status=1)
    assert [domain.name for domain in talk.conversation.domains] == ["web01"]
    talk.conversation.list_again(talk.now)
    talk._hear_calls()
    assert talk.calls[-1] == (REMOTE, 273)


def test_the_failure_of_a_call_is_told():
    talk = Talk()
    talk.opens()
    serial = talk.conversation.call(Procedure.GET_STATE, b"", talk.now)
    talk._hear_calls()
    payload = struct.pack(">iiI", 42, 10, 1) + text("gone")
    assert talk.answers(payload, status=1) == [Failure(serial, 42, "gone")]
