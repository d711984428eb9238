"""Messages of one monitor and the time -> its VM is told, and the query to send next.  No I/O and no clock.

A session lasts from an attempt to connect to the loss of the connection; the VM outlives it.  Bytes become messages in
`protocol`, so that a manager's API that relays typed messages can feed a session as well.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from .effects import Effect, EndAnnounced
from .family import Query
from .protocol import Answer, LateAnswer, Message, Refusal, StateHint
from .query_scheduler import QUERY_COMMANDS, CommandInfo, QueryScheduler
from .vm import Vm
from .wire import BadMessage, Event, Greeting, typed

HINT = "MIGRATION"  # an event that has the run state asked, and says neither that QEMU stays nor that it ends
_decode_commands = msgspec.json.Decoder(list[CommandInfo]).decode


class Outcome(NamedTuple):
    """What became of a query.

    `result` is "ok", "overtaken" by an event, "timeout", or QEMU's error class; `seconds` is None where QEMU gave none;
    `unreadable` says what is wrong with an answer, and is empty where nothing is.
    """

    query: Query
    result: str
    seconds: float | None
    unreadable: str = ""


Notice = Outcome | LateAnswer | BadMessage


class Turn(NamedTuple):
    """A query to send now, what there is to be told, and when the next turn is due on the clock of `now`."""

    query: Query | None
    arguments: bytes  # of the query
    notices: Sequence[Notice]
    due: float


class Session:
    """`at` is always the time in seconds since the epoch, `now` that on a clock that never jumps."""

    def __init__(self, vm: Vm, poll_interval: float, chance: float, unasked: Collection[str] = ()) -> None:
        """`chance` in [0, 1) spreads the polls of many VMs; `unasked`: commands that are never sent."""
        self.vm = vm
        self._chance = chance
        queries = tuple(query for query in vm.queries if query.command not in unasked)
        self.scheduler = QueryScheduler(queries, poll_interval, vm.facts, hears_events=vm.hears_events)
        self._is_running = self._seeded = self._resynced = False

    def receive(self, messages: Iterable[Message], at: float, now: float) -> list[Notice]:
        """All that one read brought, in the order of the wire."""
        notices: list[Notice] = []
        vm, on_event = self.vm, self.scheduler.on_event  # looked up once: storms come through here
        for message in messages:
            if isinstance(message, Event):
                if effects := vm.event(message, at):
                    notices += self._carry_out(effects)
                on_event(message.name)
            else:
                notices += self._take(message, at, now)
        vm.heard()
        return notices

    def turn(self, at: float, now: float) -> Turn:
        """What it is time for; a query that is returned counts as sent."""
        notices = []
        if late := self.scheduler.in_flight.take_timeout(now):
            notices.append(Outcome(late, "timeout", None))
        if self.scheduler.in_flight.take_hang(now):
            self.vm.monitor("hung", at)
        query = self.scheduler.next(now)
        arguments = query.arguments_for(self.vm.facts) if query else b""
        return Turn(query, arguments, notices, now + self.scheduler.due(now))

    def end(self, at: float, *, is_detached: bool = False) -> None:
        """The connection is lost, or there never was one.  `is_detached`: that says nothing of the VM."""
        if self._is_running:
            self._is_running = False
            self.vm.disconnected(at, is_detached=is_detached)

    def waits(self, now: float) -> float:
        """For how many seconds nothing that was asked has been answered."""
        since = self.scheduler.in_flight.waits_since if self._is_running else None
        return 0.0 if since is None else now - since

    def _take(self, message: Message, at: float, now: float) -> Iterable[Notice]:
        match message:
            case Answer():
                return self._answered(message, at, now)
            case Greeting():
                self._began(message, at, now)
            case LateAnswer() | BadMessage():
                return (message,)
            case StateHint():
                self.scheduler.on_event(HINT)
            case Refusal():  # there is no session to end
                pass
        return ()

    def _began(self, greeting: Greeting, at: float, now: float) -> None:
        self._is_running = True
        self.scheduler.start(now, self._chance)
        self.vm.connected(greeting, at)
        if self.vm.facts.ending:  # said during the handshake, or before a VM that dialled in was watched
            self.scheduler.expect_end()

    def _answered(self, answer: Answer, at: float, now: float) -> Iterable[Notice]:
        query, value, error, seconds, by_qemu = answer
        if by_qemu:
            self.vm.alive(query, at)
        bad: Sequence[BadMessage] = ()
        if query is QUERY_COMMANDS:
            bad = self._commands(value, now)
        elif value is None:
            self.scheduler.failed(query, now)
            self.vm.failure(query)
        elif self.scheduler.answered(query, now):
            bad = self._carry_out(self.vm.reply(query, value, at))
        else:
            error = "overtaken"
        self._tell_how_far_it_is(at)
        return (Outcome(query, error or "ok", seconds if by_qemu else None, "; ".join(map(str, bad))), *bad)

    def _commands(self, value: Raw | None, now: float) -> Sequence[BadMessage]:
        """Where QEMU will not say what it has, it is asked all: an unknown command costs one error reply."""
        self.scheduler.answered(QUERY_COMMANDS, now)
        names = None
        try:
            names = None if value is None else [info.name for info in typed(_decode_commands, value)]
        except BadMessage as bad:
            return (bad.without_frames(),)
        finally:
            self.scheduler.set_available(names)
        return ()

    def _tell_how_far_it_is(self, at: float) -> None:
        if not self._seeded and self.scheduler.knows_available:
            self._seeded = True
            self.vm.seed(self.scheduler.available)
        if self.scheduler.resynced and not self._resynced:
            self._resynced = True
            self.vm.resynced(at)

    def _carry_out(self, effects: Sequence[Effect]) -> Sequence[BadMessage]:
        """What the VM could not do by itself: it knows no schedule."""
        for effect in effects:
            if isinstance(effect, EndAnnounced):
                self.scheduler.expect_end()
        return [effect for effect in effects if isinstance(effect, BadMessage)]
