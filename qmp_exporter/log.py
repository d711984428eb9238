"""What happens -> one line each on stderr, in logfmt or JSON; the journal is told the priority too."""

import logging
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from qmp_exporter.core.controls import without_controls
from qmp_exporter.runtime.bucket import Bucket

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
STDERR = 2  # its descriptor
PIECE = 4096  # bytes; PIPE_BUF, which the one who is ready to be written to takes without keeping us waiting
BURST = 20  # lines of one VM: a bad night of an honest one has fewer
PAUSE = 10.0  # seconds between two lines beyond that
MAX_LIMITED = 4096  # VMs
LOST = "log output blocked; lines dropped"  # what is said of it when it is taken again
# sd-daemon(3): the journal takes them off the line and knows its priority, so that `journalctl -p warning` finds it.
PREFIXES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}


class Lines:
    """Writes lines, as structlog wants it; what is not taken at once is lost, and told of when lines are taken again.

    A full disk, a journal that waits for one, or a reader that has ended must neither end the exporter nor hold it.
    """

    def __init__(self, descriptor: int, lost: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._lost_line = lost
        self._lost = 0
        self._begun = False  # a line, of which the rest was lost
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    def write(self, line: str) -> None:
        told = self._lost
        before = f"{self._lost_line(told)}\n" if told else ""
        if self._written(f"{before}{line}\n"):
            self._lost -= told
        else:
            self._lost += 1

    debug = info = warning = error = critical = write

    def _written(self, text: str) -> bool:
        left = memoryview((self._begun * "\n" + text).encode(errors="backslashreplace"))
        try:
            while left and self._ready.poll(0):
                left = left[os.write(self._descriptor, left[:PIECE]) :]
                self._begun = bool(left)
        except OSError:
            return False
        return not left


def configure(level: str, fmt: str) -> None:
    """`level` is one of LEVELS, `fmt` is logfmt or json.  The journal stamps its lines itself."""
    if sys.stderr is None:  # closed by who started us: no socket must get its number, and our words with it
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
    journal = _journal_reads(STDERR)
    stamp: list[Processor] = [] if journal else [structlog.processors.TimeStamper("iso", key="ts")]
    first = [*(["ts"] if stamp else []), "level", "msg", "vm"]
    render: Processor = (
        structlog.processors.JSONRenderer()
        if fmt == "json"
        else structlog.processors.LogfmtRenderer(key_order=first, drop_missing=True, bool_as_flag=False)
    )
    processors: list[Processor] = [
        Limiter(time.monotonic),
        _without_controls,
        *stamp,
        structlog.processors.add_log_level,
        structlog.processors.EventRenamer("msg"),
        structlog.processors.format_exc_info,
        _prefixed(render) if journal else render,
    ]

    def lost(lines: int) -> str:
        event: Any = {"event": LOST, "lines": lines}
        for process in processors:
            event = process(None, "warning", event)
        return str(event)

    lines = Lines(STDERR, lost)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )


class Limiter:
    """Lines of one VM: a burst, and then so many in a while; what was left out is told with the next one.

    A VM that hangs up and comes again without end must not fill the journal.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._vms: dict[str, _Allowance] = {}

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        vm = event.get("vm")
        if not isinstance(vm, str):
            return event
        now = self._clock()
        if vm not in self._vms and len(self._vms) >= MAX_LIMITED:
            del self._vms[next(iter(self._vms))]
        allowance = self._vms.setdefault(vm, _Allowance(now))
        if not allowance.lines.take(now):
            allowance.left_out += 1
            raise structlog.DropEvent
        if allowance.left_out:
            event["lines_left_out"] = allowance.left_out
            allowance.left_out = 0
        return event


class _Allowance:
    def __init__(self, now: float) -> None:
        self.lines = Bucket(PAUSE, BURST, now)
        self.left_out = 0


def _without_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What a peer calls itself makes no second line, moves no cursor and turns no text around."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = without_controls(value)
    return event


def _journal_reads(descriptor: int) -> bool:
    """Whether this is the stream that systemd opened to the journal (systemd.exec(5)), and no redirection of it."""
    stream = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def _prefixed(render: Processor) -> Processor:
    def line(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return f"{PREFIXES[event['level']]}{render(logger, method, event)!s}"

    return line
