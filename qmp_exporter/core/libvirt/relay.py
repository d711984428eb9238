"""A query -> what libvirt takes for it; what it gives -> the messages that a monitor of our own would send."""

from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from qmp_exporter.core.family import Query
from qmp_exporter.core.protocol import Answer, Message, written
from qmp_exporter.core.wire import (
    NO_DATA,
    NOTHING,
    UNREADABLE,
    BadMessage,
    ErrorInfo,
    Event,
    Greeting,
    VersionInfo,
    typed,
    unreadable,
)

from . import xdr
from .wire import Domain, Failure, MonitorEvent, Reply, packed
from .xdr import Reader, XdrError

QUERY_VERSION: Final = Query("query-version", dict)
AN_ERROR: Final = "GenericError"  # the class of what libvirt says in QEMU's place


class _Answer(Struct, frozen=True):
    """With an id that is libvirt's."""

    returned: Raw = field(name="return", default=NOTHING)
    error: ErrorInfo | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_version = msgspec.json.Decoder(VersionInfo).decode
_encode = msgspec.json.encode


def event(told: MonitorEvent) -> Event:
    return Event(told.name, Raw(told.details) if told.details else NO_DATA, told.at)


def event_line(told: MonitorEvent) -> bytes:
    """As QEMU has said it, for who keeps what was said."""
    seconds, rest = divmod(told.at, 1)
    data = b', "data": ' + told.details if told.details else b""
    stamp = b'{"timestamp": {"seconds": %d, "microseconds": %d}' % (seconds, rest * 1e6)
    return b'%s, "event": %s%s}\n' % (stamp, _encode(told.name), data)


def answer_line(told: Message, number: int) -> bytes:
    """What `answer` has made of libvirt's reply, as QEMU has said it to that query."""
    if not isinstance(told, Answer):
        return b""
    if told.value is None:
        return b'{"error": {"class": %s, "desc": ""}, "id": %d}\n' % (_encode(told.error), number)
    return b'{"return": %s, "id": %d}\n' % (bytes(told.value), number)


def monitor_command(domain: Domain, query: Query, arguments: bytes) -> bytes:
    """The arguments of MONITOR_COMMAND.  One with an id libvirt refuses."""
    return packed(domain) + xdr.opaque(written(query, arguments)) + xdr.number(0)


def answer(query: Query, told: Reply | Failure, took: float) -> Message:
    """What QEMU has answered, or libvirt in its place."""
    if isinstance(told, Failure):
        return Answer(query, None, AN_ERROR, took)
    try:
        text = Reader(told.payload).opaque()
    except XdrError as error:
        return BadMessage("shape", f"libvirt's reply to a command: {error}")
    try:
        read = _decode_answer(text)
    except UNREADABLE as error:
        return unreadable(error, text)
    if read.error is not None:
        return Answer(query, None, read.error.error_class or "unknown", took)
    return Answer(query, read.returned, "", took)


def greeting(message: Message) -> Greeting:
    """The answer to query-version -> what a monitor of our own would have greeted with.

    :raise BadMessage: it has none.
    """
    value = message.value if isinstance(message, Answer) else None
    qemu = typed(_decode_version, NOTHING if value is None else value).qemu
    return Greeting(f"{qemu.major}.{qemu.minor}.{qemu.micro}")


def commands(*queries: Query) -> bytes:
    """A reply to query-commands that has these only."""
    return _encode([{"name": query.command} for query in queries])


def name(domain: Domain) -> bytes:
    """The reply to query-name: libvirt gives QEMU the domain's name."""
    return _encode({"name": domain.name})


def uuid(domain: Domain) -> bytes:
    """The reply to query-uuid, the same way."""
    return _encode({"UUID": domain.uuid})
