"""A recorded session, line by line -> the VM as its monitor told it.

A line is `{"t": seconds, "from": "qemu" or "client", "msg": what was on the wire}`; the queries are those that were
recorded, asked again as they were asked then.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

from qmp_exporter.core.agenda import QUERY_COMMANDS
from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.family import Query
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import BadMessage, Event, Failure, Greeting, Reply, decode


class RecordingError(Exception):
    """The file is no recorded session; says which line and why."""


class _Line(Struct):
    t: float
    sender: Literal["qemu", "client"] = field(name="from")
    msg: Raw


class _Sent(Struct):
    execute: str
    id: int


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_sent = msgspec.json.Decoder(_Sent).decode


def replay(dispatch: Dispatch, lines: Iterable[bytes], *, ended: bool = False) -> Vm:
    """`ended`: the connection was lost after the last line, as when QEMU went away.

    :raise RecordingError: a line that is not of the form above, or that QEMU cannot have sent.
    """
    vm = Vm(dispatch, poll_interval=float("inf"), at=0.0)
    queries = {query.command: query for query in (QUERY_COMMANDS, *dispatch.queries) if not query.instead_of_newer}
    asked: dict[int, Query] = {}
    at = 0.0
    for number, text in enumerate(lines, start=1):
        try:
            line = _decode_line(text)
            at = line.t
            if line.sender == "qemu":
                _hear(vm, bytes(line.msg), asked, at)
                continue
            sent = _decode_sent(line.msg)
        except (msgspec.MsgspecError, BadMessage) as error:
            raise RecordingError(f"line {number}: {error}") from None
        if sent.execute in queries:
            asked[sent.id] = queries[sent.execute]
            vm.agenda.ask(asked[sent.id], at)
    if ended:
        vm.disconnected(at)
    return vm


def _hear(vm: Vm, text: bytes, asked: dict[int, Query], at: float) -> None:
    match decode(text):
        case Event() as event:
            vm.event(event, at)
        case Greeting() as greeting:
            vm.connected(greeting, at, now=at, chance=0.0)
            vm.agenda.offer(None)  # few recordings have query-commands
        case Reply(identifier, value):
            if query := asked.pop(identifier, None):
                vm.reply(query, value, at)
        case Failure(identifier):
            if query := asked.pop(identifier, None):
                vm.failure(query, at)
