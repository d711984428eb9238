"""Bytes of a libvirt daemon -> typed messages of its RPC; calls -> bytes.  No I/O and no clock.

The shapes are those of libvirt's src/rpc/virnetprotocol.x, src/remote/remote_protocol.x and qemu_protocol.x, which are
the same in 9.0 and 11.3.  No other procedure than those of `Procedure` can be called.
"""

import struct
from enum import Enum
from typing import Final, NamedTuple

from . import xdr
from .xdr import Reader, XdrError

REMOTE: Final = 0x20008086
QEMU: Final = 0x20008087
KEEPALIVE: Final = 0x6B656570
VERSION: Final = 1
_HEADER: Final = struct.Struct(">IIIiiIi")  # its length with itself, program, version, procedure, type, serial, status
MAX_FRAME: Final = xdr.MAX_TEXT + 64 * 1024  # bytes; the protocol allows 32 MiB, and nothing that we ask is as long
MAX_NAME: Final = 1024  # characters of a domain's name; QEMU's own limit for -name guest= is below
MAX_WORDS: Final = 512  # characters of an error that are kept, in one line
MAX_DOMAINS: Final = 16384  # REMOTE_DOMAIN_LIST_MAX
DOMAIN_SIZE: Final = 4 + 16 + 4  # bytes of a domain at least
UUID_SIZE: Final = 16
CALL, REPLY, MESSAGE = 0, 1, 2
FAILED: Final = 1  # the status of a reply that is an error


class Procedure(Enum):
    """What is called, all of it: program and number.  Nothing here changes a VM.

    MONITOR_COMMAND could; its commands pass the allow-list of the catalog first.
    """

    OPEN = (REMOTE, 1)
    CLOSE = (REMOTE, 2)
    SUPPORTS_FEATURE = (REMOTE, 60)
    AUTH_LIST = (REMOTE, 66)
    AUTH_POLKIT = (REMOTE, 70)
    GET_STATE = (REMOTE, 212)
    GET_CONTROL_INFO = (REMOTE, 229)
    LIST_ALL_DOMAINS = (REMOTE, 273)
    LIFECYCLE_EVENTS = (REMOTE, 316)
    MONITOR_COMMAND = (QEMU, 1)
    MONITOR_EVENTS = (QEMU, 4)


LIFECYCLE_EVENT: Final = (REMOTE, 318)
MONITOR_EVENT: Final = (QEMU, 6)
PING, PONG = (KEEPALIVE, 1), (KEEPALIVE, 2)


class Domain(NamedTuple):
    """`id` is -1 while it is not running."""

    name: str
    uuid: str
    id: int


class Reply(NamedTuple):
    serial: int
    payload: bytes


class Failure(NamedTuple):
    """`code` is a virErrorNumber (include/libvirt/virterror.h)."""

    serial: int
    code: int
    text: str


class MonitorEvent(NamedTuple):
    """An event of QEMU, `at` its own time in seconds since the epoch; `details` is the JSON of its data, or empty."""

    domain: Domain
    name: str
    at: float
    details: bytes


class Lifecycle(NamedTuple):
    """virDomainEventType and its detail."""

    domain: Domain
    event: int
    detail: int


class Ping(NamedTuple):
    """To be answered by PONG."""


Message = Reply | Failure | MonitorEvent | Lifecycle | Ping


class Frames:
    """Bytes in any portions -> payloads of whole frames with their header."""

    def __init__(self) -> None:
        self._unread = bytearray()

    def feed(self, chunk: bytes) -> list[Message]:
        """:raise XdrError: this is no libvirt, or one that nobody knows; the connection is of no use any more."""
        self._unread += chunk
        messages: list[Message] = []
        at = 0
        while len(self._unread) - at >= _HEADER.size:
            size, *header = _HEADER.unpack_from(self._unread, at)
            if not _HEADER.size <= size <= MAX_FRAME:
                raise XdrError(f"a frame of {size} bytes, wanted {_HEADER.size} to {MAX_FRAME}")
            if len(self._unread) - at < size:
                break
            message = _message(header, bytes(self._unread[at + _HEADER.size : at + size]))
            at += size
            if message is not None:
                messages.append(message)
        del self._unread[:at]
        return messages

    @property
    def unfinished(self) -> int:
        """Bytes that are kept."""
        return len(self._unread)


def _message(header: list[int], payload: bytes) -> Message | None:
    """None for what we do not know, such as another event: a later libvirt may have more."""
    program, version, procedure, kind, serial, status = header
    if version != VERSION:
        raise XdrError(f"version {version} of program {program:#x}, wanted {VERSION}")
    match kind, (program, procedure):
        case 1, _ if status == FAILED:
            return _failure(serial, Reader(payload))
        case 1, _:
            return Reply(serial, payload)
        case 2, (0x20008087, 6):
            return _monitor_event(Reader(payload))
        case 2, (0x20008086, 318):
            return _lifecycle(Reader(payload))
        case 2, (0x6B656570, 1):
            return Ping()
    return None


def _failure(serial: int, reader: Reader) -> Failure:
    """virNetMessageError, of which the rest is of no interest."""
    code, _domain = reader.number(), reader.number()
    words = reader.text() if reader.is_there() else ""
    return Failure(serial, code, " ".join(words[:MAX_WORDS].split()))


def _monitor_event(reader: Reader) -> MonitorEvent:
    _callback, domain, name = reader.number(), read_domain(reader), reader.text(MAX_NAME)
    seconds, microseconds = reader.long(), reader.number()
    return MonitorEvent(domain, name, seconds + microseconds / 1e6, reader.opaque() if reader.is_there() else b"")


def _lifecycle(reader: Reader) -> Lifecycle:
    _callback = reader.number()
    return Lifecycle(read_domain(reader), reader.number(), reader.number())


def read_domain(reader: Reader) -> Domain:
    """remote_nonnull_domain"""
    return Domain(reader.text(MAX_NAME), _dashed(reader.fixed(UUID_SIZE).hex()), reader.number())


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def domains(payload: bytes) -> list[Domain]:
    """The reply to LIST_ALL_DOMAINS.

    :raise XdrError: it is none.
    """
    reader = Reader(payload)
    return [read_domain(reader) for _ in range(reader.count(MAX_DOMAINS, DOMAIN_SIZE))]


def packed(domain: Domain) -> bytes:
    return (
        xdr.opaque(domain.name.encode(errors="replace"))
        + bytes.fromhex(domain.uuid.replace("-", ""))
        + xdr.number(domain.id)
    )


def call(procedure: Procedure, serial: int, arguments: bytes) -> bytes:
    program, number = procedure.value
    return _HEADER.pack(_HEADER.size + len(arguments), program, VERSION, number, CALL, serial, 0) + arguments


def pong() -> bytes:
    program, number = PONG
    return _HEADER.pack(_HEADER.size, program, VERSION, number, MESSAGE, 0, 0)
