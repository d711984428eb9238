"""What happens -> one line each on stderr, in logfmt or JSON; the journal is told the priority too."""

import logging
import os
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
STDERR = 2  # its descriptor
# sd-daemon(3): the journal takes them off the line and knows its priority, so that `journalctl -p warning` finds it.
PREFIXES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}


def configure(level: str, fmt: str) -> None:
    """`level` is one of LEVELS, `fmt` is logfmt or json.  The journal stamps its lines itself."""
    journal = _journal_reads(STDERR)
    stamp: list[Processor] = [] if journal else [structlog.processors.TimeStamper("iso", key="ts")]
    first = [*(["ts"] if stamp else []), "level", "msg", "vm"]
    render: Processor = (
        structlog.processors.JSONRenderer()
        if fmt == "json"
        else structlog.processors.LogfmtRenderer(key_order=first, drop_missing=True)
    )
    structlog.configure(
        processors=[
            *stamp,
            structlog.processors.add_log_level,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.format_exc_info,
            _prefixed(render) if journal else render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _journal_reads(descriptor: int) -> bool:
    """Whether this is the stream that systemd opened to the journal (systemd.exec(5)), and no redirection of it."""
    stream = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def _prefixed(render: Processor) -> Processor:
    def line(logger: WrappedLogger, method: str, event: EventDict) -> str:
        return f"{PREFIXES[event['level']]}{render(logger, method, event)!s}"

    return line
