"""A story of one VM: what happens to it and what it answers -> what its page must then say."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import Raw

from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.dispatch import Dispatch
from qmp_exporter.core.page import Page
from qmp_exporter.core.protocol import Answer, Message
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.core.samples import LINGER
from qmp_exporter.core.session import Outcome, Session
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import BadMessage, Event, Greeting

BOOT = 1_700_000_000.0  # seconds since the epoch, when the story begins
POLL = 15.0  # seconds


class Story:
    """A VM whose monitor is connected, unless told otherwise; each step takes a second."""

    def __init__(self, *, connected: bool = True, version: str = "10.0.2", dispatch: Dispatch = CATALOG) -> None:
        self.now = BOOT
        self.vm = Vm(dispatch, at=self.now)
        self.session = self._new_session()
        self._read: list[Message] | None = None
        known = (QUERY_COMMANDS, *CATALOG.queries, *dispatch.queries)
        self._queries = {query.reply: query for query in reversed(known) if not query.since}
        self._queries |= {query.reply: query for query in known if query.reply not in self._queries}
        self._page = Page(CATALOG.families)
        self._page.add("web01", {})
        if connected:
            self.connects(version)

    # --- what happens

    def connects(self, version: str = "10.0.2", commands: list[str] | None = None) -> None:
        """`commands`: what QEMU says it has; None: all that the catalog knows."""
        self._pass()
        self._told(Greeting(version))
        self.answers(
            "query-commands",
            [{"name": name} for name in commands or {query.command for query in self._queries.values()}],
        )

    def disconnects(self) -> None:
        self._pass()
        self.session.end(self.now)
        self.session = self._new_session()

    def cannot_connect(self, state: str) -> None:
        self._pass()
        self.vm.monitor(state, self.now)

    def happens(self, name: str, *, at: float | None = None, **data: Any) -> None:
        """An event; members have underscores for hyphens.  `at`: its own time, where the host's clock is elsewhere."""
        self.emits(name, {member.replace("_", "-"): value for member, value in data.items()}, at=at)

    def emits(self, name: str, data: Any, *, at: float | None = None) -> None:
        """An event with its data as they are.

        :raise BadMessage: the exporter says so.
        """
        self._pass()
        self._told(Event(name, raw(data), self.now if at is None else at))

    @contextmanager
    def in_one_read(self) -> Iterator[None]:
        """What happens meanwhile arrives together, at the end."""
        self._read = []
        yield
        messages, self._read = self._read, None
        self.session.receive(messages, self.now, self.now)

    def asks(self, command: str) -> None:
        """A query is sent, whether it is its turn or not; by what its reply is called."""
        self._pass()
        self.session.scheduler.ask(self._queries[command], self.now)

    def answers(self, command: str, value: Any) -> None:
        """A query is sent and answered at once.

        :raise BadMessage: the exporter says so.
        """
        self.asks(command)
        assert self.replies(command, value)

    def replies(self, command: str, value: Any) -> bool:
        """The answer to a query sent before; whether it was taken.

        :raise BadMessage: the exporter says so.
        """
        return self._told(Answer(self._queries[command], raw(value), "", 0.0)) == "ok"

    def refuses(self, command: str) -> None:
        """A query is answered by an error."""
        self.asks(command)
        self._told(Answer(self._queries[command], None, "GenericError", 0.0))

    def wants(self) -> set[str]:
        """The queries that would be asked next, if nothing else happened and no time passed; they count as answered."""
        commands = set()
        while query := self.session.scheduler.next(self.now + 2.0):
            self.session.scheduler.answered(query, self.now + 2.0)
            commands.add(query.command)
        return commands

    def wants_within_a_minute(self) -> set[str]:
        """What is asked meanwhile, if nothing happens."""
        return set().union(*(self._wants_after_a_second() for _ in range(60)))

    def _wants_after_a_second(self) -> set[str]:
        self.now += 1.0
        return self.wants()

    # --- what the page says

    def page(self) -> dict[str, float]:
        """The samples, without the label vm."""
        self.vm.heard()
        self._page.refresh("web01", self.vm.samples)
        samples = (line.rsplit(" ", 1) for line in self._page.text().splitlines() if not line.startswith("#"))
        return {name.replace(',vm="web01"', "").replace('{vm="web01"}', ""): float(value) for name, value in samples}

    def scraped_for_long(self) -> None:
        """Scrapes come and go, until what only waited to be seen once more has ended."""
        for now in (self.now, self.now + LINGER):
            self.vm.samples.leave(now)

    def says(self, sample: str, value: float) -> None:
        assert self.page().get(sample) == value, f"{sample} is {self.page().get(sample)}"

    def says_nothing_of(self, start: str) -> None:
        """No sample begins so."""
        assert [sample for sample in self.page() if sample.startswith(start)] == []

    def says_only(self, family: str, *samples: str) -> None:
        """Of all samples of a family, these are 1 and the others are 0."""
        of_it = {sample: value for sample, value in self.page().items() if sample.split("{")[0] == family}
        assert {sample for sample, value in of_it.items() if value} == set(samples)
        assert all(of_it[sample] == 1 for sample in samples)

    def _told(self, message: Message) -> str:
        """What became of it, where it is an answer.

        :raise BadMessage: the exporter says so.
        """
        if self._read is not None:
            self._read.append(message)
            return ""
        result = ""
        for notice in self.session.receive([message], self.now, self.now):
            if isinstance(notice, BadMessage):
                raise notice
            if isinstance(notice, Outcome):
                result = notice.result
        return result

    def _new_session(self) -> Session:
        return Session(self.vm, poll_interval=POLL, chance=0.0)

    def _pass(self) -> None:
        self.now += 1.0


def raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What two pages differ in, and what it is on the later one."""
    return {sample: value for sample, value in after.items() if before.get(sample) != value}
