"""Rules and scrape configuration → what promtool says about them, and what a person woken by one can read."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qmp_exporter.catalog.troubles import TROUBLES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
TESTS = ("prometheus/rules_test.yml", "prometheus/rules_long_test.yml")
DOCS = ROOT / "docs"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_are_valid(promtool):
    promtool("check", "rules", "--lint=all", "--lint-fatal", "prometheus/rules.yml")


def test_the_rules_do_what_their_own_tests_say(promtool):
    promtool("test", "rules", *TESTS)


@pytest.mark.parametrize("name", ["agent", "central", "shard", "federate", "http_sd"])
def test_the_configurations_of_a_fleet_are_valid(promtool, name):
    kind = ("--agent",) if name == "agent" else ()
    assert "SUCCESS" in promtool("check", "config", *kind, f"fleet/{name}.yml")


def test_what_the_collector_is_to_scrape_is_a_scrape_configuration(promtool, tmp_path: Path):
    (text,) = re.findall(r"```yaml\n(# OpenTelemetry Collector\n.*?)```", (DOCS / "fleets.md").read_text(), re.DOTALL)
    config = yaml.safe_load(text)["receivers"]["prometheus"]["config"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_the_sums_of_a_fleet_are_valid_and_do_what_their_own_tests_say(promtool):
    promtool("check", "rules", "--lint=all", "--lint-fatal", "fleet/recording.yml")
    promtool("test", "rules", "fleet/recording_test.yml")


def test_the_scrape_configuration_is_valid_and_finds_the_rules(promtool):
    assert "1 rule files found" in promtool("check", "config", "prometheus/scrape.yml")


def test_the_routes_are_valid_and_what_is_critical_goes_to_a_person_at_once(amtool):
    config = "prometheus/alertmanager.yml"
    assert "SUCCESS" in amtool("check-config", config)
    for alert in alerts():
        severity = alert["labels"]["severity"]
        labels = (f"alertname={alert['alert']}", f"severity={severity}", "instance=hypervisor01:10065", "vm=web01")
        receiver = amtool("config", "routes", "test", f"--config.file={config}", *labels).splitlines()[-1]
        assert receiver == ("at-once" if severity == "critical" else "by-day")
        drill = amtool("config", "routes", "test", f"--config.file={config}", *labels[:2], "vm=qmp-exporter-drill")
        assert drill.splitlines()[-1] == "drill"


def inhibit_rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())["inhibit_rules"]
    return rules


def named(matchers: list[str]) -> Iterator[str]:
    """The alerts, which may be patterns."""
    for matcher in matchers:
        if found := re.search(r'alertname=~?"([^"]*)"', matcher):
            yield from found[1].split("|")


def test_what_inhibits_and_what_is_inhibited_are_alerts_that_there_are():
    names = {alert["alert"] for alert in alerts()}
    patterns = [
        name for rule in inhibit_rules() for side in ("source", "target") for name in named(rule[f"{side}_matchers"])
    ]
    assert len(patterns) > 10
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in names)] == []


def test_what_a_trouble_inhibits_of_the_same_vm_is_the_same_here_as_on_our_pages():
    here = {
        (source, target)
        for rule in inhibit_rules()
        if "vm" in rule["equal"]
        for source in named(rule["source_matchers"])
        for target in named(rule["target_matchers"])
    }
    assert here == {(trouble.name, target) for trouble in TROUBLES for target in trouble.inhibits}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_happened_and_what_to_do(alert: dict[str, Any]):
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"].endswith(".")
    assert "{{" not in alert["annotations"]["summary"]
    assert "{{ $labels.instance }}" in alert["annotations"]["description"]
    assert "What to do: " in alert["annotations"]["description"]


def test_the_documentation_has_every_alert_with_its_severity_and_no_other():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (DOCS / "alerts.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted((alert["alert"], alert["labels"]["severity"]) for alert in alerts())


def test_every_alert_is_seen_firing_and_seen_silent():
    seen: dict[str, set[bool]] = defaultdict(set)
    for tests in TESTS:
        for case in yaml.safe_load((DEPLOY / tests).read_text())["tests"]:
            for check in case.get("alert_rule_test", ()):
                seen[check["alertname"]].add(bool(check["exp_alerts"]))
    assert dict(seen) == {alert["alert"]: {True, False} for alert in alerts()}
