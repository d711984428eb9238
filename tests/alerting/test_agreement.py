"""Lives of VMs -> what is trouble by our own state is what alerts by PromQL, and the other way round."""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from lives import SCRAPE, Lives
from play import Story
from qmp_exporter.alerting.rules import expression
from qmp_exporter.alerting.settings import Settings
from qmp_exporter.catalog import CATALOG
from qmp_exporter.catalog.troubles import OF_VMS, ROWS_OF_A_VM
from qmp_exporter.core.current_troubles import CurrentTroubles

HOURS = 2
# They are about how fast something is: for them there are tests of VMs that are steady.
BY_RATE = {"QEMUBlockLatencyHigh", "QEMUVCPUStarved", "QEMUCgroupThrottled", "QEMUBlockJobStuck"}


def check(lives: Lives, name: str, expr: str) -> list[dict]:
    """What promtool is to find at each whole minute: the labels, and nothing of the values."""
    return [
        {
            "expr": f"0 * ({expr})",
            "eval_time": f"{at}s",
            "exp_samples": [
                {"labels": "{" + ",".join(f"{label}={json.dumps(value)}" for label, value in labels) + "}", "value": 0}
                for trouble, labels in sorted(found)
                if trouble == name
            ],
        }
        for at, found in lives.found.items()
        if at
    ]


SEEDS = range(4)


def judge(promtool: Callable[..., str], directory: Path, test: dict) -> None:
    told = {"rule_files": [], "evaluation_interval": f"{SCRAPE}s", "tests": [test]}
    (directory / "rules_test.json").write_text(json.dumps(told))
    assert "SUCCESS" in promtool("test", "rules", "rules_test.json")


@cache
def lives_of(seed: int) -> Lives:
    return Lives(seed, scrapes=HOURS * 3600 // SCRAPE)


def test_every_trouble_that_is_no_rate_is_met_in_one_of_the_lives():
    met = {trouble for seed in SEEDS for found in lives_of(seed).found.values() for trouble, _ in found}
    assert {trouble.name for trouble in OF_VMS} - met == BY_RATE | {"QEMUGuestOutOfMemory", "QEMUSnapshotOld"}


class Steady(NamedTuple):
    """`growth`: how much each sample grows within a scrape, from 100 on."""

    trouble: str
    growth: dict[str, float]
    labels: dict[str, str] | None = None  # of the trouble; None where there is none


def disk(seconds: float, requests: float) -> dict[str, float]:
    return {
        'qemu_block_read_time_seconds_total{device="sda"}': seconds / 2,
        'qemu_block_write_time_seconds_total{device="sda"}': seconds / 2,
        'qemu_block_reads_completed_total{device="sda"}': requests / 2,
        'qemu_block_writes_completed_total{device="sda"}': requests / 2,
    }


def job(growth: float, length: float = 1e9) -> dict[str, float]:
    labels = '{job_id="j",type="mirror"}'
    return {f"qemu_block_job_offset_bytes{labels}": growth, f"qemu_block_job_length_bytes{labels}": length}


def delay(*growths: float) -> dict[str, float]:
    return {f'qemu_vcpu_run_delay_seconds_total{{vcpu="{number}"}}': one for number, one in enumerate(growths)}


STEADY = {
    "a slow disk": Steady("QEMUBlockLatencyHigh", disk(15, 45), {"device": "sda"}),
    "a disk that is fast": Steady("QEMUBlockLatencyHigh", disk(5, 45)),
    "a slow disk that is hardly used": Steady("QEMUBlockLatencyHigh", disk(6, 9)),
    "vCPUs that wait": Steady("QEMUVCPUStarved", delay(6, 3), {}),
    "vCPUs of which one waits a little": Steady("QEMUVCPUStarved", delay(3, 0)),
    "a quota that holds back": Steady("QEMUCgroupThrottled", {"qemu_cgroup_cpu_throttled_seconds_total": 2}, {}),
    "a quota that seldom does": Steady("QEMUCgroupThrottled", {"qemu_cgroup_cpu_throttled_seconds_total": 1}),
    "a job that stands": Steady("QEMUBlockJobStuck", job(0), {"job_id": "j", "type": "mirror"}),
    "a job that moves": Steady("QEMUBlockJobStuck", job(10)),
    "a mirror that is ready": Steady("QEMUBlockJobStuck", job(0, length=0)),
}


@pytest.mark.parametrize("case", STEADY)
def test_what_is_about_rates_agrees_where_they_are_steady(promtool, tmp_path: Path, case):
    steady = STEADY[case]
    now = dict.fromkeys(steady.growth, 100.0)

    def values(family: str) -> dict[tuple[str, ...], float]:
        named = (sample.rstrip("}").partition("{") for sample in now)
        return {
            tuple(re.findall(r'"(.*?)"', labels)): value
            for (name, _, labels), value in zip(named, now.values(), strict=True)
            if name == family
        }

    names = {name: re.findall(r"([a-z_]+)=", labels) for name, _, labels in (one.partition("{") for one in now)}
    troubles = CurrentTroubles(ROWS_OF_A_VM, values, lambda family: tuple(names[family]))
    for number in range(80):
        now.update({sample: 100 + growth * number for sample, growth in steady.growth.items()})
        if "_length_" in (last := [*now][-1]):
            now[last] = 100 + steady.growth[last]
        at = number * float(SCRAPE)
        troubles.update(at, at)
        found = [
            labels for one, labels, _ in ROWS_OF_A_VM.found(troubles.evidence(at, at)) if one.name == steady.trouble
        ]
    assert found == ([] if steady.labels is None else [steady.labels])
    (trouble,) = (one for one in OF_VMS if one.name == steady.trouble)
    wanted = [] if steady.labels is None else [{"vm": "web01", **steady.labels}]
    test = {
        "interval": f"{SCRAPE}s",
        "input_series": [
            {
                "series": f'{sample.rstrip("}")}{"," if "{" in sample else "{"}vm="web01"}}',
                "values": f"{100 + growth}+0x80" if "_length_" in sample else f"100+{growth}x80",
            }
            for sample, growth in steady.growth.items()
        ],
        "promql_expr_test": [
            {
                "expr": f"0 * ({expression(trouble, Settings())})",
                "eval_time": f"{79 * SCRAPE}s",
                "exp_samples": [
                    {"labels": "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}", "value": 0}
                    for labels in wanted
                ],
            }
        ],
    }
    judge(promtool, tmp_path, test)


def test_an_error_that_stops_the_vm_is_that_alone_also_where_qemu_is_slow_to_say_so():
    story = Story()
    troubles = CurrentTroubles(ROWS_OF_A_VM, story.vm.values, CATALOG.label_names)

    def stands(now: float) -> list[str]:
        troubles.update(now, story.now)
        return [one.trouble.name for one in troubles.standing]

    story.answers("query-status", {"status": "running", "running": True})
    story.wants()
    story.refuses("query-name")  # the last answer that the connect waits for
    assert stands(0) == []
    story.happens("BLOCK_IO_ERROR", operation="write", action="stop", device="sda")
    story.happens("STOP")
    assert stands(1) == []
    story.answers("query-status", {"status": "io-error", "running": False})
    assert stands(2) == ["QEMUVMStoppedOnIOError"]
    story.happens("RESUME")
    story.answers("query-status", {"status": "running", "running": True})
    assert stands(3) == []
    assert stands(60) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_alerts_is_trouble_by_our_own_state_and_the_other_way_round(promtool, tmp_path: Path, seed):
    lives = lives_of(seed)
    settings = Settings()
    checks = [
        one
        for trouble in OF_VMS
        if trouble.name not in BY_RATE
        for one in check(lives, trouble.name, expression(trouble, settings))
    ]
    assert sum(bool(one["exp_samples"]) for one in checks) > 200
    test = {"interval": f"{SCRAPE}s", "input_series": lives.input_series(), "promql_expr_test": checks}
    judge(promtool, tmp_path, test)
