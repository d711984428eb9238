"""The list of troubles, and settings of a site -> rules that promtool takes, with what the site wants in them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmp_exporter.alerting.rules import duration, rules
from qmp_exporter.alerting.settings import Settings, parse
from qmp_exporter.catalog.troubles import TROUBLES
from qmp_exporter.documents.document import ConfigError

ROOT = Path(__file__).parents[2]


def alerts(settings: Settings) -> dict[str, Any]:
    groups = yaml.safe_load(rules(settings))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def said(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse(text, "alerts.yaml")
    return list(error.value.errors)


def test_the_rules_that_are_deployed_are_those_of_the_list():
    assert (ROOT / "deploy" / "prometheus" / "rules.yml").read_text() == rules(Settings()), "make docs"


def test_each_trouble_is_an_alert_unless_it_is_disabled():
    assert alerts(Settings()).keys() == {trouble.name for trouble in TROUBLES}
    assert "QEMUSnapshotOld" not in alerts(Settings(disable=["QEMUSnapshotOld"]))


def test_what_the_documentation_shows_is_taken_and_does_what_it_says(promtool, tmp_path: Path):
    (text,) = re.findall(r"```yaml\n(# alerts\.yaml\n.*?)```", (ROOT / "docs" / "alerts.md").read_text(), re.DOTALL)
    (tmp_path / "alerts.yaml").write_text(text)
    command = (sys.executable, "-m", "qmp_exporter", "rules", "alerts.yaml")
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / "rules.yml").write_text(made)
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
    by_name = {rule["alert"]: rule for group in yaml.safe_load(made)["groups"] for rule in group["rules"]}
    assert "QMPExporterNoTargets" not in by_name
    assert by_name["QEMUVMPausedLong"]["labels"]["severity"] == "info"
    assert by_name["QEMUMonitorUnreachable"]["for"] == "15m"
    slow = by_name["QEMUBlockLatencyHigh"]
    assert "> 0.05" in slow["expr"]
    assert "more than 0.05 s" in " ".join(slow["annotations"]["description"].split())
    assert slow["annotations"]["runbook_url"] == "https://wiki.example.org/qemu/QEMUBlockLatencyHigh"
    series = re.findall(
        r"\b(?:qemu|qmp_exporter)_[a-z_]+(?:\{.*?\})?", " ".join(rule["expr"] for rule in by_name.values())
    )
    assert len(series) > 50
    assert [one for one in series if '{cluster="a"' not in one] == []
    assert 'up{cluster="a",job="qmp-exporter"}' in by_name["QMPExporterDown"]["expr"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("disable: [QEMUVMCrash]", 'alerts.yaml:1:11: disable[0]: found "QEMUVMCrash", wanted the name of an alert'),
        (
            "severities: {QEMUVMCrashed: page}",
            "alerts.yaml:1:29: severities.QEMUVMCrashed: found \"page\", wanted 'critical', 'warning' or 'info'",
        ),
        (
            "thresholds: {QEMUSnapshotOld: soon}",
            'alerts.yaml:1:31: thresholds.QEMUSnapshotOld: found "soon", wanted a number',
        ),
        ("wait: {QEMUVMCrashed: 1d}", "alerts.yaml:1:23: wait.QEMUVMCrashed: found"),
        ("runbook_url: wiki", 'alerts.yaml:1:14: runbook_url: found "wiki", wanted an address'),
        ("jobs: x", 'alerts.yaml:1:1: jobs: unknown key, did you mean "job"?'),
    ],
)
def test_a_mistake_is_told_with_its_place(text, wrong):
    (error,) = said(text)
    assert error.startswith(wrong)


def test_a_threshold_that_an_alert_does_not_have_is_refused_with_those_that_there_are():
    (error,) = said("thresholds: {QEMUVMCrashed: 3}")
    assert "this alert has no threshold; those that have one are QEMUVMCrashLoop, QEMUVMRebootLoop" in error


def test_a_duration_is_written_as_prometheus_writes_it():
    assert [duration(seconds) for seconds in (45, 300, 5400, 43200)] == ["45s", "5m", "90m", "12h"]
