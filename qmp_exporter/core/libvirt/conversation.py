"""Bytes of a libvirt daemon and the time -> what it tells, and the bytes to send.  No I/O and no clock."""

from collections.abc import Generator
from typing import Final

from . import xdr
from .wire import (
    Domain,
    Failure,
    Frames,
    Lifecycle,
    MonitorEvent,
    Ping,
    Procedure,
    Reply,
    call,
    domains,
    pong,
)
from .xdr import Reader

OPEN_WITHIN: Final = 60.0  # seconds; a daemon that was just restarted with 27 domains took 20 until it answered
ANSWERS_WITHIN: Final = 30.0  # seconds; what is asked beside monitor commands waits for no QEMU
AUTH_NONE, AUTH_POLKIT = 0, 2  # remote_auth_type
KEEPALIVE_FEATURE: Final = 10  # VIR_DRV_FEATURE_PROGRAM_KEEPALIVE: from then on it pings
ACTIVE: Final = 1  # VIR_CONNECT_LIST_DOMAINS_ACTIVE
LIFECYCLE: Final = 0  # VIR_DOMAIN_EVENT_ID_LIFECYCLE
MAX_AUTH_TYPES: Final = 20  # REMOTE_AUTH_TYPE_LIST_MAX

_Steps = Generator[tuple[Procedure, bytes], bytes, None]
Heard = MonitorEvent | Lifecycle | Reply | Failure


class Rejected(Exception):
    """The daemon does not do what is needed; `code` is a virErrorNumber, or 0."""

    def __init__(self, procedure: Procedure, code: int, text: str) -> None:
        super().__init__(text)
        self.procedure = procedure
        self.code = code


class Conversation:
    """`domains` are those that run, by the newest answer to that; None until it is open.

    `deadline` is when the daemon must have answered; None while nothing is asked but monitor commands, which may take
    as long as a QEMU hangs.
    """

    def __init__(self, uri: str, now: float) -> None:
        self._uri = uri
        self._frames = Frames()
        self._serial = 0
        self._unsent: list[bytes] = []
        self._waits: dict[int, float] = {}  # for what is asked beside monitor commands, and until when
        self._listing: int | None = None
        self.domains: tuple[Domain, ...] | None = None
        self._opens_until: float | None = now + OPEN_WITHIN
        self._steps: _Steps | None = self._introduction()
        self._step, self._asked = 0, Procedure.OPEN
        self._take_step(now, None)

    @property
    def is_open(self) -> bool:
        return self._opens_until is None

    @property
    def deadline(self) -> float | None:
        if self._opens_until is not None:
            return self._opens_until
        return next(iter(self._waits.values()), None)  # all have the same time

    def receive(self, chunk: bytes, now: float) -> list[Heard]:
        """All that this chunk completed, in its order.

        :raise XdrError: it is no libvirt.
        :raise Rejected: it does not let us do what is needed.
        """
        heard: list[Heard] = []
        for message in self._frames.feed(chunk):
            if isinstance(message, MonitorEvent | Lifecycle):
                heard.append(message)
            elif isinstance(message, Ping):
                self._unsent.append(pong())
            elif (told := self._answered(message, now)) is not None:
                heard.append(told)
        return heard

    def call(self, procedure: Procedure, arguments: bytes, now: float) -> int:
        """Put a call among the bytes to send; its answer has this serial."""
        self._serial += 1
        self._unsent.append(call(procedure, self._serial, arguments))
        if procedure is not Procedure.MONITOR_COMMAND:
            self._waits[self._serial] = now + ANSWERS_WITHIN
        return self._serial

    def list_again(self, now: float) -> None:
        """Ask which domains run, unless that is asked already."""
        if self._listing is None:
            self._listing = self.call(Procedure.LIST_ALL_DOMAINS, _RUNNING, now)

    def take_unsent(self) -> bytes:
        unsent, self._unsent = b"".join(self._unsent), []
        return unsent

    def _answered(self, message: Reply | Failure, now: float) -> Heard | None:
        """None where it was an answer for us."""
        self._waits.pop(message.serial, None)
        if self._steps is not None and message.serial == self._step:
            self._take_step(now, message)
            return None
        if message.serial == self._listing:
            self._listing = None
            if isinstance(message, Reply):
                self.domains = tuple(domains(message.payload))
            return None
        return message

    def _take_step(self, now: float, answer: Reply | Failure | None) -> None:
        steps = self._steps
        if steps is None:
            return
        try:
            match answer:
                case Failure(_, code, text):
                    raise Rejected(self._asked, code, text)
                case Reply(_, payload):
                    procedure, arguments = steps.send(payload)
                case _:
                    procedure, arguments = next(steps)
        except StopIteration:
            self._steps = self._opens_until = None
        else:
            self._asked = procedure
            self._step = self.call(procedure, arguments, now)

    def _introduction(self) -> _Steps:
        """What is called one after the other, each with its answer.

        Events are asked for before the list of domains, so that none is lost in between.
        """
        types = _auth_types((yield Procedure.AUTH_LIST, b""))
        if AUTH_NONE not in types:
            if AUTH_POLKIT not in types:
                raise Rejected(Procedure.AUTH_LIST, 0, "it wants another authentication than polkit's")
            yield Procedure.AUTH_POLKIT, b""
        yield Procedure.OPEN, xdr.optional(xdr.opaque(self._uri.encode())) + xdr.number(0)
        yield Procedure.SUPPORTS_FEATURE, xdr.number(KEEPALIVE_FEATURE)
        yield Procedure.LIFECYCLE_EVENTS, xdr.number(LIFECYCLE) + xdr.optional(None)
        yield Procedure.MONITOR_EVENTS, xdr.optional(None) + xdr.optional(None) + xdr.number(0)
        self.domains = tuple(domains((yield Procedure.LIST_ALL_DOMAINS, _RUNNING)))


_RUNNING: Final = xdr.number(1) + xdr.number(ACTIVE)


def _auth_types(payload: bytes) -> set[int]:
    reader = Reader(payload)
    return {reader.number() for _ in range(reader.count(MAX_AUTH_TYPES, xdr.UNIT))}
