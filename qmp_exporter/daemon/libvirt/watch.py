"""The runs of a domain, as libvirt tells of them -> the life of its VM: each run is a session."""

import asyncio
import time
from dataclasses import dataclass
from math import inf
from typing import cast

from qmp_exporter.config import Target
from qmp_exporter.core.process import HostWants
from qmp_exporter.daemon.host.exits import ProcessExit
from qmp_exporter.daemon.host.qemu_processes import QemuProcess, vcpus
from qmp_exporter.daemon.libvirt.domain_link import DomainLink
from qmp_exporter.daemon.libvirt.found_processes import FoundProcesses
from qmp_exporter.daemon.monitor.link import Unreachable
from qmp_exporter.daemon.monitor.mailbox import Mailbox
from qmp_exporter.daemon.monitor.open_link import OpenLink
from qmp_exporter.daemon.monitor.watch import Watch

CHECKS, CHECK_EVERY = 3, 5.0  # for its process, and seconds in between
LIBVIRT_S_OWN = "of libvirt"  # what hangs where no query of ours is in flight


@dataclass(frozen=True, kw_only=True)
class DomainTarget(Target):
    """A target that is met through libvirt; `socket` is that of its daemon."""

    uuid: str
    line: Mailbox[DomainLink]
    processes: FoundProcesses


class LibvirtWatch(Watch):
    """The watch of a domain."""

    _libvirt_waits = 0.0  # seconds

    @property
    def _domain(self) -> DomainTarget:
        return cast("DomainTarget", self.target)

    def waits(self, now: float) -> float:
        """Where nothing is sent to QEMU: that libvirt has asked."""
        return self._libvirt_waits or super().waits(now)

    async def _watch(self) -> None:
        while True:
            link = await self._domain.line.take()
            try:
                await self._run_of(link)
            except Unreachable as failure:
                self.session.end(time.time(), is_detached=True)
                self._became(failure.state, str(failure))
            finally:
                await link.close()

    async def _run_of(self, link: DomainLink) -> None:
        """One run of the domain, or as much of it as libvirt tells."""
        self.session = self._new_session()
        link.note = self.recorder.note
        greeting = await link.open()
        early = link.attach(lambda messages: self._receive(link, messages), self._wake.set)
        self._note(self.session.receive([*early, greeting], time.time(), time.monotonic()))
        await self._converse(link)
        if self._domain.line.is_full:
            return
        self._became("refused" if link.is_detached else "missing", self.health.reason)

    # --- what differs from a monitor of our own

    def _turn(self, link: OpenLink) -> float:
        domain = cast("DomainLink", link)
        self._tell_hang(domain)
        if not domain.may_ask():
            return inf
        due = super()._turn(link)
        domain.asked()
        return due

    def _tell_hang(self, link: DomainLink) -> None:
        """Where libvirt itself waits for QEMU, and no query of ours could tell."""
        self._libvirt_waits = link.waits if link.hangs else 0.0
        if link.hangs and self.vm.monitor_state == "connected":
            self.vm.monitor("hung", time.time())
            self._say_that_it_waits(LIBVIRT_S_OWN)
        elif not link.hangs and link.sends_nothing and self.vm.monitor_state == "hung":
            self.vm.monitor("connected", time.time())
            self._say_that_it_waited()

    def _exit_of(self, link: OpenLink) -> ProcessExit | None:  # noqa: ARG002  it is known when the process is found
        return None

    async def _pid_of(self, link: OpenLink) -> int | None:
        process = await self._found()
        if cast("DomainLink", link).sends_nothing:
            self.vm.started_with(process.disks if process else (), time.time())
        if process is None:
            return None
        if self._telling is not None and process.pid == self.pid:  # it goes on; only libvirt was away
            self._telling.cancel()
        if self._dispatch.feeds("exited"):
            self._process_exit = ProcessExit.of_process(process.pid)
        return process.pid

    async def _found(self) -> QemuProcess | None:
        """Looked for a few times: a program that has the same UUID on its command line may be there for a moment."""
        for _ in range(CHECKS):
            process = await self._domain.processes.find(self._domain.uuid)
            if process is not None:
                return process
            await asyncio.sleep(CHECK_EVERY)
        return None

    def _host_wants(self, pid: int) -> HostWants:
        """Which threads are vCPUs their names tell, where QEMU is not asked."""
        wants = super()._host_wants(pid)
        if "query-cpus-fast" not in {query.command for query in self.session.scheduler.available}:
            wants.vcpus = vcpus(pid)
        return wants

    def _end_session(self, link: OpenLink, at: float) -> None:
        domain = cast("DomainLink", link)
        self._was_announced = domain.end is not None and domain.end.announced
        if domain.end is not None:
            self.vm.facts.ending = domain.end.announced
        self.session.end(at, is_detached=domain.is_detached)

    def _say_why_it_ended(self, link: OpenLink) -> None:
        end = cast("DomainLink", link).end
        if end is None:
            self.health = self.health._replace(reason="libvirt is out of reach")
            return
        self.health = self.health._replace(reason=end.words)
        if end.announced:
            self._log.info("monitor lost", why=end.words, announced=True)
        else:
            self._log.warning("monitor lost", why=end.words, announced=False)
