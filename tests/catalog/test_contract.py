"""The metrics of the last release -> all of them are still there as they were, or the changelog says so.

Alert rules, dashboards and other people's scripts use names, types and labels.  contract.txt has those of the last
release, or of what is to be the first; `make contract` writes it when a version is released.
"""

import re
from pathlib import Path

import pytest

from play import Story
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.contract import Promise, broken, contract, promises
from qmp_exporter.daemon.selfstats import Selfstats

RELEASED = promises(Path(__file__).with_name("contract.txt").read_text())
CHANGELOG = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
NOW = promises(contract())
CONNECTS = "qemu_monitor_connects_total"  # has counted the connect
DISK = Promise("qemu_x_total", "counter", {"device": frozenset(), "operation": frozenset({"read", "write"})})


def announced(changelog: str) -> str:
    """What has changed or was removed since the last release, in the words of the changelog."""
    unreleased = re.split(r"^## \[", changelog, flags=re.MULTILINE)[1]
    parts = re.findall(r"^### (?:Changed|Removed)\n(.*?)(?=^### |\Z)", unreleased, re.MULTILINE | re.DOTALL)
    return "".join(parts)


@pytest.mark.parametrize("name", RELEASED)
def test_a_metric_of_the_last_release_is_as_it_was_or_the_changelog_says_so(name: str) -> None:
    assert broken(RELEASED[name], NOW.get(name)) == "" or f"`{name}`" in announced(CHANGELOG)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (None, "is gone"),
        (DISK._replace(kind="gauge"), "was a counter, and is a gauge"),
        (DISK._replace(labels={"device": frozenset()}), "had the labels device, operation, and has device"),
        (DISK._replace(labels={**DISK.labels, "operation": frozenset({"read"})}), "had operation=write"),
        (DISK._replace(labels={**DISK.labels, "more": frozenset()}), "has device, operation, more"),
        (DISK._replace(labels={**DISK.labels, "operation": frozenset({"read", "write", "flush"})}), ""),
        (DISK, ""),
    ],
)
def test_what_breaks_a_promise_is_seen_and_an_addition_breaks_none(now: Promise | None, words: str) -> None:
    said = broken(DISK, now)
    assert words in said
    assert bool(words) == bool(said)


def test_only_what_the_changelog_says_of_the_next_release_counts() -> None:
    text = (
        "# Changelog\n\n## [Unreleased]\n\n### Added\n\n`a`\n\n### Removed\n\n`b`\n\n## [0.1.0]\n\n### Removed\n\n`c`\n"
    )
    assert announced(text).split() == ["`b`"]


def test_the_contract_has_every_metric_of_the_exporter_itself() -> None:
    exposed = set(re.findall(r"^# TYPE (qmp_exporter_\w+)", Selfstats().text(openmetrics=False).decode(), re.MULTILINE))
    assert exposed | {"qmp_exporter_targets"} == {name for name in NOW if name.startswith("qmp_exporter_")}


def test_as_soon_as_a_vm_is_connected_what_can_be_foreseen_stands_at_zero() -> None:
    story = Story()
    story.answers("query-block", [{"device": "disk"}, {"device": "cd", "removable": True, "tray_open": False}])
    page = story.page()
    for family in CATALOG.families:
        foreseen = list(CATALOG.foreseen(family, story.vm.facts)) if family.counts_events and family.sources else []
        for labels in foreseen:
            names = sorted(f'{label.name}="{value}"' for label, value in zip(family.labels, labels, strict=True))
            assert page[f"{family.name}{{{','.join(names)}}}" if names else family.name] == (family.name == CONNECTS)
    assert sum(value == 0 and name.partition("{")[0].endswith("_total") for name, value in page.items()) > 80
