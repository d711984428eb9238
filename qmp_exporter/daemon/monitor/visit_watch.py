"""A monitor that a manager visits -> the life of its VM by visits of our own: connect, ask what is due, leave.

QEMU's monitor serves one client, and two may wait.  A manager that only visits finds it free again within milliseconds,
as long as we come when nobody is there, leave at once, and never leave more than one connection that waits in vain.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from qmp_exporter.core.protocol import Message, Protocol
from qmp_exporter.core.query_scheduler import LONGEST_REST, in_a_slot
from qmp_exporter.core.wire import Event, Greeting
from qmp_exporter.daemon.host.process import ProcessReader
from qmp_exporter.daemon.monitor.approach import Approach, FileStamp
from qmp_exporter.daemon.monitor.link import Link, Unreachable
from qmp_exporter.daemon.monitor.open_link import OpenLink
from qmp_exporter.daemon.monitor.watch import Health, Watch

GREETS_WITHIN: Final = 0.05  # seconds; QEMU greets in 0.1 ms unless somebody else is served
DONE_WITHIN: Final = 0.25  # seconds, from the connection to its end
LIVES: Final = 2  # polls for which the gauges hold when a visit does not succeed
GONE: Final = frozenset({"missing", "refused", "denied", "foreign"})  # states in which it is certain that they do not

Run = tuple[FileStamp | None, int | None]  # of a QEMU: its socket and its process


class VisitWatch(Watch):
    """The watch of a VM that is visited.  Nothing is tried again before the next poll, whatever happens."""

    hears_events = False
    _run: Run | None = None  # whose session there is
    _reader: ProcessReader | None = None
    _missed = 0  # visits in a row
    _met: Link | None = None  # the connection of which it is known whose it is
    _greeting = Greeting("")

    async def _watch(self) -> None:
        while True:
            try:
                await self._visit()
            except Unreachable as failure:
                self._miss(failure)
            else:
                self._missed = 0
            await self._until_the_next_poll()

    async def _until_the_next_poll(self) -> None:
        interval = self.target.poll_interval
        now = time.monotonic()
        at = in_a_slot(now + interval, interval)
        self.health = self.health._replace(retry_at=time.time() + at - now if self._run is None else None)
        await asyncio.sleep(max(0.0, at - now))

    def _miss(self, failure: Unreachable) -> None:
        """One visit that fails says nothing yet: the manager was there."""
        self._missed += 1
        if self._run is not None and failure.state not in GONE and self._missed < LIVES:
            return
        self._leave_the_run()
        self._became(failure.state, str(failure))

    def _leave_the_run(self) -> None:
        """What was known of the QEMU that was visited is not true any more."""
        if self._run is not None:
            self._run = self._reader = None
            self.session.end(time.time(), is_detached=True)
            self._tell_exit_when_it_is_known()

    # --- a visit

    async def _visit(self) -> None:
        """:raise Unreachable: there was none, or it ended before everything was answered."""
        approach = Approach(self.target, self._shared.sockets)
        async with self._shared.limiter.slot():
            address = await approach.connect(self._shared.paths)
            budget = self._shared.line_bytes
            protocol = Protocol(self._dispatch.allowed, time.monotonic(), budget=budget, greeting_within=GREETS_WITHIN)
            link = Link(
                address,
                protocol,
                receive=lambda messages: self._receive(link, messages),
                ended=self._wake.set,
            )
            try:
                async with asyncio.timeout(DONE_WITHIN):
                    await link.open()
                    self._meet(link, (approach.seen, await self._pid_of(link)))
                    await self._ask_what_is_due(link)
            except TimeoutError:
                raise self._late(link) from None
            finally:
                await link.close()
        if self._reader is not None:
            self._read_process(self._reader)

    def _meet(self, link: Link, run: Run) -> None:
        """The QEMU that was visited before, or another one: then a session begins."""
        self._met = link
        if run == self._run:
            return
        self._leave_the_run()
        self._run = run
        self.session = self._new_session()
        self._note(self.session.receive([self._greeting], time.time(), time.monotonic()))
        self._log.info("monitor connected", version=self._greeting.version, visit=True)
        self._ended, self._waits_since = "", None
        words = f"asked every {self.target.poll_interval:g} s, between the visits of others; no events"
        self.health = Health(time.time(), words)
        self._process_exit = self._exit_of(link)
        self.pid = pid = run[1]
        parts = self.vm.host_parts
        self._reader = ProcessReader(pid, parts, self._shared.network) if pid is not None and parts else None

    async def _ask_what_is_due(self, link: Link) -> None:
        """One query after the other, until none is due now."""
        in_flight = self.session.scheduler.in_flight
        while link.is_open:
            self._wake.clear()
            self._turn(link)
            if in_flight.query is None:
                return
            await self._wake.wait()
        raise Unreachable("busy", "QEMU hung up during the visit")

    def _receive(self, link: OpenLink, messages: Sequence[Message]) -> None:
        """What happens during a visit is no measure of what happens: its events are left out."""
        for one in messages:
            if isinstance(one, Greeting):
                self._greeting = one
        if link is self._met:
            super()._receive(link, [one for one in messages if not isinstance(one, Event | Greeting)])
            self._wake.set()

    def _late(self, link: Link) -> Unreachable:
        """The time of a visit is over.  What was not answered is asked seldom from now on."""
        if not link.protocol.is_open:
            words = "QEMU greeted, and did nothing more" if link.protocol.has_greeted else "no greeting"
            return Unreachable("hung" if link.protocol.has_greeted else "busy", f"{words} within {DONE_WITHIN:g} s")
        query = self.session.scheduler.in_flight.query
        if query is not None:
            self._stats.command_errors.labels(query.command, "timeout").inc()
            self.session.scheduler.failed(query, time.monotonic(), took=LONGEST_REST)  # it may go on for minutes
        what = query.command if query else "a query"
        return Unreachable("hung", f"{what} was not answered within {DONE_WITHIN:g} s")
