"""One line of QMP -> a typed message.

The shapes are those of docs/interop/qmp-spec.rst.  A payload stays raw until a row that wants it has said its type: an
event nobody reads costs no second decode, and a payload of the wrong shape affects its own rows only.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Self

import msgspec
from msgspec import Meta, Raw, Struct, field

NOTHING = Raw()
NO_DATA = Raw(b"{}")  # an event without `data` has the defaults of every member


class BadMessage(Exception):
    """The peer sent something that is no QMP; `reason` is a word for a label, the text is for a log."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason

    def without_frames(self) -> Self:
        """To be kept as a value: the frames where it was raised would keep it, and all they read, in a cycle."""
        self.__context__ = None
        return self.with_traceback(None)


class Greeting(NamedTuple):
    """What a monitor says first; `version` is like "10.0.13 (Debian 1:10.0.13+ds-0)" with the package left out."""

    version: str


class Event(Struct, frozen=True, gc=False):  # no cycle can be made of it, and garbage collection costs
    """`at` is QEMU's own time in seconds since the epoch, negative where the host clock could not be read."""

    name: str
    data: Raw
    at: float


class Reply(NamedTuple):
    """`id` is ours; `value` is the raw `return`."""

    id: int
    value: Raw


class Failure(NamedTuple):
    """An error reply; `reason` is QEMU's error class."""

    id: int
    reason: str


Message = Greeting | Event | Reply | Failure


class _Timestamp(Struct, frozen=True, gc=False):
    seconds: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = -1  # no float holds what a broken peer may send instead
    microseconds: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = 0


class ErrorInfo(Struct, frozen=True):
    """The `error` of a reply; the class is a QapiErrorClass (qapi/error.json)."""

    error_class: str = field(name="class", default="")


class _Triple(Struct, frozen=True):
    major: int
    minor: int
    micro: int


class VersionInfo(Struct, frozen=True):
    """qapi/control.json, without the package."""

    qemu: _Triple


class _Greeting(Struct, frozen=True):
    version: VersionInfo


class _Wire(Struct, gc=False):
    """Every member that any message may have: one decode tells which of them it is."""

    event: str = ""
    data: Raw = NO_DATA
    timestamp: _Timestamp = _Timestamp()
    returned: Raw = field(name="return", default=NOTHING)
    error: ErrorInfo | None = None
    id: int = -1
    greeting: _Greeting | None = field(name="QMP", default=None)


_decode_wire = msgspec.json.Decoder(_Wire).decode


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the many ways in which a decode can fail


def decode(line: bytes) -> Message:
    """:raise BadMessage: with reason `json`, `utf8`, `depth` or `shape`."""
    try:
        wire: _Wire = _decode_wire(line)
    except UNREADABLE as error:
        raise unreadable(error, line) from None
    if wire.event:
        return Event(wire.event, wire.data, wire.timestamp.seconds + wire.timestamp.microseconds / 1e6)
    # A `return` or an `error` without an id answers nothing of ours; -1 is an id that we never send.
    if wire.error is not None:
        return Failure(wire.id, wire.error.error_class)
    if wire.greeting is not None:
        qemu = wire.greeting.version.qemu
        return Greeting(f"{qemu.major}.{qemu.minor}.{qemu.micro}")
    if bytes(wire.returned):
        return Reply(wire.id, wire.returned)
    raise BadMessage("shape", f"neither event, return, error nor greeting: {excerpt(line)}")


def typed(decode_payload: Callable[[bytes | Raw], Any], payload: bytes | Raw) -> Any:
    """What `decode_payload` makes of a payload.

    :raise BadMessage: with reason `json`, `utf8`, `depth` or `shape`.
    """
    try:
        return decode_payload(payload)
    except UNREADABLE as error:
        raise unreadable(error, payload) from None


def unreadable(error: Exception, payload: bytes | Raw) -> BadMessage:
    """One of UNREADABLE -> what is wrong with the payload: `json`, `utf8`, `depth` or `shape`."""
    match error:
        case msgspec.ValidationError():
            return BadMessage("shape", f"{error}: {excerpt(payload)}")
        case msgspec.DecodeError() if "UTF-8" not in str(error):
            return BadMessage("json", f"{error}: {excerpt(payload)}")
        case msgspec.DecodeError() | UnicodeDecodeError():  # the first from msgspec 0.23 on, the second before
            return BadMessage("utf8", f"not UTF-8: {excerpt(payload)}")
    return BadMessage("depth", f"nested too deeply: {excerpt(payload)}")


def excerpt(payload: bytes | Raw) -> str:
    """The first bytes of a payload, fit for a log line: no control characters, no more than a line."""
    return ascii(bytes(memoryview(payload)[:120]))[1:]
