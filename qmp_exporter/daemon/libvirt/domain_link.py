"""One run of a domain, seen through a libvirt daemon -> the messages of a session with its QEMU.

Without commands nothing is sent to QEMU: its events come through libvirt, and libvirt itself says whether the VM runs.
With them QEMU answers the queries of the catalog, as it would on a monitor of our own.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec import Raw

from qmp_exporter.catalog.vm import QUERY_NAME, QUERY_STATUS, QUERY_UUID
from qmp_exporter.core.allow_list import AllowList
from qmp_exporter.core.family import Query
from qmp_exporter.core.in_flight import HUNG
from qmp_exporter.core.libvirt import relay, xdr
from qmp_exporter.core.libvirt.relay import AN_ERROR, QUERY_VERSION
from qmp_exporter.core.libvirt.slots import Slots
from qmp_exporter.core.libvirt.states import OCCUPIED, End, status
from qmp_exporter.core.libvirt.wire import Domain, Failure, MonitorEvent, Procedure, Reply, packed
from qmp_exporter.core.libvirt.xdr import Reader, XdrError
from qmp_exporter.core.protocol import Answer, Message, NotAllowed, StateHint, written
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.core.wire import BadMessage, Greeting
from qmp_exporter.daemon.libvirt.connection import Connection
from qmp_exporter.daemon.monitor.link import Note, Unreachable, forget

FRESH: Final = 1.0  # seconds for which it holds that libvirt does not wait for QEMU
WAITED_TOO_LONG: Final = 1.0  # seconds that libvirt has waited for QEMU, after which it is not asked anything
ASK_AGAIN: Final = 1.0  # seconds
MAX_EARLY: Final = 256  # events
VERSION_WITHIN: Final = 60.0  # seconds; a command waits for the end of a start, and for a turn among those of other VMs


class _Called(NamedTuple):
    """Times on a clock that never jumps: when the session asked, and when libvirt was called for it."""

    query: Query
    asked_at: float
    at: float


class DomainLink:
    """A session without commands, from a start of the domain (or of us) to its end.

    `end` is why the domain ended, None where it did not, and `is_detached` whether only libvirt is out of reach.
    """

    sends_nothing = True  # to QEMU

    def __init__(self, connection: Connection, domain: Domain) -> None:
        self.domain = domain
        self.error: BaseException | None = None
        self.end: End | None = None
        self.is_detached = False
        self.is_open = True
        self.waits = 0.0  # seconds that libvirt has waited for QEMU, as far as is known
        self._connection = connection
        self._packed = packed(domain) + xdr.number(0)  # with the flags of most calls
        self._receive: Callable[[Sequence[Message]], None] | None = None
        self._wake: Callable[[], None] = lambda: None
        self._early: list[Message] = []  # events, until somebody listens
        self.note: Note = forget  # what is said and asked

    # --- for the watch

    async def open(self) -> Greeting:
        """:raise Unreachable: the domain has ended meanwhile."""
        if not self.is_open:
            raise self._unreachable()
        return Greeting("")

    def attach(self, receive: Callable[[Sequence[Message]], None], wake: Callable[[], None]) -> list[Message]:
        """Listen; what QEMU has said so far.

        `receive` gets messages, and must not wait.  `wake` is called when a query can be sent, when it is known whether
        libvirt waits for QEMU, and when all is over.
        """
        self._receive, self._wake = receive, wake
        early, self._early = self._early, []
        return early

    @property
    def hangs(self) -> bool:
        """Whether it is known without any query of ours that QEMU does not answer."""
        return self.waits >= HUNG

    def may_ask(self) -> bool:
        """Whether a query can be sent now; if not, the watch is woken when it can."""
        return True

    def asked(self) -> None:
        """The watch has had its turn, and may have asked something."""

    def ask(self, query: Query, arguments: bytes | None = None) -> None:  # noqa: ARG002  none of these has any
        """Answered by what libvirt knows by itself.  It is no word of QEMU's, and so does not show that QEMU lives."""
        if query is QUERY_COMMANDS:
            self._told(query, relay.commands(QUERY_STATUS, QUERY_NAME, QUERY_UUID))
        elif query is QUERY_STATUS:
            self._connection.call(Procedure.GET_STATE, self._packed, self._state_came)
        elif query is QUERY_NAME:
            self._told(query, relay.name(self.domain))
        elif query is QUERY_UUID:
            self._told(query, relay.uuid(self.domain))
        else:
            raise NotAllowed(query.command)

    async def close(self) -> None:
        self._over()

    # --- for the one who has the connection

    def hear(self, events: Sequence[MonitorEvent]) -> None:
        self.note("qemu", b"".join(map(relay.event_line, events)))
        self._deliver([relay.event(one) for one in events])

    def ends(self, end: End | None) -> None:
        """The domain has ended, or libvirt is out of reach (None)."""
        if self.is_open:
            self.end, self.is_detached = end, end is None
            self._over()

    def may_have_changed(self) -> None:
        """Libvirt has told of another state; the event of QEMU that came before may not have been heeded yet then."""
        if self.sends_nothing:
            self._deliver([StateHint()])

    def check_if_it_hangs(self) -> None:
        """Ask how long libvirt has been waiting for QEMU, which asks nobody else."""
        self._connection.call(Procedure.GET_CONTROL_INFO, self._packed, self._control_info_came)

    # --- how it is done

    def _control_info_came(self, answer: Reply | Failure) -> None:
        if isinstance(answer, Failure):  # the domain has ended, which is told by itself
            return
        try:
            reader = Reader(answer.payload)
            state, _details, milliseconds = reader.number(), reader.number(), reader.long()
        except XdrError as error:
            self._deliver([BadMessage("shape", f"libvirt's control info: {error}")])
        else:
            hung = self.hangs
            self.waits = milliseconds / 1000 if state == OCCUPIED else 0.0
            if hung != self.hangs:
                self._wake()

    def _state_came(self, answer: Reply | Failure) -> None:
        if isinstance(answer, Failure):
            self._deliver([Answer(QUERY_STATUS, None, AN_ERROR, 0.0, by_qemu=False)])
            return
        try:
            reader = Reader(answer.payload)
            self._told(QUERY_STATUS, status(reader.number(), reader.number()))
        except XdrError as error:
            self._deliver([BadMessage("shape", f"libvirt's state of a domain: {error}")])

    def _told(self, query: Query, value: bytes) -> None:
        """At the next turn of the event loop: the one who asks is not answered while he asks."""
        told = Answer(query, Raw(value), "", 0.0, by_qemu=False)
        asyncio.get_running_loop().call_soon(self._deliver, [told])

    def _deliver(self, messages: Sequence[Message]) -> None:
        if self.is_open and self._receive is not None:
            self._receive(messages)
        elif self.is_open and len(self._early) < MAX_EARLY:
            self._early += messages

    def _over(self) -> None:
        if self.is_open:
            self.is_open = False
            self._wake()

    def _unreachable(self) -> Unreachable:
        return Unreachable("missing", self.end.words if self.end else "libvirt is out of reach")


class CommandLink(DomainLink):
    """The same with commands: one at a time, and only while libvirt does not wait for QEMU already.

    nothing ──ask()──► wanted ──a slot, and control info──► called ──► nothing
                         ▲ │ libvirt has waited for QEMU for too long
                         └─┘ ASK_AGAIN
    """

    sends_nothing = False

    def __init__(self, connection: Connection, domain: Domain, allowed: AllowList, slots: Slots) -> None:
        super().__init__(connection, domain)
        self._allowed = allowed
        self._slots = slots
        self._wanted: tuple[Query, bytes, float] | None = None  # with its arguments, and when it was asked
        self._called: _Called | None = None
        self._calls = 0
        self._fresh_until = float("-inf")
        self._is_checking = False
        self._again: asyncio.TimerHandle | None = None
        self._version: asyncio.Future[Greeting] = asyncio.get_running_loop().create_future()

    async def open(self) -> Greeting:
        if not self.is_open:
            raise self._unreachable()
        self.ask(QUERY_VERSION, b"")
        try:
            async with asyncio.timeout(VERSION_WITHIN):
                return await self._version
        except TimeoutError:
            raise Unreachable("hung", "QEMU did not tell its version through libvirt") from None
        except BadMessage as bad:
            raise Unreachable("error", f"QEMU did not tell its version through libvirt: {bad}") from None

    @property
    def hangs(self) -> bool:
        """That its queries tell, which wait as long as libvirt does."""
        return False

    @property
    def hangs_for_long(self) -> bool:
        """Whether a call of ours waits for QEMU since long."""
        return self._called is not None and time.monotonic() - self._called.at > HUNG

    def may_ask(self) -> bool:
        return self._wanted is not None or self._called is not None or self._slots.take(self)

    def asked(self) -> None:
        if self._wanted is None and self._called is None:
            self._slots.give_back(self)

    def ask(self, query: Query, arguments: bytes | None = None) -> None:
        arguments = query.arguments if arguments is None else arguments
        if query is not QUERY_VERSION and not self._allowed.allows(query.command, arguments):
            raise NotAllowed(f"{query.command} {arguments.decode(errors='replace')}".rstrip())
        self._wanted = query, arguments, time.monotonic()
        self._go_on()

    def has_slot(self) -> None:
        self._wake()
        self._go_on()

    def _go_on(self) -> None:
        """Take the next step to the call that is wanted, if it is time for it."""
        if self._wanted is None or self._called is not None or self._again is not None or not self.is_open:
            return
        if not self._slots.take(self):
            return
        if time.monotonic() < self._fresh_until:
            self._call(*self._wanted)
        elif not self._is_checking:
            self.check_if_it_hangs()

    def check_if_it_hangs(self) -> None:
        self._is_checking = True
        super().check_if_it_hangs()

    def _control_info_came(self, answer: Reply | Failure) -> None:
        self._is_checking = False
        super()._control_info_came(answer)
        if not self.is_open:
            return
        if self.waits > WAITED_TOO_LONG:
            if self._called is None:
                self._slots.give_back(self)
            if self._again is None:
                self._again = asyncio.get_running_loop().call_later(ASK_AGAIN, self._try_again)
        else:
            self._fresh_until = time.monotonic() + FRESH
            self._go_on()

    def _try_again(self) -> None:
        self._again = None
        self._go_on()

    def _call(self, query: Query, arguments: bytes, asked_at: float) -> None:
        self._called, self._wanted = _Called(query, asked_at, time.monotonic()), None
        self._calls += 1
        self.note("client", written(query, arguments, self._calls))
        arguments = relay.monitor_command(self.domain, query, arguments)
        self._connection.call(Procedure.MONITOR_COMMAND, arguments, self._answer_came)

    def _answer_came(self, answer: Reply | Failure) -> None:
        if self._called is None:
            return
        (query, asked_at, _), self._called = self._called, None
        took = time.monotonic() - asked_at
        if self._wanted is None:
            self._slots.give_back(self)
        message = relay.answer(query, answer, took)
        self.note("qemu", relay.answer_line(message, self._calls))
        if query is QUERY_VERSION:
            self._settle_version(message)
        else:
            self._deliver([message])
        self._go_on()

    def _settle_version(self, message: Message) -> None:
        if self._version.done():
            return
        try:
            self._version.set_result(relay.greeting(message))
        except BadMessage as bad:
            self._version.set_exception(bad.without_frames())

    def _over(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._called is None:  # else the daemon still waits for QEMU, and the slot is taken until it answers
            self._slots.give_back(self)
        super()._over()
        if not self._version.done():
            self._version.set_exception(self._unreachable())
            self._version.exception()  # who does not wait for it need not hear of it
