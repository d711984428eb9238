"""The list of troubles, and settings for a site -> rules.yml for Prometheus, with its comments."""

import re
import textwrap
from collections.abc import Iterator

from qmp_exporter.alerting.settings import Settings
from qmp_exporter.catalog.troubles import OF_THE_EXPORTER, OF_VMS
from qmp_exporter.core.trouble import Lookup, Trouble

WIDTH = 120
HEAD = """\
# Alerts about VMs and about the exporter itself, made by `qmp-exporter rules`, and tested by rules_test.yml and
# rules_long_test.yml.
#
# An alert waits ("for") where the fault may fix itself, and not where the state itself is the fault. critical is for
# now: a VM stands still, is gone, or loses data; warning is for the day. docs/alerts.md has them in one table.
#
# increase() does not see a series that is born above zero, as after a start of the exporter amid errors: that is what
# the half with `unless … offset` is for. It also takes what happened before a gap of scrapes for new, since it cannot
# be told from what happened in the gap.

groups:
"""
_METRIC = re.compile(r"\b(?P<name>(?:qemu|qmp_exporter)_[a-z_]+|up)\b(?P<selector>\{)?")
_UNITS = ((3600, "h"), (60, "m"), (1, "s"))


def rules(settings: Settings) -> str:
    """The same settings give the same text."""
    groups = (("qemu", OF_VMS), ("qmp-exporter", OF_THE_EXPORTER))
    return HEAD + "\n".join(
        f"  - name: {name}\n    rules:\n"
        + "\n".join(_rule(one, settings) for one in troubles if one.name not in settings.disable)
        for name, troubles in groups
    )


def _rule(trouble: Trouble, settings: Settings) -> str:
    return "".join(f"      {line}\n" if line else "\n" for line in _lines(trouble, settings))


def _lines(trouble: Trouble, settings: Settings) -> Iterator[str]:
    yield f"- alert: {trouble.name}"
    for line in textwrap.wrap(" ".join(trouble.reason.split()), WIDTH - 10):
        yield f"  # {line}"
    yield from _keyed("expr", expression(trouble, settings))
    waits = settings.wait.get(trouble.name, trouble.lasts + trouble.wait)
    if waits:
        yield f"  for: {duration(waits)}"
    if trouble.keeps:
        yield f"  keep_firing_for: {duration(trouble.keeps)}"
    yield "  labels:"
    yield f"    severity: {settings.severities.get(trouble.name, trouble.severity)}"
    yield "  annotations:"
    yield f"    summary: {trouble.summary}"
    yield f"    runbook_url: {settings.runbook_url.replace('{alert}', trouble.name)!r}"
    yield "    description: |"
    yield from (f"      {line}" for line in description(trouble, settings))


def expression(trouble: Trouble, settings: Settings) -> str:
    text = with_threshold(trouble.expr, trouble, settings).replace('job="qmp-exporter"', f'job="{settings.job}"')
    return _selected(text, settings.selector) if settings.selector else text


def description(trouble: Trouble, settings: Settings) -> Iterator[str]:
    """What an alert tells, line by line: templates of Prometheus."""
    yield from textwrap.dedent(with_threshold(trouble.meaning, trouble, settings)).strip().splitlines()
    if trouble.more:
        yield from _asked(trouble.more)
    yield from ("What to do: " + textwrap.dedent(trouble.todo).strip()).splitlines()


def duration(seconds: float) -> str:
    """5400 -> 90m"""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{int(seconds // size)}{unit}"


def _keyed(key: str, text: str) -> Iterator[str]:
    """A value of one line as it is, of many as a block."""
    lines = textwrap.dedent(text).strip().splitlines()
    if len(lines) == 1:
        yield f"  {key}: {lines[0]}"
    else:
        yield f"  {key}: |"
        yield from (f"    {line}" for line in lines)


def _asked(more: Lookup) -> Iterator[str]:
    query = " ".join(more.expr.split()).replace('"', '\\"')
    labels = " ".join(f"$labels.{one}" for one in more.labels)
    yield f'{{{{- range printf "{query}" {labels} | query | sortByLabel "vm" }}}}'
    yield more.line
    yield "{{- end }}"


def with_threshold(text: str, trouble: Trouble, settings: Settings) -> str:
    threshold = settings.thresholds.get(trouble.name, trouble.threshold)
    return text if threshold is None else text.replace("$threshold", f"{threshold:g}")


def _selected(text: str, selector: str) -> str:
    """Every series of ours with these matchers, too; the names of metrics stand nowhere else in an expression."""
    return _METRIC.sub(lambda match: f"{match['name']}{{{selector}{',' if match['selector'] else '}'}", text)
