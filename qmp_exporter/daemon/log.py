"""What happens -> one line each on stderr, in logfmt or JSON."""

import logging
import os
import sys

import structlog
from structlog.typing import Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(level: str, fmt: str) -> None:
    """`level` is one of LEVELS, `fmt` is logfmt or json.  The journal stamps its lines itself."""
    stamp: list[Processor] = (
        [] if "JOURNAL_STREAM" in os.environ else [structlog.processors.TimeStamper("iso", key="ts")]
    )
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
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
