"""Troubles that began or are over -> a line of log each, at its level."""

from structlog.typing import FilteringBoundLogger

from qmp_exporter.core.current_troubles import Change, Standing


def tell(log: FilteringBoundLogger, change: Change, at: float) -> None:
    """`at` in seconds since the epoch.  Some troubles have lines of their own, which know more."""
    for one in change.began:
        if one.trouble.has_own_lines:
            continue
        if one.trouble.severity == "critical":
            log.error("trouble began", **_words(one))
        else:
            log.warning("trouble began", **_words(one))
    for one in change.over:
        if not one.trouble.has_own_lines:
            log.info("trouble is over", **_words(one), seconds=round(at - one.since))


def _words(one: Standing) -> dict[str, str]:
    detail = {"detail": one.detail} if one.detail else {}
    return {"alert": one.trouble.name, "what": one.trouble.short, **one.labels, **detail}
