"""Request headers -> the format and the encoding of the answer."""

import re

TEXT = "text/plain; version=0.0.4; charset=utf-8"
LONGEST = 1024  # characters of a header that are read; Prometheus 3 sends 300
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0 is preferred to the text format.  What a client names is never echoed."""
    best = {OPENMETRICS: 0.0, TEXT: 0.0}
    for media, parameters, quality in _weighted(accept):
        version = parameters.get("version", "")
        if media == "application/openmetrics-text" and version in {"", "1.0.0"}:
            best[OPENMETRICS] = max(best[OPENMETRICS], quality)
        elif media == "text/plain" and version in {"", "0.0.4"}:
            best[TEXT] = max(best[TEXT], quality)
    return best[OPENMETRICS] > best[TEXT]


def wants_gzip(accept_encoding: str) -> bool:
    qualities = {coding: quality for coding, _, quality in _weighted(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _weighted(header: str) -> list[tuple[str, dict[str, str], float]]:
    """The elements of an Accept header (RFC 9110, 12.4.2) with their parameters and their weight.

    In time that grows as its length does, and no more than LONGEST of it: anybody may send it.
    """
    elements = []
    for element in header[:LONGEST].lower().split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        elements.append((name, parameters, _quality(parameters.get("q", "1"))))
    return elements


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text) else 0.0
