"""Bytes of a monitor -> its messages in the order of the wire; queries -> bytes to send.  No I/O and no clock.

The shapes and the handshake are those of docs/interop/qmp-spec.rst.
"""

from typing import NamedTuple

from msgspec import Raw

from .allow_list import AllowList
from .budget import Budget
from .family import Query
from .lines import Lines
from .wire import BadMessage, Event, Failure, Greeting, Reply, decode, excerpt

GREETING_DEADLINE = 5.0  # seconds; QEMU greets at once, so that silence means that another client holds the monitor
NEGOTIATION_DEADLINE = 10.0  # seconds; qmp_capabilities waits for the main loop, which a slow disk may hold
MAX_LINE = 8 * 1024 * 1024  # bytes; the longest replies, of query-block with long chains, stay below one MiB
MAX_FIRST_LINE = 64 * 1024  # the same before the negotiation is done: a greeting or an event
FIRST_WORDS = 512  # bytes that are kept of a peer that does not greet
MAX_ASKED = 8  # queries that may still be answered, those included that were given up

CAPABILITIES = Query("qmp_capabilities", dict)

# The error class of "Capabilities negotiation is already complete" (monitor/qmp-cmds-control.c).
# A client that leaves at once may leave its qmp_capabilities in QEMU's dispatcher, which then executes it for us.
ALREADY_NEGOTIATED = "CommandNotFound"


class NotAllowed(Exception):
    """A command that is not on the allow-list was about to be sent: a bug of ours, stopped where bytes leave."""


class Answer(NamedTuple):
    """To a query of ours: the raw `return`, or None and QEMU's error class; and how many seconds it took.

    `by_qemu` is false where a manager has answered in its place, by what it knows.
    """

    query: Query
    value: Raw | None
    error: str
    seconds: float
    by_qemu: bool = True


class LateAnswer(NamedTuple):
    """To a query of ours that is no longer waited for."""

    id: int


class StateHint(NamedTuple):
    """The run state may be another, though QEMU has sent no event."""


class Refusal(NamedTuple):
    """The session is over before it began: qmp_capabilities was answered by this error class."""

    error: str


# A Greeting is told when the negotiation is done, a BadMessage where the peer sent something that is no QMP.
Message = Event | Answer | Greeting | LateAnswer | Refusal | StateHint | BadMessage


def written(query: Query, arguments: bytes, identifier: int | None = None) -> bytes:
    """A query as QEMU reads it; None: without an id."""
    number = b"" if identifier is None else b', "id": %d' % identifier
    rest = b', "arguments": ' + arguments if arguments else b""
    return b'{"execute": "%s"%s%s}' % (query.command.encode(), number, rest)


class Protocol:
    """One session with one monitor, from the first byte to the last.  Times are seconds on a clock that never jumps.

        no greeting ──greeting──► negotiating ──reply to qmp_capabilities──► open

    Events are told in every state.  `deadline` is when the peer must have taken the next step; None once it is open.
    """

    __slots__ = (
        "_allowed",
        "_asked",
        "_greeting",
        "_greeting_within",
        "_lines",
        "_max_line",
        "_next_id",
        "_unsent",
        "deadline",
        "first_words",
        "is_open",
    )

    def __init__(
        self,
        allowed: AllowList,
        now: float,
        max_line: int = MAX_LINE,
        budget: Budget | None = None,
        greeting_within: float | None = None,
    ) -> None:
        """`allowed`: what may be sent, beside qmp_capabilities; `now`: when the attempt to connect begins.

        `budget`: bytes that it shares with other sessions for long lines.
        """
        self._allowed = allowed
        self._max_line = max_line
        self._lines = Lines(min(max_line, MAX_FIRST_LINE), budget)
        self._asked: dict[int, tuple[Query, float]] = {}
        self._next_id = 0
        self._unsent: list[bytes] = []
        self._greeting: Greeting | None = None
        self.first_words = b""  # of a peer that does not greet: they tell what it is
        self._greeting_within = greeting_within or GREETING_DEADLINE
        self.deadline: float | None = now + self._greeting_within
        self.is_open = False

    def allow(self, allowed: AllowList, budget: Budget, max_line: int = MAX_LINE) -> None:
        """From now on, once it is open, this may be sent, and lines may be as long."""
        self._allowed = allowed
        self._lines.grow(max_line, budget)

    @property
    def has_greeted(self) -> bool:
        return self._greeting is not None

    # --- what comes in

    def receive(self, chunk: bytes, now: float) -> list[Message]:
        """All that this chunk completed."""
        if self._greeting is None:
            self.first_words += chunk[: FIRST_WORDS - len(self.first_words)]
        too_long = self._lines.too_long
        messages: list[Message] = []
        for line in self._lines.feed(chunk):
            try:
                message = decode(line)
            except BadMessage as bad:
                messages.append(bad.without_frames())
                continue
            if isinstance(message, Event):
                messages.append(message)
            elif (told := self._take(message, now)) is not None:
                messages.append(told)
        if skipped := self._lines.too_long - too_long:
            messages += [BadMessage("size", f"a message of more than {self._lines.limit} bytes")] * skipped
        return messages

    def end(self) -> BadMessage | None:
        """The stream is over: was it inside a message?  Of that nothing is kept."""
        was_inside = self._lines.unfinished
        self._lines.clear()
        return BadMessage("truncated", "the stream ended inside a message") if was_inside else None

    def silence(self) -> tuple[str, str]:
        """The deadline has passed -> the state of the monitor (qemu_monitor_state), and why in words."""
        if self._greeting is not None:
            return "error", f"greeted, but did not negotiate within {NEGOTIATION_DEADLINE:.0f} s"
        within = f"within {self._greeting_within:g} s"
        if self.first_words:
            return "error", f"peer sent data but no QMP greeting {within}: {excerpt(self.first_words)}"
        return "busy", f"no greeting {within}: another client holds the monitor"

    def _take(self, message: Greeting | Reply | Failure, now: float) -> Message | None:
        match message:
            case Reply(identifier, value):
                return self._answer(identifier, value, "", now)
            case Failure(identifier, error):
                return self._answer(identifier, None, error or "unknown", now)
        if self._greeting is not None:
            return BadMessage("unexpected", "a second greeting")
        self._greeting, self.first_words = message, b""
        self.deadline = now + NEGOTIATION_DEADLINE
        self.ask(CAPABILITIES, now)
        return None

    def _answer(self, identifier: int, value: Raw | None, error: str, now: float) -> Message:
        query, sent_at = self._asked.pop(identifier, (None, 0.0))
        if query is None:
            if 0 < identifier < self._next_id:
                return LateAnswer(identifier)
            return BadMessage("unexpected", "a reply to nothing that was asked")
        if query is not CAPABILITIES:
            return Answer(query, value, error, now - sent_at)
        if self._greeting is None or (value is None and error != ALREADY_NEGOTIATED):
            return Refusal(error)
        self.is_open, self.deadline = True, None
        self._lines.limit = self._max_line
        return self._greeting

    # --- what goes out

    def ask(self, query: Query, now: float, arguments: bytes | None = None) -> None:
        """Put a query among the bytes to send.  `arguments`: None for those that it always has.

        :raise NotAllowed: it is not on the allow-list.
        """
        arguments = query.arguments if arguments is None else arguments
        if query is not CAPABILITIES and not self._allowed.allows(query.command, arguments):
            raise NotAllowed(f"{query.command} {arguments.decode(errors='replace')}".rstrip())
        self._unsent.append(written(query, arguments, self._next_id))
        self.sent(query, self._next_id, now)

    def sent(self, query: Query, identifier: int, now: float) -> None:
        """Take note of a query that was sent, be it by the client of a recorded session."""
        self._next_id = max(self._next_id, identifier + 1)
        self._asked[identifier] = query, now
        if len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]

    def take_bytes_to_send(self) -> bytes:
        unsent = b"".join(self._unsent)
        self._unsent.clear()
        return unsent
