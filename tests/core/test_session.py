"""Messages of a monitor and the time -> its VM, the queries that are sent, and what the daemon is told."""

import msgspec
import pytest
from msgspec import Raw

from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.vm import QUERY_STATUS
from qmp_exporter.core.in_flight import HUNG, PATIENCE, STUCK
from qmp_exporter.core.protocol import Answer, LateAnswer
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.core.session import Outcome, Session
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import BadMessage, Event, Greeting

AT = 1_700_000_000.0  # seconds since the epoch, when the clock of `now` is at 0


class Monitor:
    """A QEMU that answers when the test says so."""

    def __init__(self, *commands: str, unasked: tuple[str, ...] = ()) -> None:
        self.vm = Vm(CATALOG, AT)
        self.session = Session(self.vm, poll_interval=15.0, chance=0.0, unasked=unasked)
        self.now = 0.0
        self.asked: list[str] = []
        self._commands = commands

    def says(self, *messages):
        return self.session.receive(messages, AT + self.now, self.now)

    def connects(self) -> None:
        self.says(Greeting("10.0.2"))
        assert self.turn().query is QUERY_COMMANDS
        self.answers(QUERY_COMMANDS, [{"name": name} for name in self._commands])

    def turn(self, seconds: float = 0.0):
        self.now += seconds
        turn = self.session.turn(AT + self.now, self.now)
        self.asked += [turn.query.command] if turn.query else []
        return turn

    def answers(self, query, value, error=""):
        raw = None if error else Raw(msgspec.json.encode(value))
        return self.says(Answer(query, raw, error, 0.25))

    def values(self, family: str) -> dict:
        return dict(self.vm.values(family))


@pytest.fixture
def monitor() -> Monitor:
    monitor = Monitor("query-status")
    monitor.connects()
    return monitor


RUNNING = {"status": "running", "running": True}


def test_nothing_is_asked_before_the_negotiation_is_done():
    assert Monitor().turn(1000.0).query is None


def test_the_first_query_is_what_this_qemu_can_be_asked_and_the_rest_follows(monitor):
    assert monitor.turn().query is QUERY_STATUS
    assert monitor.values("qemu_up") == {(): 0}
    assert monitor.answers(QUERY_STATUS, RUNNING) == [Outcome(QUERY_STATUS, "ok", 0.25)]
    assert monitor.values("qemu_up") == {(): 1}


def test_what_is_unasked_is_never_asked():
    monitor = Monitor("query-status", "query-block", unasked=("query-block",))
    monitor.connects()
    while query := monitor.turn(1.0).query:
        monitor.answers(query, RUNNING)
    assert monitor.asked == ["query-commands", "query-status"]


def test_a_qemu_that_will_not_say_what_it_has_is_asked_all():
    monitor = Monitor()
    monitor.says(Greeting("10.0.2"))
    monitor.turn()
    assert monitor.answers(QUERY_COMMANDS, None, "CommandNotFound") == [
        Outcome(QUERY_COMMANDS, "CommandNotFound", 0.25)
    ]
    for _ in range(100):
        if query := monitor.turn(2.0).query:
            monitor.answers(query, None, "CommandNotFound")
    assert {query.command for query in monitor.session.scheduler.available if query.every != "event"} <= {
        *monitor.asked
    }
    assert monitor.values("qemu_up") == {(): 1}


def test_a_list_of_commands_that_cannot_be_read_is_told_and_all_is_asked():
    monitor = Monitor()
    monitor.says(Greeting("10.0.2"))
    monitor.turn()
    outcome, bad = monitor.answers(QUERY_COMMANDS, [5])
    assert (outcome.result, bad.reason) == ("ok", "shape")
    assert outcome.unreadable == str(bad)
    assert monitor.turn(1.0).query is not None


def test_a_reply_that_is_overtaken_by_an_event_is_not_read_and_asked_again(monitor):
    monitor.turn()
    monitor.says(Event("STOP", Raw(b"{}"), AT))
    assert monitor.answers(QUERY_STATUS, RUNNING) == [Outcome(QUERY_STATUS, "overtaken", 0.25)]
    assert monitor.values("qemu_vm_running") == {(): 0}
    assert monitor.turn(1.0).query is QUERY_STATUS


def test_an_error_is_told_by_its_class(monitor):
    monitor.turn()
    assert monitor.answers(QUERY_STATUS, None, "GenericError") == [Outcome(QUERY_STATUS, "GenericError", 0.25)]


def test_what_is_bad_is_told_with_what_it_spoiled(monitor):
    monitor.turn()
    outcome, bad = monitor.answers(QUERY_STATUS, [])
    assert outcome == Outcome(QUERY_STATUS, "ok", 0.25, str(bad))
    (bad,) = monitor.says(Event("RTC_CHANGE", Raw(b'{"offset": "much"}'), AT))
    assert bad.reason == "shape"
    passed_on = BadMessage("json", "no JSON"), LateAnswer(1)
    assert monitor.says(*passed_on) == [*passed_on]


def test_a_query_without_an_answer_is_told_once_and_then_that_qemu_hangs(monitor):
    monitor.turn()
    assert monitor.turn(PATIENCE).notices == [Outcome(QUERY_STATUS, "timeout", None)]
    assert monitor.turn(1.0).notices == []
    assert monitor.vm.monitor_state == "connected"
    monitor.turn(HUNG)
    assert monitor.vm.monitor_state == "hung"
    assert monitor.session.waits(monitor.now) == monitor.now
    monitor.answers(QUERY_STATUS, RUNNING)
    assert monitor.vm.monitor_state == "connected"
    assert monitor.session.waits(monitor.now) == 0.0


def test_a_query_that_is_given_up_makes_way_and_its_late_reply_is_read(monitor):
    monitor.turn()
    assert monitor.turn(STUCK).query is QUERY_STATUS
    monitor.answers(QUERY_STATUS, RUNNING)
    assert monitor.values("qemu_vm_running") == {(): 1}


def test_the_next_turn_is_due_when_something_may_have_to_be_told(monitor):
    monitor.turn()
    due = monitor.turn().due
    assert due == monitor.now + PATIENCE
    monitor.answers(QUERY_STATUS, RUNNING)
    assert due < monitor.turn().due <= monitor.now + 15.0


def test_an_announced_end_leaves_qemu_in_peace(monitor):
    monitor.says(Event("SHUTDOWN", Raw(b'{"guest": true, "reason": "guest-shutdown"}'), AT))
    assert monitor.turn().query is None


def test_an_end_that_was_announced_before_the_negotiation_is_no_less_one():
    monitor = Monitor("query-status")
    shutdown = Event("SHUTDOWN", Raw(b'{"guest": true, "reason": "guest-shutdown"}'), AT)
    monitor.says(shutdown, Greeting("10.0.2"))
    assert monitor.turn().query is None
    monitor.says(Event("STOP", Raw(b"{}"), AT))
    assert monitor.turn().query is QUERY_COMMANDS


def test_the_end_of_a_session_is_counted_only_if_it_had_begun(monitor):
    never = Monitor()
    never.session.end(AT)
    assert sum(never.values("qemu_monitor_disconnects_total").values()) == 0
    monitor.session.end(AT)
    monitor.session.end(AT)
    assert sum(monitor.values("qemu_monitor_disconnects_total").values()) == 1
    assert monitor.session.waits(monitor.now + 100) == 0.0
