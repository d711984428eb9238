"""A libvirt daemon of this host -> targets of the fleet: its domains, each under its own name."""

import asyncio
import itertools
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from math import inf
from typing import Final

import structlog

from qmp_exporter.catalog import without
from qmp_exporter.catalog.vm import IDENTITY
from qmp_exporter.config import Libvirt
from qmp_exporter.core.backoff import delay
from qmp_exporter.core.family import printable
from qmp_exporter.core.libvirt.slots import MONITOR_CALLS, Slots
from qmp_exporter.core.libvirt.states import DEFINED, STOPPED, VANISHED, End, end
from qmp_exporter.core.libvirt.wire import Domain, Lifecycle, MonitorEvent
from qmp_exporter.daemon.libvirt.connection import Connection
from qmp_exporter.daemon.libvirt.daemon_socket import connected, find
from qmp_exporter.daemon.libvirt.domain_link import CommandLink, DomainLink
from qmp_exporter.daemon.libvirt.found_processes import FoundProcesses
from qmp_exporter.daemon.libvirt.watch import DomainTarget
from qmp_exporter.daemon.monitor.dial_in_watch import DialledIn
from qmp_exporter.daemon.monitor.link import Unreachable, unreachable
from qmp_exporter.daemon.monitor.mailbox import Mailbox
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import LIBVIRT, Source
from qmp_exporter.runtime.cooperative import YieldBudget
from qmp_exporter.runtime.paths import PathCalls
from qmp_exporter.runtime.waiting import happens

CHECK_EVERY: Final = 5.0  # seconds between two checks of who has a monitor of his own, and who holds calls
LIST_AGAIN: Final = 12  # checks, after which it is asked anew which domains run
CONTROL_INFO: Final = 2  # checks, after which libvirt is asked whether it waits for a QEMU
MAX_DOMAINS: Final = 4096  # on the page; twice what a hypervisor runs
AT_ONCE: Final = 1.0  # seconds until a daemon that has gone is looked for again
GATHER: Final = 0.02  # seconds in which domains that come are gathered

log = structlog.get_logger()


class _Domain:
    """A domain that runs, or did within the grace period."""

    def __init__(self, target: DomainTarget) -> None:
        self.target = target
        self.run: Domain | None = None
        self.link: DomainLink | None = None
        self.ended: int | None = None  # the id of the run that ended last
        self.left_at = 0.0


class LibvirtDomains:
    """One daemon.  The fleet has the domains that run, and those that ended within the grace period."""

    def __init__(
        self, entry: Libvirt, fleet: Fleet, stats: Selfstats, chance: Callable[[], float] = random.random
    ) -> None:
        """`chance` yields numbers in [0, 1): the jitter of the back-off."""
        self._entry = entry
        self._fleet = fleet
        self._stats = stats
        self.source = Source(LIBVIRT, f"libvirt {entry.socket or entry.uri}")
        self._domains: dict[str, _Domain] = {}  # by UUID
        self._connection: Connection | None = None
        self._chance = chance
        self._slots = Slots()
        self._news = asyncio.Event()
        self._paths = PathCalls()
        self._processes = FoundProcesses()
        self._own: dict[str, str] = {}  # VMs that have a monitor of their own: names by UUID
        self._complained = ""
        self._path = entry.socket
        self._has_listed = self._has_refused = False
        self._log = log.bind(libvirt=entry.socket or entry.uri)

    async def run(self) -> None:
        """Never returns; ends by being cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell_fleet())
                await self._stay_connected()
        finally:
            await self._leave()
            self._fleet.want(self.source, ())

    # --- the connection

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._connect()
                failures = 0
                await self._serve(connection)
            except (Unreachable, OSError) as error:
                failures += 1
                self._say_unreachable(error if isinstance(error, Unreachable) else unreachable(error))
            await self._leave()
            await asyncio.sleep(delay(failures, self._chance()) if failures else AT_ONCE)

    async def _leave(self) -> None:
        """What the domains do meanwhile is not known; they stay on the page until it is."""
        connection, self._connection = self._connection, None
        for domain in self._domains.values():
            if domain.run is not None:
                self._ends(domain, None)
                domain.left_at = inf
        if connection is not None:
            await connection.close()

    async def _connect(self) -> Connection:
        """:raise Unreachable, OSError: there is no daemon, or it does not let us."""
        self._path = self._entry.socket or await self._paths.run("/run/libvirt", lambda: find(self._entry.uri))
        connect = partial(connected, self._path, activate=self._entry.activate)
        there = await self._paths.run(self._path, connect, dispose=socket.socket.close)
        self._slots = Slots()  # what the daemon before has not answered, nobody will
        connection = self._connection = Connection(self._path, self._entry.uri, self._hear)
        await connection.open(there)
        return connection

    async def _serve(self, connection: Connection) -> None:
        """Until the connection is lost."""
        self._complained = ""
        self._fleet.works(self.source)
        self._log.info("libvirt connected", path=self._path, commands=self._entry.commands)
        if self._entry.commands and not self._has_listed:
            self._log.info("libvirt marks each domain as tainted", why="its QEMU is asked: custom-monitor")
        listed = None
        for turn in itertools.count():
            if listed is not (listed := connection.conversation.domains):
                self._has_listed = True
                self._take_list(listed or ())
            if turn % LIST_AGAIN == LIST_AGAIN - 1:
                connection.list_again()
            if turn % CONTROL_INFO == 0:
                await self._ask_what_hangs()
            self._check_calls()
            if await happens(connection.over, CHECK_EVERY):
                break
        self._say_unreachable(connection.unreachable())

    def _say_unreachable(self, failure: Unreachable) -> None:
        self._fleet.cannot_say(self.source, str(failure))
        if self._complained != (said := str(failure)):
            self._complained = said
            self._log.warning("libvirt is out of reach", state=failure.state, why=said)

    # --- what it tells

    def _hear(self, events: Sequence[MonitorEvent | Lifecycle]) -> None:
        """What one read brought: those of a domain that follow each other are told at once."""
        link: DomainLink | None = None
        told: list[MonitorEvent] = []
        for event in events:
            its = self._link(event)
            if told and (its is not link or isinstance(event, Lifecycle)):
                self._tell(link, told)
                told = []
            link = its
            if isinstance(event, MonitorEvent):
                told.append(event)
            else:
                self._lives(event)
        self._tell(link, told)

    def _link(self, event: MonitorEvent | Lifecycle) -> DomainLink | None:
        """QEMU's first events come before libvirt says that its domain has started."""
        known = self._domains.get(event.domain.uuid)
        number = event.domain.id
        runs = number >= 0 and not (isinstance(event, Lifecycle) and event.event in {DEFINED, STOPPED})
        is_new = known is None or (number != known.ended and (known.run is None or known.run.id != number))
        if runs and is_new:
            known = self._begins(event.domain)
        return known.link if known else None

    @staticmethod
    def _tell(link: DomainLink | None, events: Sequence[MonitorEvent]) -> None:
        if link is not None and events:
            link.hear(events)

    def _lives(self, event: Lifecycle) -> None:
        domain = self._domains.get(event.domain.uuid)
        if domain is None or domain.run is None:
            return
        if event.event == STOPPED:
            self._ends(domain, end(event.detail))
        elif domain.link is not None:
            domain.link.may_have_changed()

    def _take_list(self, domains: Sequence[Domain]) -> None:
        """What runs now, whatever was missed."""
        running = {domain.uuid: domain for domain in domains}
        for uuid, domain in self._domains.items():
            if uuid not in running and (domain.run is not None or domain.left_at == inf):
                self._ends(domain, VANISHED)
        for uuid, run in running.items():
            known = self._domains.get(uuid)
            if known is None or known.run != run:
                self._begins(run)
        self._news.set()

    def _begins(self, run: Domain) -> "_Domain | None":
        """A run of a domain, be it one that we have met before."""
        domain = self._domains.get(run.uuid)
        if domain is not None and domain.run is not None:
            self._ends(domain, VANISHED)
        if domain is None or domain.target.name != _called(run):
            self._forget_the_gone()
            if len(self._domains) >= MAX_DOMAINS:
                self._refuse()
                return None
            domain = self._domains[run.uuid] = _Domain(self._target(run))
        domain.run = run
        if run.uuid not in self._own:
            self._meet(domain)
        self._news.set()
        return domain

    def _refuse(self) -> None:
        if not self._has_refused:
            self._has_refused = True
            self._stats.refused(self.source.name, {"many": 1})
            self._log.warning("libvirt has too many domains", most=MAX_DOMAINS)

    def _meet(self, domain: _Domain) -> None:
        """A session with the run that there is."""
        if self._connection is None or domain.run is None:
            return
        if self._entry.commands:
            allowed = without(domain.target.disabled, domain.target.kvm_stats).allowed
            domain.link = CommandLink(self._connection, domain.run, allowed, self._slots)
        else:
            domain.link = DomainLink(self._connection, domain.run)
        domain.target.line.put(domain.link)

    def _ends(self, domain: _Domain, how: End | None) -> None:
        """None: it may go on, and we do not hear of it."""
        if domain.link is not None:
            domain.link.ends(how)
        if domain.run is not None and how is not None:
            domain.ended = domain.run.id
        domain.run = domain.link = None
        domain.left_at = time.monotonic()
        self._news.set()

    # --- who is on the page

    async def _tell_fleet(self) -> None:
        while True:
            if await happens(self._news, CHECK_EVERY):
                self._news.clear()
            await self._leave_to_their_own_monitors()
            self._meet_again()
            self._forget_the_gone()
            if self._has_listed:
                wanted = [domain.target for uuid, domain in self._domains.items() if uuid not in self._own]
                self._fleet.want(self.source, wanted)
            await asyncio.sleep(GATHER)

    async def _leave_to_their_own_monitors(self) -> None:
        """A VM that has one is not watched through libvirt as well, whatever its name is there."""
        named = {name: uuid for uuid, name in self._own.items()}
        own: dict[str, str] = {}
        for name, watch in tuple(self._fleet.watches.items()):
            if isinstance(watch.target, DomainTarget):
                continue
            uuid = watch.vm.facts[IDENTITY].uuid or named.get(name, "")  # while it connects anew, it is whom it was
            if uuid in self._domains and (uuid in self._own or await self._is_true(uuid, watch)):
                own[uuid] = name
        before, self._own = self._own, own
        for uuid, domain in self._domains.items():
            if uuid in own and domain.link is not None:
                log.info("VM has a monitor of its own", vm=own[uuid], domain=domain.target.name)
                domain.link.ends(None)
                domain.link = None
            elif uuid in before and uuid not in own:
                self._meet(domain)

    def _meet_again(self) -> None:
        """Those whose watch has given up a session, though the domain runs: QEMU may have hung."""
        for domain in self._domains.values():
            if domain.link is not None and not domain.link.is_open:
                self._meet(domain)

    async def _is_true(self, uuid: str, watch: Watch) -> bool:
        """Whether it is the QEMU of this UUID: a UUID is no secret, and who claims it would take the VM off the page.

        What dials in has to be the process; what the configuration names, or finds, must not be another one.
        """
        process = await self._processes.find(uuid)
        is_known = process is not None and watch.pid is not None
        is_same = is_known and process is not None and process.pid == watch.pid
        return is_same or not (is_known or isinstance(watch.target, DialledIn))

    def _forget_the_gone(self) -> None:
        least = time.monotonic() - self._entry.grace
        self._domains = {
            uuid: domain for uuid, domain in self._domains.items() if domain.run is not None or domain.left_at > least
        }

    def _target(self, run: Domain) -> DomainTarget:
        shared = self._entry.shared
        values = {field.name: getattr(shared, field.name) for field in fields(shared)}
        named = {"name": _called(run), "socket": self._path, "uuid": run.uuid}
        return DomainTarget(**values | named, line=Mailbox(), processes=self._processes)

    # --- who hangs

    async def _ask_what_hangs(self) -> None:
        turn = YieldBudget()
        for domain in tuple(self._domains.values()):
            if domain.link is not None and domain.link.sends_nothing:  # else it looks itself before it asks
                domain.link.check_if_it_hangs()
            await turn.checkpoint()

    def _check_calls(self) -> None:
        """Where QEMUs that hang hold all calls that libvirt takes at a time, no other VM can be asked."""
        links = [caller for caller in self._slots.holders if isinstance(caller, CommandLink)]
        self._stats.libvirt_calls.labels(self.source.name).set(len(links))
        hanging = sorted(link.domain.name for link in links if link.hangs_for_long)
        stuck = f"no query can be asked: libvirt waits for {', '.join(hanging)}"
        if len(hanging) >= MONITOR_CALLS and self._complained != stuck:
            self._complained = stuck
            self._fleet.fails(self.source, stuck)
            self._log.warning("libvirt takes no more queries", waits_for=" ".join(hanging))
        elif len(hanging) < MONITOR_CALLS and self._complained:
            self._complained = ""
            self._fleet.works(self.source)
            self._log.info("libvirt takes queries again")


def _called(run: Domain) -> str:
    """As a label value; a domain without a name, which libvirt does not have, is called by its UUID."""
    return printable(run.name) or run.uuid
