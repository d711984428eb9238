"""What the web process asks -> what the watcher answers: pages, the JSON, whether it is ready, a reload."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

from qmp_exporter.channel.messages import Answer, BlackBox, Healthy, Overview, Page, Question, Ready
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.web.api import JsonOfTargets
from qmp_exporter.daemon.web.exposition import Exposition, selection

Reload = Callable[[], Awaitable[Sequence[str]]]


class Reply(NamedTuple):
    """An answer as it is sent: its head, and its body, as a whole or in parts."""

    head: Answer
    body: bytes | AsyncIterator[bytes]


class Answers:
    def __init__(
        self, fleet: Fleet, exposition: Exposition, targets: JsonOfTargets, reload: Reload | None = None
    ) -> None:
        """`reload` reads the configuration again and tells every error; without it nobody may ask for that."""
        self._fleet = fleet
        self._exposition = exposition
        self._targets = targets
        self._reload = reload

    async def to(self, question: Question) -> Reply:
        match question:
            case Page():
                return await self._page(question)
            case Overview():
                body = await self._targets.body(compressed=question.compressed)
                return Reply(Answer(compressed=question.compressed), body)
            case BlackBox():
                return self._black_box(question.vm)
            case Ready():
                return self._ready()
            case Healthy():
                return _said(200, b"healthy\n")
        return await self._reloaded()

    async def _page(self, question: Page) -> Reply:
        try:
            wanted = selection(question.collect, question.exclude)
        except ValueError as error:
            return _said(400, f"{error}\n".encode())
        if not question.compressed:
            return Reply(Answer(), self._exposition.page(wanted, openmetrics=question.openmetrics))
        packed = await self._exposition.packed(wanted, openmetrics=question.openmetrics)
        return Reply(Answer(compressed=True), packed)

    def _black_box(self, vm: str) -> Reply:
        watch = self._fleet.watches.get(vm)
        if watch is None or not watch.recorder.has_kept:
            return _said(404, b"nothing was kept of this VM: no trouble has begun since the exporter was started\n")
        guest, uuid, version = watch.vm.identity
        return _said(200, watch.recorder.recording(version, (watch.target.name, guest, uuid)))

    def _ready(self) -> Reply:
        reasons = [] if self._fleet.ready else ["not every target was tried yet"]
        reasons += [f"{source.name}: {why}" for source, why in sorted(self._fleet.failures.items())]
        return _said(503, _lines(reasons)) if reasons else _said(200, b"ready\n")

    async def _reloaded(self) -> Reply:
        if self._reload is None:
            return _said(403, b"wanted --web.enable-lifecycle\n")
        if errors := await self._reload():
            return _said(500, _lines(["the configuration is wrong; the one before holds:", *errors]))
        return _said(200, b"reloaded\n")


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def _said(status: int, text: bytes) -> Reply:
    return Reply(Answer(status), text)
