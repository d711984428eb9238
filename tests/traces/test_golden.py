"""Recorded sessions of real QEMUs -> the pages committed beside them.

SCENARIO.prom is the page where the session stops.  Where QEMU itself ended the connection it is the page before that,
and SCENARIO.ended.prom is what remains on it afterwards.  Samples of value 0 are left out, so that a new counter
changes no page on which it did not count; the page of one session of each version is whole.  HELP and TYPE are left
out; METRICS.md has them.  `make golden` writes the pages.
"""

import os
from pathlib import Path

import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.cli import main
from qmp_exporter.core.page import Page
from qmp_exporter.core.query_scheduler import QUERY_COMMANDS
from qmp_exporter.core.replay import replay
from qmp_exporter.core.session import Session

TRACES = Path(__file__).parent
SESSIONS = sorted(TRACES.glob("qemu-*/*.jsonl"))
ENDED_BY_QEMU = {
    "incoming",
    "killed",
    "panic",
    "shutdown-guest",
    "shutdown-kept",
    "shutdown-powerdown",
    "shutdown-quit",
    "shutdown-sigterm",
    "suspend-disk",
    "watchdog-poweroff",
}
WHOLE = "connect-blockdev"  # the session whose page has its zeros: what a counter counts later is seen from the start
REWRITE = "UPDATE_GOLDEN" in os.environ


def of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def told(recording: Path, *, ended: bool) -> Session:
    with recording.open("rb") as lines:
        return replay(CATALOG, lines, ended=ended)


def page(session: Path, *, ended: bool) -> str:
    """The samples, and above them what is not settled: what those queries tell may be out of date."""
    told_by = told(session, ended=ended)
    text = Page(CATALOG.families)
    text.add(session.stem, {})
    text.refresh(session.stem, told_by.vm.samples)
    samples = [line for line in text.text().splitlines() if not line.startswith("#")]
    if session.stem != WHOLE:
        samples = [line for line in samples if not line.endswith(" 0.0")]
    return "".join(
        f"{line}\n" for line in (*(f"# {words}" for words in ([] if ended else unsettled(told_by))), *samples)
    )


def unsettled(session: Session) -> list[str]:
    """The query without an answer, and those that an event made necessary and that the recording does not have."""
    in_flight = session.scheduler.in_flight.query
    commands = [f"without an answer: {in_flight.command}"] if in_flight else []
    while query := session.scheduler.next(now=1e6):
        session.scheduler.failed(query, 1e6)
        if query is not QUERY_COMMANDS:  # not recorded but in connect-*: replay does without
            commands.append(f"to be asked: {query.command}")
    return commands


def cases() -> list[tuple[Path, Path, bool]]:
    return [
        (session, session.with_suffix(suffix), suffix == ".ended.prom")
        for session in SESSIONS
        for suffix in ((".prom", ".ended.prom") if session.stem in ENDED_BY_QEMU else (".prom",))
    ]


@pytest.mark.parametrize(
    ("session", "golden", "ended"), cases(), ids=lambda value: isinstance(value, Path) and of(value)
)
def test_a_recorded_session_makes_its_golden_page(session, golden, ended):
    now = page(session, ended=ended)
    if REWRITE:
        golden.write_text(now)
    assert golden.exists(), "make golden writes it"
    assert golden.read_text() == now


def test_there_is_no_golden_page_without_its_session():
    assert {of(path) for path in TRACES.glob("qemu-*/*.prom")} <= {of(golden) for _, golden, _ in cases()}


def test_the_sessions_are_those_of_four_versions():
    assert {path.parent.name for path in SESSIONS} == {"qemu-5.2", "qemu-7.2", "qemu-10.0", "qemu-11.1"}


def test_replay_prints_that_page_with_its_help(capsys):
    session = TRACES / "qemu-7.2" / "killed.jsonl"
    with pytest.raises(SystemExit) as end:
        main(["replay", "--ended", str(session)])
    assert end.value.code == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("# ")]
    assert [line for line in printed if not line.endswith(" 0.0")] == page(session, ended=True).splitlines()
