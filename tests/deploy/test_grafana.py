"""The dashboards of Grafana -> whether they are those of the boards, and what Prometheus can make of them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from qmp_exporter.catalog import CATALOG
from qmp_exporter.daemon.selfstats import Selfstats

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}
NOT_OURS = {"ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def panels() -> Iterator[Any]:
    for uid, board in DASHBOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield pytest.param(panel, id=f"{uid} {panel['title']}")


def ours() -> set[str]:
    stats = Selfstats()
    stats.watch_web_process(os.getpid())
    stats.count_targets(lambda: ("connected",))
    own = {line.split()[2] for line in stats.text(openmetrics=False).decode().splitlines() if line.startswith("# TYPE")}
    return {family.sample_name for family in CATALOG.families} | own


def selectors(expr: Any) -> Iterator[Any]:
    """The series that a query asks for, wherever they stand in it."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(expr, name, None)
        if inner is not None and not isinstance(inner, str | float | int):
            yield from selectors(inner)
    for inner in getattr(expr, "args", None) or ():
        yield from selectors(inner)


def test_they_are_those_of_the_boards(tmp_path: Path):
    subprocess.run([sys.executable, "-W", "ignore", GRAFANA, tmp_path], check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{uid}.json": (GRAFANA / f"{uid}.json").read_text() for uid in DASHBOARDS
    }, "make docs"


def test_there_are_five_with_uids_that_stay():
    assert {uid: board["uid"] for uid, board in DASHBOARDS.items()} == {
        uid: uid for uid in ("qemu-exporter", "qemu-fleet", "qemu-jobs", "qemu-storage", "qemu-vm")
    }
    for board in DASHBOARDS.values():
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names[:3] == ["datasource", "job", "instance"]


@pytest.mark.parametrize("panel", [*panels()])
def test_a_panel_says_what_it_shows_in_which_unit(panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "$datasource"


@pytest.mark.parametrize("panel", [*panels()])
def test_a_query_is_promql_about_metrics_that_there_are_of_the_hosts_that_are_chosen(panel):
    for target in panel["targets"]:
        found = list(selectors(promql_parser.parse(target["expr"])))
        assert found
        for selector in found:
            matchers = {matcher.name for matcher in selector.matchers.matchers}
            assert selector.name.removesuffix("_bucket") in ours() | NOT_OURS
            assert selector.name == "ALERTS" or {"job", "instance"} <= matchers


@pytest.mark.parametrize("panel", [*panels()])
def test_how_long_requests_took_is_drawn_for_each_request(panel):
    """Of the time alone nobody can tell whether a disk is slow or busy."""
    for target in panel["targets"]:
        if "_time_seconds_total" in target["expr"]:
            assert "_completed_total" in target["expr"].partition(" / ")[2]
