"""Findings -> text for a terminal of 80 to 100 columns, without colour."""

import textwrap
from collections.abc import Iterator, Sequence

from qmp_exporter.config import Target
from qmp_exporter.diagnose.access import User, can_ask
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.probe import Asked, Lack, ProbeResult

WIDTH = 96  # columns
_TITLES = 10  # columns
_LISTED = 6  # metrics named where more fall away


def details(finding: Finding, warnings: Sequence[str] = ()) -> Iterator[str]:
    """One target, as a person wants to read it; `warnings`: what is unwise about it."""
    yield f"{finding.socket}: {finding.verdict}"
    yield ""
    if finding.problem:
        yield from _section("Problem" if not finding.is_good else "State", (finding.problem,))
    yield from _section("Evidence", finding.seen)
    yield from _section("Fix", finding.fix)
    if finding.answer is not None:
        yield from _answer(finding.answer, finding.process)
    yield from _section(
        "Warning", [text[0].upper() + text[1:] + "." if not text.startswith("/") else text + "." for text in warnings]
    )


def table(found: Sequence[tuple[Target, Finding]]) -> Iterator[str]:
    """One line for each target."""
    names = max((len(target.name) for target, _ in found), default=0)
    verdicts = max((len(finding.verdict) for _, finding in found), default=0)
    for target, finding in found:
        line = f"{target.name:{names}}  {finding.verdict:{verdicts}}  {_in_short(finding)}"
        yield line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def summary(found: Sequence[tuple[Target, Finding]]) -> str:
    bad = sum(not finding.is_good for _, finding in found)
    return f"{len(found)} targets: {len(found) - bad} good, {bad} in trouble"


def rights(user: User) -> str:
    """As whom it was looked at: root is let in everywhere, and learns nothing about others' rights."""
    if user.uid == 0:
        return "Checked as root, which bypasses permissions. For another user's rights: --user NAME."
    if not can_ask(user):
        return f"The rights of {user.name}, {user.of}, are not known: only root can ask for another user. Use sudo."
    return f"Checked as {user.name}, {user.of}."


def _in_short(finding: Finding) -> str:
    if finding.answer is None or not finding.is_good:
        return finding.problem
    answer = finding.answer
    return f"QEMU {answer.version}, {answer.series} series, slowest answer {_milliseconds(_slowest(answer.asked))}"


def _answer(answer: ProbeResult, process: str) -> Iterator[str]:
    what = f'VM "{answer.name}", uuid {answer.uuid}' if answer.is_vm else "a qemu-storage-daemon"
    yield from _section("Answers", (f"QEMU {answer.version}, {what}", *([process] if process else ())))
    lacks = [f"{lack.command}: {_falls_away(lack)}" for lack in answer.lacks]
    yield from _section("Missing", lacks or ("nothing: it has every query that is asked",))
    width = max((len(asked.command) for asked in answer.asked), default=0)
    yield from _section("Latency", [f"  {asked.command:{width}}  {_timing(asked)}" for asked in answer.asked])
    groups = (f"{group} {series}" for group, _, series in answer.groups if series)
    families = sum(families for _, families, _ in answer.groups)
    yield from _section("Exports", (f"{answer.series} series of {families} metrics: {', '.join(groups)}",))
    yield from _section("Sample", tuple(f"  {line}" for line in answer.lines))


def _falls_away(lack: Lack) -> str:
    parts = [f"no {_some(lack.gone)}"] if lack.gone else []
    parts += [f"{_some(lack.by_events)} only once an event tells"] if lack.by_events else []
    return "; ".join(parts) or "no metric less"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _timing(asked: Asked) -> str:
    if asked.error and not asked.seconds:
        return asked.error
    times = f"median of {len(asked.seconds)}" if len(asked.seconds) > 1 else "asked once"
    return f"{_milliseconds(asked.typical):>8}  {times}" + (f", answered {asked.error}" if asked.error else "")


def _slowest(asked: Sequence[Asked]) -> float:
    return max((one.typical for one in asked), default=0.0)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    """A title, and beside it the lines, wrapped; those that begin with two spaces are as they are."""
    first = True
    for line in lines:
        wrapped = [line] if line.startswith("  ") else textwrap.wrap(line, WIDTH - _TITLES, break_on_hyphens=False)
        for part in wrapped:
            yield f"{title if first else '':{_TITLES}}{part}".rstrip()
            first = False
    if not first:
        yield ""
