"""A recorded session, line by line -> the VM as its monitor told it.

A line is `{"t": seconds, "from": "qemu" or "client", "msg": what was on the wire}`; the queries are those that were
recorded, asked again as they were asked then.  One that was never asked is taken for one that this QEMU lacks, whatever
query-commands said: only then are all queries of a connect answered, as they were to whoever recorded.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.family import Query
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import BadMessage, Event, Failure, Greeting, Message, Reply, decode


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


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode
_decode_sent = msgspec.json.Decoder(_Sent).decode


def replay(
    dispatch: Dispatch, lines: Iterable[bytes], *, ended: bool = False, complain: Callable[[str], None] = lambda _: None
) -> Vm:
    """`ended`: the connection was lost after the last line, as when QEMU went away.

    `complain` gets what the exporter would have counted as a bad message; it goes on after it.

    :raise RecordingError: a line that is not of the form above.
    """
    session = [_parse(number, text) for number, text in enumerate(lines, start=1)]
    began = _began(session)
    vm = Vm(dispatch, poll_interval=float("inf"), at=began)
    queries = {_asks(query): query for query in dispatch.queries if not query.instead_of_newer}
    commands = {line.msg.execute for line in session if isinstance(line.msg, _Sent)}
    asked: dict[int, Query] = {}
    at = began
    for number, line in enumerate(session, start=1):
        at = began + line.t
        if isinstance(line.msg, _Sent):
            query = queries.get((line.msg.execute, _canonical(line.msg.arguments)))
            if query is not None:
                asked[line.msg.id] = query
                vm.scheduler.ask(query, line.t)
            continue
        try:
            message = decode(line.msg)
            _hear(vm, message, asked, at, line.t)
            if isinstance(message, Greeting):
                vm.scheduler.set_available(commands)
        except BadMessage as bad:
            complain(f"line {number}: {bad.reason}: {bad}")
        vm.heard()
    if ended:
        vm.disconnected(at)
    return vm


def _asks(query: Query) -> tuple[str, bytes]:
    """What tells a query from others on the wire."""
    return query.command, _canonical(_decode_arguments(query.arguments) if query.arguments else {})


def _canonical(arguments: dict[str, Any]) -> bytes:
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


def _hear(vm: Vm, message: Message, asked: dict[int, Query], at: float, now: float) -> None:
    match message:
        case Event():
            vm.event(message, at)
        case Greeting():
            vm.connected(message, at, now, chance=0.0)
        case Reply(identifier, value):
            if query := asked.pop(identifier, None):
                vm.reply(query, value, at, now)
        case Failure(identifier):
            if query := asked.pop(identifier, None):
                vm.failure(query, at, now)
