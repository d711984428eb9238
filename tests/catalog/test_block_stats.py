"""What the disks did as QEMU counts it: copied, in base units; latencies as a histogram that Prometheus can use."""

import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from parts import need
from play import Story
from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.page import Page

TRAFFIC = {
    "qemu_block_read_bytes_total": ("rd_bytes", 1),
    "qemu_block_written_bytes_total": ("wr_bytes", 1),
    "qemu_block_reads_completed_total": ("rd_operations", 1),
    "qemu_block_writes_completed_total": ("wr_operations", 1),
    "qemu_block_flushes_completed_total": ("flush_operations", 1),
    "qemu_block_read_time_seconds_total": ("rd_total_time_ns", 1e9),
    "qemu_block_write_time_seconds_total": ("wr_total_time_ns", 1e9),
    "qemu_block_flush_time_seconds_total": ("flush_total_time_ns", 1e9),
    "qemu_block_unmaps_completed_total": ("unmap_operations", 1),
    "qemu_block_unmapped_bytes_total": ("unmap_bytes", 1),
    "qemu_block_unmap_time_seconds_total": ("unmap_total_time_ns", 1e9),
    "qemu_block_reads_merged_total": ("rd_merged", 1),
    "qemu_block_writes_merged_total": ("wr_merged", 1),
}


@pytest.mark.parametrize("name", TRAFFIC)
def test_traffic_is_copied_in_base_units(name):
    member, unit = TRAFFIC[name]
    story = Story()
    story.answers("query-blockstats", [{"device": "drive-virtio-disk0", "stats": {member: 1_500_000_000}}])
    story.says(f'{name}{{device="drive-virtio-disk0"}}', 1_500_000_000 / unit)


def test_what_an_old_qemu_does_not_count_is_not_there_rather_than_zero():
    story = Story(version="2.4.0")
    story.answers("query-blockstats", [{"device": "drive-virtio-disk0", "stats": {"rd_bytes": 0}}])
    story.says('qemu_block_read_bytes_total{device="drive-virtio-disk0"}', 0)
    story.says_nothing_of("qemu_block_failed_operations_total")
    story.says_nothing_of("qemu_block_flush_time_seconds_total")
    story.says_nothing_of("qemu_block_unmap")
    story.says_nothing_of("qemu_block_invalid_operations_total")


def test_deep_backing_chains_change_nothing():
    story = Story()
    below = {"stats": {"rd_bytes": 9}, "node-name": "base"}
    top = {"device": "drive-virtio-disk0", "stats": {"rd_bytes": 5}, "parent": below, "backing": below}
    story.answers("query-blockstats", [top])
    story.says('qemu_block_read_bytes_total{device="drive-virtio-disk0"}', 5)
    story.says_nothing_of('qemu_block_read_bytes_total{device="base"')


def test_invalid_operations_are_what_qemu_counted():
    story = Story()
    invalid = {f"invalid_{short}_operations": number for number, short in enumerate(("rd", "wr", "flush", "unmap"), 1)}
    story.answers("query-blockstats", [{"device": "disk0", "stats": invalid}])
    for number, operation in enumerate(("read", "write", "flush", "unmap"), start=1):
        story.says(f'qemu_block_invalid_operations_total{{device="disk0",operation="{operation}"}}', number)


# --- latencies

ARMED = {"boundaries": [10_000, 1_000_000, 2_000_000_000], "bins": [5, 3, 0, 1]}


def bucket(bound: str, operation: str = "read") -> str:
    return f'qemu_block_latency_seconds_bucket{{device="disk0",le="{bound}",operation="{operation}"}}'


def armed(**histograms: dict) -> Story:
    story = Story()
    stats = {f"{short}_latency_histogram": histogram for short, histogram in histograms.items()}
    story.answers("query-blockstats", [{"device": "disk0", "stats": stats}])
    return story


def test_bins_become_buckets_that_count_all_below_a_bound_in_seconds():
    story = armed(rd=ARMED)
    for bound, count in (("1e-05", 5), ("0.001", 8), ("2.0", 8), ("+Inf", 9)):
        story.says(bucket(bound), count)


def test_reads_writes_and_flushes_have_their_own():
    story = armed(rd=ARMED, wr=ARMED | {"bins": [1, 0, 0, 0]}, flush=ARMED | {"bins": [2, 0, 0, 0]})
    for operation, count in (("read", 9), ("write", 1), ("flush", 2)):
        story.says(bucket("+Inf", operation), count)


def test_where_nobody_armed_it_there_is_none():
    story = armed()
    story.says_nothing_of("qemu_block_latency_seconds")


def test_where_it_was_disarmed_it_is_gone():
    story = armed(rd=ARMED)
    story.answers("query-blockstats", [{"device": "disk0", "stats": {}}])
    story.says_nothing_of("qemu_block_latency_seconds")


def test_it_stays_when_the_monitor_is_lost_as_every_count_does():
    story = armed(rd=ARMED)
    story.disconnects()
    story.says(bucket("+Inf"), 9)


def test_without_boundaries_there_is_one_bucket():
    story = armed(rd={"boundaries": [], "bins": [7]})
    story.says(bucket("+Inf"), 7)


@pytest.mark.parametrize(
    "odd",
    [
        {"boundaries": [10, 20], "bins": [1, 1]},
        {"boundaries": [20, 10], "bins": [1, 1, 1]},
        {"boundaries": [10, 10], "bins": [1, 1, 1]},
        {"boundaries": list(range(1000)), "bins": [0] * 1001},
    ],
    ids=["too few bins", "falling", "twice the same", "too many"],
)
def test_a_histogram_that_does_not_fit_together_is_left_out_and_spoils_nothing(odd):
    story = Story()
    told = [{"device": "disk0", "stats": {"rd_bytes": 5, "rd_latency_histogram": odd}}]
    story.answers("query-blockstats", told)
    story.says_nothing_of("qemu_block_latency_seconds")
    story.says('qemu_block_read_bytes_total{device="disk0"}', 5)


def exposed(story: Story, *, openmetrics: bool) -> str:
    page = Page(CATALOG.families)
    page.add("web01", {})
    story.vm.samples.dirty.update(range(len(CATALOG.families)))
    page.refresh("web01", story.vm.samples)
    return page.text(openmetrics=openmetrics)


def test_without_a_sum_openmetrics_wants_no_count():
    text = exposed(armed(rd=ARMED, flush=ARMED), openmetrics=True)
    assert "qemu_block_latency_seconds_sum" not in text
    assert "qemu_block_latency_seconds_count" not in text
    families = {family.name: family for family in text_string_to_metric_families(text + "# EOF\n")}
    assert families["qemu_block_latency_seconds"].type == "histogram"
    assert len(families["qemu_block_latency_seconds"].samples) == 8


def test_promtool_finds_nothing_to_say():
    text = exposed(armed(rd=ARMED, wr=ARMED, flush=ARMED), openmetrics=False)
    checked = subprocess.run(
        [need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
