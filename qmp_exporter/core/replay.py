"""A recorded session, line by line -> the VM as its monitor told it.

A line is `{"t": seconds, "from": "qemu" or "client", "msg": what was on the wire}`; the queries are those that were
recorded, asked again as they were asked then.  One that was never asked is taken for one that this QEMU lacks, whatever
query-commands said: only then are all queries of a connect answered, as they were to the one who recorded.
"""

from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.family import Query
from qmp_exporter.core.protocol import Answer, Protocol
from qmp_exporter.core.session import Session
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import BadMessage, Event, Greeting, decode


class RecordingError(Exception):
    """The file is no recorded session; says which line and why."""


class _Line(Struct):
    t: float
    sender: Literal["qemu", "client"] = field(name="from")
    msg: Raw


class _Sent(Struct):
    execute: str
    id: int
    arguments: dict[str, Any] = {}


_NEGOTIATED = b'{"return": {}, "id": 0}\n'

_decode_line = msgspec.json.Decoder(_Line).decode
_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode
_decode_sent = msgspec.json.Decoder(_Sent).decode


def replay(
    dispatch: Dispatch, lines: Iterable[bytes], *, ended: bool = False, complain: Callable[[str], None] = lambda _: None
) -> Session:
    """The session and its VM as they stand after the last line.

    `ended`: the connection was lost after the last line, as when QEMU went away.

    `complain` gets what the exporter would have counted as a bad message; it goes on after it.

    :raise RecordingError: a line that is not of the form above.
    """
    recorded = [_parse(number, text) for number, text in enumerate(lines, start=1)]
    began = _began(recorded)
    vm = Vm(dispatch, at=began)
    player = _Player(vm, {line.msg.execute for line in recorded if isinstance(line.msg, _Sent)})
    for number, line in enumerate(recorded, start=1):
        if isinstance(line.msg, _Sent):
            player.asks(line.msg, line.t)
            continue
        for bad in player.says(line.msg, began + line.t, line.t):
            complain(f"line {number}: {bad.reason}: {bad}")
    if ended:
        player.session.end(began + recorded[-1].t if recorded else began)
    return player.session


class _Player:
    """The session of the exporter, as if it had asked what was recorded."""

    def __init__(self, vm: Vm, commands: Collection[str]) -> None:
        self.session = Session(vm, poll_interval=inf, chance=0.0)
        self._protocol = Protocol(vm.allowed, now=0.0)
        self._commands = commands
        self._queries = tuple(query for query in vm.queries if not query.instead_of_newer)

    def asks(self, sent: _Sent, now: float) -> None:
        """What is no query of ours is matched with its answer all the same, which is then left out."""
        query = next((query for query in self._queries if _asks(query, sent)), None)
        if query is not None:  # this QEMU would be asked the same with other arguments
            query = next((one for one in self.session.scheduler.available if one.reply == query.reply), query)
        if query is not None:
            self.session.scheduler.ask(query, now)
        self._protocol.sent(query or Query(sent.execute, object), sent.id, now)

    def says(self, line: bytes, at: float, now: float) -> list[BadMessage]:
        """The exporter's own negotiation needs no answer in the recording: it gets one as soon as it asks."""
        messages = self._protocol.receive(line + b"\n", now)
        if self._protocol.take_bytes_to_send():
            messages += self._protocol.receive(_NEGOTIATED, now)
        ours = [message for message in messages if not isinstance(message, Answer) or self._is_ours(message.query)]
        notices = self.session.receive(ours, at, now)
        if any(isinstance(message, Greeting) for message in messages):
            self.session.scheduler.set_available(self._commands)
        return [notice for notice in notices if isinstance(notice, BadMessage)]

    def _is_ours(self, query: Query) -> bool:
        return query in self._queries


def _asks(query: Query, sent: _Sent) -> bool:
    """What was sent is this query."""
    if query.command != sent.execute:
        return False
    if query.arguments_of is not None:
        return query.arguments_of.shape.fullmatch(_canonical(sent.arguments)) is not None
    return sent.arguments == (_decode_arguments(query.arguments) if query.arguments else {})


def _canonical(arguments: dict[str, Any]) -> bytes:
    """As those that depend on the VM are sent."""
    return msgspec.json.encode(arguments, order="sorted")


class _Parsed(NamedTuple):
    t: float
    msg: bytes | _Sent  # what QEMU said, or what the client asked


def _parse(number: int, text: bytes) -> _Parsed:
    try:
        line = _decode_line(text)
        return _Parsed(line.t, bytes(line.msg) if line.sender == "qemu" else _decode_sent(line.msg))
    except msgspec.MsgspecError as error:
        raise RecordingError(f"line {number}: {error}") from None


def _began(session: Iterable[_Parsed]) -> float:
    """When the connection was made, by the first event that says when it happened; 0 where none does."""
    for line in session:
        if isinstance(line.msg, bytes):
            try:
                message = decode(line.msg)
            except BadMessage:
                continue
            if isinstance(message, Event) and message.at > 0:
                return message.at - line.t
    return 0.0
