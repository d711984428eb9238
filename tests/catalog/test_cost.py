"""What METRICS.md says a VM costs, counted: a VM that runs, with so many disks and none of what is rare."""

from collections import Counter

import pytest

from play import Story
from qmp_exporter.catalog import GROUPS
from qmp_exporter.catalog.cost import PROCESS, costs, series
from qmp_exporter.catalog.disk import MEDIUM

GROUP_OF = {family.sample_name: group.name for group in GROUPS.values() for family in group.families}
OPERATIONS = ("rd", "wr", "flush", "unmap")
COUNTED = [f"{what}{operation}_operations" for what in ("", "failed_", "invalid_") for operation in OPERATIONS]
TIMES = [f"{operation}_total_time_ns" for operation in OPERATIONS]
STATS = dict.fromkeys((*COUNTED, *TIMES, "rd_bytes", "wr_bytes", "unmap_bytes", "rd_merged", "wr_merged"), 0)


def with_disks(number: int, *cdroms: str) -> Story:
    story = Story()
    disks = [f"disk{index}" for index in range(number)]
    told = [{"device": disk, "io-status": "ok", "inserted": MEDIUM} for disk in disks]
    trays = [{"device": drive, "removable": True, "tray_open": False, "io-status": "ok"} for drive in cdroms]
    story.answers("query-block", told + trays)
    story.answers(
        "query-blockstats",
        [{"device": disk, "stats": STATS, "parent": {"stats": {"wr_highest_offset": 1}}} for disk in (*disks, *cdroms)],
    )
    story.answers("query-status", {"status": "running", "running": True})
    story.answers("query-balloon", {"actual": 1})
    story.answers("query-memory-size-summary", {"base-memory": 1, "plugged-memory": 0})
    story.answers("query-vnc-servers", [])
    story.answers("query-spice", {})
    story.answers("query-migrate", {})
    story.answers("query-block-jobs", [])
    story.answers("query-cpus-fast", [])
    story.vm.process_found(story.now)
    story.vm.process(PROCESS, story.now)
    return story


def cost(story: Story) -> Counter[str]:
    return Counter(GROUP_OF[sample.split("{")[0]] for sample in story.page())


@pytest.mark.parametrize("disks", [0, 1, 2, 10])
def test_a_vm_costs_what_the_reference_says(disks):
    said = {name: cost.vm + disks * cost.disk for name, cost in costs().items()}
    assert said == series(disks) | dict.fromkeys(said.keys() - series(disks).keys(), 0)
    assert {name: number for name, number in said.items() if number} == cost(with_disks(disks))


def besides(story: Story, *, disks: int = 1) -> Counter[str]:
    """What it costs more than a plain VM."""
    return cost(story) - cost(with_disks(disks))


def test_a_cdrom_drive_costs_four_more_than_a_disk():
    assert besides(with_disks(0, "cd"), disks=1) == {"block": 4}


def test_a_migration_costs_once_it_was_there():
    story = with_disks(1)
    story.answers("query-migrate", {"status": "completed"})
    assert besides(story) == {"migration": 18}
    ram = {"transferred": 1, "remaining": 1, "total": 1, "page-size": 4096}
    story.answers("query-migrate", {"status": "active", "ram": ram, "expected-downtime": 1})
    assert besides(story) == {"migration": 18 + 5}


def test_a_quorum_costs_four():
    story = with_disks(1)
    story.answers("query-block", [{"device": "disk0", "io-status": "ok", "inserted": {"drv": "quorum"}}])
    assert besides(story) == {"block": 4}


def test_a_job_costs_while_it_is_there():
    story = with_disks(1)
    job = {"type": "mirror", "device": "j", "len": 2, "offset": 1, "speed": 0, "status": "running"}
    story.answers("query-block-jobs", [job])
    assert besides(story) == {"block_job": 14}


def test_a_histogram_costs_its_boundaries_and_one_more():
    story = with_disks(1)
    stats = STATS | {"rd_latency_histogram": {"boundaries": [1, 2, 3], "bins": [0, 0, 0, 0]}}
    story.answers("query-blockstats", [{"device": "disk0", "stats": stats}])
    assert besides(story) == {"block_latency": 4}
