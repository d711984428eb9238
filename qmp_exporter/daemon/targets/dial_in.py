"""Connections to a socket of ours -> targets of the fleet, each named as its QEMU names itself."""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from dataclasses import fields
from functools import partial
from pathlib import Path

import structlog

from qmp_exporter.catalog.identity import Identity
from qmp_exporter.config import Listener
from qmp_exporter.daemon.monitor.dial_in_watch import DialledIn
from qmp_exporter.daemon.monitor.inbound import NOBODY, InboundConnection
from qmp_exporter.daemon.monitor.link import Unreachable, reason
from qmp_exporter.daemon.monitor.mailbox import Mailbox
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import DIAL_IN, Source
from qmp_exporter.runtime.own_socket import OwnSocket, own_socket
from qmp_exporter.runtime.paths import PathCalls
from qmp_exporter.runtime.waiting import happens

RETRY = 5.0  # seconds until it is tried again to listen, or to accept
CHECK_EVERY = 5.0  # seconds without anybody who comes until it is looked whether the socket's file is still there
MAX_VMS = 4096  # names on one socket within the grace period; twice what a hypervisor runs
MAX_STRANGERS = 256  # connections that have not said yet who they are; at 0.3 MiB at most
SHARE = 4  # of them from one process that are left alone when there is no room for another's
GREETS_WITHIN = 1.0  # seconds, when there is no room: QEMU greets at once
VMS_OF_A_PROCESS = 1  # a QEMU is one VM; one that says it is many would fill the page
VMS_OF_A_USER = 3072  # within the grace period, so that there is room for those of others
BRAKE = 0.005  # seconds between two connections that take the room of older ones
GATHER = 0.02  # seconds in which VMs that come are gathered: telling the fleet costs more the more VMs there are
REMIND = 600.0  # seconds between two lines of log about the same trouble; QEMU comes again each second
MAX_TROUBLES = 256  # that are remembered for it, and so the lines of log in that time

log = structlog.get_logger()


class Refused(Exception):
    """A QEMU that is not let in; `reason` is a word for a label."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _Vm:
    """A VM that is there, or was within the grace period."""

    def __init__(self, target: DialledIn) -> None:
        self.target = target
        self.call: InboundConnection | None = None
        self.left_at = 0.0
        self.process = NOBODY  # that was connected last


class DialIn:
    """One socket.  The fleet has those who are there; those who left it keeps for the grace period."""

    def __init__(self, listener: Listener, fleet: Fleet, stats: Selfstats) -> None:
        self._listener = listener
        self._fleet = fleet
        self._stats = stats
        self.source = Source(DIAL_IN, f"listen {listener.socket}")
        self._vms: dict[str, _Vm] = {}
        self._strangers: dict[InboundConnection, asyncio.Task[None]] = {}
        self._room = asyncio.Event()
        self._paths = PathCalls()
        self._news = asyncio.Event()
        self._troubles: dict[tuple[str, int | None, str], float] = {}
        self._log = log.bind(socket=listener.socket)

    async def run(self) -> None:
        """Never returns; ends by being cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell_fleet())
                await self._listen(group)
        finally:
            for call in tuple(self._strangers):  # whose task was cancelled before it had begun
                await call.close()
            self._strangers.clear()
            self._fleet.want(self.source, ())

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        """The one who is connected stays so, whatever becomes of the socket."""
        complained = ""
        while True:
            try:
                own = await self._own_socket()
                try:
                    self._log.info("listening for VMs that dial in")
                    self._fleet.works(self.source)
                    complained = ""
                    self._news.set()
                    await self._serve(own, group)
                finally:
                    with contextlib.suppress(OSError):
                        await self._paths.run(self._listener.socket, own.remove)
                self._log.warning("the socket where VMs dial in was removed; it is made again")
            except OSError as error:
                self._fleet.cannot_say(self.source, reason(error))
                if complained != (complained := reason(error)):
                    self._log.error("cannot listen for VMs that dial in", why=complained)
                await asyncio.sleep(RETRY)

    async def _own_socket(self) -> OwnSocket:
        path, mode, group = Path(self._listener.socket), self._listener.mode, self._listener.group
        return await self._paths.run(str(path), partial(own_socket, path, mode, group), OwnSocket.remove)

    async def _serve(self, own: OwnSocket, group: asyncio.TaskGroup) -> None:
        """Until nobody can come any more."""
        while True:
            await self._make_room()
            connection = await self._accept(own)
            if connection is None:
                return
            call = InboundConnection(connection, self._stats)
            self._strangers[call] = group.create_task(self._receive(call))

    async def _accept(self, own: OwnSocket) -> socket.socket | None:
        """Not by the loop's sock_accept(), which loses a connection when it is cancelled at the wrong moment.

        None: the socket's file is gone.
        """
        while True:
            if not await _readable(own.listener):
                if not await self._paths.run(str(own.path), own.is_there):
                    return None
                self._fleet.works(self.source)  # nobody waits for what could not be accepted a while ago
                continue
            try:
                connection, _ = own.listener.accept()
            except BlockingIOError:  # it has thought better of it
                continue
            except OSError as error:
                self._log.error("cannot accept a VM that dials in", why=reason(error), again_in=RETRY)
                self._fleet.fails(self.source, reason(error))
                await asyncio.sleep(RETRY)
            else:
                connection.setblocking(False)  # noqa: FBT003  the standard library's way
                self._fleet.works(self.source)
                return connection

    async def _make_room(self) -> None:
        """Who has not said who it is has some seconds; a process that wants the room of all others has less."""
        while len(self._strangers) >= MAX_STRANGERS:
            pid, number = Counter(call.process.pid for call in self._strangers).most_common(1)[0]
            silent = next((call for call in self._strangers if not call.link.protocol.has_greeted), None)
            waited = 0.0 if silent is None else time.monotonic() - silent.came_at
            if number > SHARE:
                oldest = next(call for call in self._strangers if call.process.pid == pid)
                await self._evict(oldest, f"{number} connections of this process have not said who they are")
            elif silent is not None and waited >= GREETS_WITHIN:
                await self._evict(silent, f"{len(self._strangers)} connections have not said who they are")
            else:
                self._room.clear()
                await happens(self._room, GREETS_WITHIN if silent is None else GREETS_WITHIN - waited)

    async def _evict(self, call: InboundConnection, why: str) -> None:
        self._strangers.pop(call).cancel()
        self._turn_away(call, "flood", why)
        await asyncio.sleep(BRAKE)

    async def _receive(self, call: InboundConnection) -> None:
        """A connection, from when it was accepted to its end."""
        vm = None
        try:
            await call.identify()
            self._is_known(call)
            vm = self._admit(call)
            before, vm.call, vm.process = vm.call, call, call.process
            self._news.set()
            vm.target.line.put(call)
            if before is not None:
                await before.close()
            await call.over.wait()
        except Unreachable as failure:
            if failure.state == "busy":  # with a monitor that we connect to, silence means that another client has it
                self._turn_away(call, "silent", "it connected and said nothing")
            else:
                self._turn_away(call, "failed", str(failure))
        except Refused as refusal:
            self._turn_away(call, refusal.reason, str(refusal))
        except Exception:
            log.exception("a bug in the exporter ended a connection", socket=self._listener.socket)
        finally:
            self._is_known(call)
            if vm is not None and vm.call is call:
                vm.call, vm.left_at = None, time.monotonic()
                self._news.set()
            await call.close()

    async def _tell_fleet(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            there = [vm.target for vm in self._vms.values() if vm.call is not None]
            self._fleet.want(self.source, there, grace=self._listener.grace)
            await asyncio.sleep(GATHER)

    def _is_known(self, call: InboundConnection) -> None:
        self._strangers.pop(call, None)
        self._room.set()

    # --- who is let in

    def _admit(self, call: InboundConnection) -> _Vm:
        """:raise Refused: it has no name, or one that is another's, or there are too many."""
        name = self._name(call.identity)
        self._limit(name, call)
        vm = self._vms.get(name)
        if vm is None:
            return self._vms.setdefault(name, _Vm(self._target(name)))
        if self._is_remembered(vm) and vm.process.uid != call.process.uid:
            raise Refused("name_taken", f"{name} is, or was just now, a VM of the user {vm.process.uid}")
        if vm.call is not None and not vm.call.over.is_set():
            self._compare(name, vm.call, call)
        return vm

    def _limit(self, name: str, call: InboundConnection) -> None:
        """:raise Refused: its process has a VM already, or its user has very many, or all together have."""
        if len(self._vms) >= VMS_OF_A_USER:
            self._forget_the_gone()
        others = [vm for known, vm in self._vms.items() if known != name]
        pid, uid, _ = call.process
        of_process = [vm for vm in others if vm.call is not None and vm.process.pid == pid]
        if pid is not None and len(of_process) >= VMS_OF_A_PROCESS:
            raise Refused("process", f"the process {pid} is another VM already: {of_process[0].target.name}")
        if len(others) >= MAX_VMS:
            raise Refused("too_many", f"{MAX_VMS} VMs are or were here within the grace period")
        if sum(vm.process.uid == uid for vm in others) >= VMS_OF_A_USER:
            raise Refused("too_many", f"{VMS_OF_A_USER} VMs of the user {uid} are or were here within the grace period")

    def _name(self, identity: Identity) -> str:
        if self._listener.name_from == "name" and identity.name:
            return identity.name
        if identity.uuid:  # unique, as a name has to be
            return identity.uuid
        wanted = "-name or -uuid" if self._listener.name_from == "name" else "-uuid"
        raise Refused("nameless", f"nothing to name it by: start QEMU with {wanted}")

    def _compare(self, name: str, old: InboundConnection, new: InboundConnection) -> None:
        """The one that is there stays, as long as it answers: name and uuid are no secret, and anybody may say them."""
        if not _is_same(old, new):
            raise Refused("name_taken", f"another VM that is connected has the name {name}")
        if old.process.label != new.process.label:
            raise Refused("name_taken", f"the VM {name} that is connected has another security label")
        watch = self._fleet.watches.get(name)
        if watch is None or watch.vm.monitor_state != "hung":
            raise Refused("twice", f"{name} is connected already")
        pid, older_pid = new.process.pid, old.process.pid
        self._log.warning("dialled in twice, and the older one is silent", vm=name, pid=pid, older_pid=older_pid)

    def _is_remembered(self, vm: _Vm) -> bool:
        return vm.call is not None or vm.left_at > time.monotonic() - self._listener.grace

    def _forget_the_gone(self) -> None:
        self._vms = {name: vm for name, vm in self._vms.items() if self._is_remembered(vm)}

    def _target(self, name: str) -> DialledIn:
        shared = self._listener.shared
        values = {field.name: getattr(shared, field.name) for field in fields(shared)}
        return DialledIn(**values | {"name": name, "socket": self._listener.socket}, line=Mailbox())

    def _turn_away(self, call: InboundConnection, why: str, text: str) -> None:
        self._stats.dial_in_refused.labels(why).inc()
        pid = call.process.pid
        trouble = why, pid, call.identity.name
        now = time.monotonic()
        if now < self._troubles.get(trouble, float("-inf")) + REMIND:
            return
        if len(self._troubles) >= MAX_TROUBLES:
            self._troubles = {one: at for one, at in self._troubles.items() if now < at + REMIND}
        if len(self._troubles) >= MAX_TROUBLES:  # by as many processes as somebody likes to start
            return
        self._troubles[trouble] = now
        name, uuid = call.identity
        self._log.warning("a connection was turned away", reason=why, why=text, pid=pid, name=name, uuid=uuid)


async def _readable(listener: socket.socket) -> bool:
    """Whether somebody came, within CHECK_EVERY."""
    loop = asyncio.get_running_loop()
    somebody = asyncio.Event()
    loop.add_reader(listener, somebody.set)
    try:
        async with asyncio.timeout(CHECK_EVERY):
            await somebody.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(listener)
    return True


def _is_same(one: InboundConnection, other: InboundConnection) -> bool:
    """One VM: with one uuid; where it has none, in one process."""
    if one.identity != other.identity:
        return False
    return bool(one.identity.uuid) or (one.process.pid is not None and one.process.pid == other.process.pid)
