"""One target -> the life of its VM: connect, ask, listen, back off.  The only writer of its Vm."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from qmp_exporter.catalog.troubles import ROWS_OF_A_VM
from qmp_exporter.catalog.vm import RUN_STATE
from qmp_exporter.config import Target
from qmp_exporter.core.activity import Activity
from qmp_exporter.core.backoff import LONGEST, delay, least_delay
from qmp_exporter.core.black_box import BlackBox, Recorder
from qmp_exporter.core.budget import Budget
from qmp_exporter.core.current_troubles import CurrentTroubles
from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.event_log import Entry
from qmp_exporter.core.family import LIFECYCLE
from qmp_exporter.core.in_flight import PATIENCE
from qmp_exporter.core.lines import SHARED as LINE_BYTES
from qmp_exporter.core.process import EXITED, HOST_WANTS, HostWants
from qmp_exporter.core.protocol import Answer, LateAnswer, Message, Protocol
from qmp_exporter.core.query_scheduler import in_a_slot
from qmp_exporter.core.samples import SHARED as SERIES
from qmp_exporter.core.session import Notice, Outcome, Session
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import BadMessage, Event
from qmp_exporter.daemon.host.exits import ProcessExit
from qmp_exporter.daemon.host.network import NetworkReader
from qmp_exporter.daemon.host.process import ProcessReader, peer_pid
from qmp_exporter.daemon.host.unix_sockets import UnixSockets
from qmp_exporter.daemon.monitor.approach import Approach
from qmp_exporter.daemon.monitor.connect_limiter import ConnectLimiter
from qmp_exporter.daemon.monitor.link import Link, Unreachable, reason
from qmp_exporter.daemon.monitor.news import News
from qmp_exporter.daemon.monitor.open_link import OpenLink
from qmp_exporter.daemon.monitor.socket_files import SocketFiles
from qmp_exporter.daemon.monitor.trouble_log import tell
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.runtime.paths import PathCalls

FIRST_CHECK = 1.0  # seconds until the process is looked at again when QEMU has not said yet which threads are vCPUs
A_BUG = "a bug in the exporter ended the session; its log says more"
EVENTS_EVERY = 10.0  # seconds between two lines of log about events: what comes meanwhile is in one line

log = structlog.get_logger()


class Health(NamedTuple):
    """What is known of a monitor beside its state; times in seconds since the epoch."""

    since: float  # when the session began, or when there was none any more
    reason: str = ""  # why there is none, in words
    retry_at: float | None = None  # when the next attempt is due; None while there is a session or an attempt


class Shared:
    """What all watches have in common."""

    def __init__(self, *, log_events: bool = False) -> None:
        self.log_events = log_events
        self.limiter = ConnectLimiter()
        self.network = NetworkReader()
        self.line_bytes = Budget(LINE_BYTES)
        self.series = Budget(SERIES)
        self.paths = PathCalls()
        self.files = SocketFiles()
        self.sockets = UnixSockets()
        self.news: News[Watch] = News()
        self.black_box = BlackBox()


class Watch:
    """`chance` yields numbers in [0, 1): the jitter of polls and of the back-off."""

    hears_events = True

    def __init__(
        self,
        target: Target,
        dispatch: Dispatch,
        stats: Selfstats,
        chance: Callable[[], float],
        shared: Shared | None = None,
    ) -> None:
        self.rename(target)
        self._shared = shared or Shared()
        self.vm = Vm(dispatch, time.time(), self._shared.series, hears_events=self.hears_events)
        self.activity = Activity()
        self.troubles = CurrentTroubles(ROWS_OF_A_VM, self.vm.values, dispatch.label_names)
        self.health = Health(time.time())
        self._dispatch = dispatch
        self._stats = stats
        self._chance = chance
        self.session = self._new_session()
        self._wake = asyncio.Event()
        self._turn_at = float("inf")
        self._told_state: tuple[str, float | None] = ("", None)  # of the monitor and the VM, to those who look at it
        self._ended = ""  # how the last process did, in words
        self.pid: int | None = None  # of QEMU, in the last session; None where it is not known
        self._telling: asyncio.Task[None] | None = None
        self._process_exit: ProcessExit | None = None  # of the process of this session
        self._afterwards = asyncio.TaskGroup()
        self._said_limited = False
        self.recorder = Recorder(self._shared.black_box, time.monotonic)
        self._was_announced = False  # the end of the last session
        self._waits_since: float | None = None  # said, and not yet that it is over
        self._told_events: dict[Entry, float] = {}  # how many of each
        self._events_logged_at = float("-inf")

    def rename(self, target: Target) -> None:
        """Go on under another name; `target` differs in nothing else."""
        self.target = target
        self._log = log.bind(vm=target.name, socket=target.socket)

    def check_for_troubles(self, now: float, at: float) -> bool:
        """`now` on a clock that never jumps, `at` in seconds since the epoch.  Whether one began or is over."""
        change = self.troubles.update(now, at)
        if change.began:
            self.recorder.keep()
        tell(self._log, change, at)
        self.activity.note(self.vm.values, now)
        return bool(change.began or change.over)

    def waits(self, now: float) -> float:
        """For how many seconds QEMU has answered nothing that it was asked."""
        return self.session.waits(now)

    async def run(self) -> None:
        """Never returns; ends by being cancelled."""
        async with asyncio.TaskGroup() as self._afterwards:
            await self._watch()

    async def _watch(self) -> None:
        failures = in_haste = 0
        while True:
            approach = Approach(self.target, self._shared.sockets)
            started = time.monotonic()
            state = await self._attempt(approach)
            lasted = state == "connected" and time.monotonic() - started > LONGEST
            failures, in_haste = (1, 0) if lasted else (failures + 1, in_haste)
            seconds = delay(failures, self._chance(), busy=state == "busy")
            in_haste = in_haste + 1 if await self._pause(seconds, least_delay(in_haste), approach) else 0

    async def _attempt(self, approach: Approach) -> str:
        """One attempt, and the session that comes of it; what state it reached."""
        self.health = self.health._replace(retry_at=None)
        self.session = self._new_session()
        try:
            async with self._shared.limiter.slot():
                address = await approach.connect(self._shared.paths)
                link = Link(
                    address,
                    Protocol(self._dispatch.allowed, time.monotonic(), budget=self._shared.line_bytes),
                    receive=lambda messages: self._receive(link, messages),
                    ended=self._wake.set,
                )
                link.note = self.recorder.note
                await link.open()
        except Unreachable as failure:
            self.session.end(time.time())
            self._became(failure.state, str(failure))
            return failure.state
        await self._converse(link)
        return "connected"

    def _new_session(self) -> Session:
        unasked = () if self.target.query_block else ("query-block",)
        return Session(self.vm, self.target.poll_interval, self._chance(), unasked)

    async def _converse(self, link: OpenLink) -> None:
        """A session, from the negotiation to its end."""
        self._log.info("monitor connected", version=self.vm.facts.version)
        self._ended, self._waits_since = "", None
        self._process_exit = self._exit_of(link)
        try:
            self.health = Health(time.time())
            async with asyncio.TaskGroup() as group:
                polling = group.create_task(self._poll_process(link))
                await self._serve(link)
                polling.cancel()
        finally:
            self._was_announced = self.vm.facts.ending
            await link.close()
            self.health = Health(time.time(), A_BUG)
            self._end_session(link, self.health.since)
            self._tell_its_state()
            self._tell_exit_when_it_is_known()
        self._say_why_it_ended(link)

    def _exit_of(self, link: OpenLink) -> ProcessExit | None:
        """Of the process behind a socket."""
        if not isinstance(link, Link) or link.socket is None or not self._dispatch.feeds("exited"):
            return None
        return ProcessExit.of_peer(link.socket, time.time())

    async def _pid_of(self, link: OpenLink) -> int | None:
        """The same process, if it is one of this host."""
        return peer_pid(link.socket) if isinstance(link, Link) and link.socket is not None else None

    def _host_wants(self, pid: int) -> HostWants:  # noqa: ARG002  QEMU itself has told which threads are what
        return self.vm.facts[HOST_WANTS]

    def _end_session(self, link: OpenLink, at: float) -> None:  # noqa: ARG002  the loss of a socket is an end, whatever was said
        self.session.end(at)

    def _tell_exit_when_it_is_known(self) -> None:
        process_exit, self._process_exit = self._process_exit, None
        if process_exit is not None:
            self._telling = self._afterwards.create_task(self._tell_exit(process_exit))
            self._telling.add_done_callback(lambda _: process_exit.close())  # even where it never begins

    async def _tell_exit(self, process_exit: ProcessExit) -> None:
        """The monitor is lost; meanwhile the watch goes on, for QEMU may be there."""
        told = await process_exit.wait()
        if told is None:
            return
        self.vm.exited(told.how, time.time())
        if self.health.reason:  # else there is a session again
            self._ended = told.words
            self.health = self.health._replace(reason=f"{self.health.reason}; {told.words}")
        if told.how == EXITED:
            self._log.info("process ended", how=told.how, why=told.words)
        else:
            self._log.warning("process ended", how=told.how, why=told.words)

    async def _serve(self, link: OpenLink) -> None:
        """Take a turn when it is time, until the session ends; when something was heard there is one at once."""
        loop = asyncio.get_running_loop()
        while link.is_open:
            self._wake.clear()
            self._turn_at = self._turn(link)
            timer = loop.call_at(self._turn_at, self._wake.set)  # asyncio.timeout() costs a cancellation each time
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _receive(self, link: OpenLink, messages: Sequence[Message]) -> None:
        """What one read brought.  Nobody is woken to send the next query, only where a turn is due earlier now."""
        began = time.thread_time()  # of the processor: on a busy host others have it in between
        self._note(self.session.receive(messages, time.time(), time.monotonic()))
        took = time.thread_time() - began
        for message in messages:
            if isinstance(message, Answer):
                self.session.scheduler.took_us(message.query, took)
        if any(isinstance(message, Event) for message in messages):
            self._shared.news.tell(self)
        if self._shared.log_events:
            self._log_events(time.monotonic())
        if link.is_open and self._turn(link) < self._turn_at:
            self._wake.set()

    def _log_events(self, now: float) -> None:
        """One line for all that came with the same labels since the last ones, at once or after EVENTS_EVERY."""
        if now < self._events_logged_at + EVENTS_EVERY:
            return
        told, self._told_events = self._told_events, {}
        for one, labels in self.vm.entries():
            self._told_events[one] = one.count
            more = int(one.count - told.get(one, 0))
            if more > 0 and one.event not in LIFECYCLE:
                self._events_logged_at = now
                self._log.info("event", name=one.event, count=more, at=round(one.last, 3), **labels)

    def _turn(self, link: OpenLink) -> float:
        """Send what the session wants now; when it will want something next."""
        turn = self.session.turn(time.time(), time.monotonic())
        self._note(turn.notices)
        self._tell_its_state()
        if turn.query is not None:
            link.ask(turn.query, turn.arguments)
        return turn.due

    def _note(self, notices: Iterable[Notice]) -> None:
        """What is worth a metric of ours, or a line of log."""
        bad: dict[str, list[BadMessage]] = {}
        for notice in notices:
            match notice:
                case Outcome():
                    self._note_outcome(notice)
                case LateAnswer():
                    self._stats.dropped.labels("late").inc()
                case BadMessage(reason=reason):
                    bad.setdefault(reason, []).append(notice)
        for reason, messages in bad.items():  # one read may bring thousands
            self._stats.bad_messages.labels(reason).inc(len(messages))
            self._log.debug("bad messages", reason=reason, count=len(messages), first=str(messages[0]))

    def _note_outcome(self, outcome: Outcome) -> None:
        command = outcome.query.command
        if outcome.seconds is not None:
            self._stats.command_seconds.labels(command).observe(outcome.seconds)
        if outcome.result != "ok":
            result = outcome.result if outcome.result in _RESULTS else "other"
            self._stats.command_errors.labels(command, result).inc()
        if outcome.result == "timeout":
            self._say_that_it_waits(command)
        elif outcome.seconds is not None:
            self._say_that_it_waited()

    def _say_that_it_waits(self, command: str) -> None:
        """Once, however many queries are not answered one after the other."""
        if self._waits_since is None:
            self._waits_since = time.monotonic() - PATIENCE
            self._log.warning("query unanswered", command=command, seconds=PATIENCE)

    def _say_that_it_waited(self) -> None:
        if self._waits_since is not None:
            self._log.info("queries answered again", seconds=round(time.monotonic() - self._waits_since, 1))
            self._waits_since = None

    def _tell_its_state(self) -> None:
        """To the one who looks for troubles, where the state of the monitor or of the VM is another one."""
        state = self.vm.monitor_state, self.vm.facts[RUN_STATE].since
        if state != self._told_state:
            self._told_state = state
            self._shared.news.tell(self)

    async def _poll_process(self, link: OpenLink) -> None:
        """Ask the host's kernel about QEMU's process as often as QEMU is polled."""
        self.pid = pid = await self._pid_of(link)
        if pid is None or not self.vm.host_parts:
            return
        reader = ProcessReader(pid, self.vm.host_parts, self._shared.network)
        while True:
            self._read_process(reader)
            seconds = self.target.poll_interval if self.vm.facts[HOST_WANTS].vcpus else FIRST_CHECK
            await asyncio.sleep(in_a_slot(time.monotonic() + seconds, seconds) - time.monotonic())

    def _read_process(self, reader: ProcessReader) -> None:
        info = reader.read(self._host_wants(reader.pid), time.monotonic())
        if info is not None and not reader.was_found:
            reader.was_found = True
            self.vm.process_found(time.time())
        self.vm.process(info, time.time())
        if self._process_exit is not None:
            self._process_exit.check()

    def count_limited(self) -> None:
        """Samples found no room for a new value of a label; the log says so once."""
        samples = self.vm.samples
        self._stats.series_limited.inc(samples.limited)
        samples.limited = 0
        if not self._said_limited:
            self._said_limited = True
            self._log.warning("too many series: the rest is counted as other, or absent")

    def _became(self, state: str, why: str) -> None:
        self.health = self.health._replace(reason="; ".join(filter(None, (why, self._ended))))
        if not self.vm.monitor(state, time.time()):
            return
        self._tell_its_state()
        if self._was_announced and state in {"missing", "refused"}:  # who ended it knows
            self._log.info("monitor unreachable", state=state, why=why)
        else:
            self._log.warning("monitor unreachable", state=state, why=why)

    def _say_why_it_ended(self, link: OpenLink) -> None:
        error, announced = link.error, self._was_announced
        if error is None or isinstance(error, EOFError | OSError):
            why = reason(error) if error else "closed"
            ended = "QEMU announced its end" if announced else "connection closed without a SHUTDOWN event"
            self.health = self.health._replace(reason=f"{ended} ({why})")
            if announced:
                self._log.info("monitor lost", why=why, announced=True)
            else:  # a crash, most likely, which `journalctl -p warning` has to show
                self._log.warning("monitor lost", why=why, announced=False)
        else:
            self._log.error("a bug in the exporter ended the session", exc_info=error)

    async def _pause(self, seconds: float, least: float, approach: Approach) -> bool:
        """Wait out the back-off, but no longer than it takes a new QEMU to make its socket; whether it has.

        And no less than `least`: the one who may touch the file must not make us connect without end.
        """
        self.health = self.health._replace(retry_at=time.time() + seconds)
        least = min(least, seconds)
        await asyncio.sleep(least)
        if self.target.socket.startswith("/"):
            return await self._shared.files.has_changed(self.target.socket, approach.seen, seconds - least)
        await asyncio.sleep(seconds - least)
        return False


# QapiErrorClass (qapi/error.json), and what becomes of a query without an error of QEMU's.
_RESULTS = frozenset(
    {"GenericError", "CommandNotFound", "DeviceNotActive", "DeviceNotFound", "KVMMissingCap", "overtaken", "timeout"}
)
