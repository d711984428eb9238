"""What the disks did since the VM started, as QEMU itself counts it: traffic, time, latencies."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

from qmp_exporter.catalog.disk import DEVICE, QUERY_BLOCKSTATS, BlockStats, LatencyHistogram
from qmp_exporter.core.family import MAX_VALUE, Family, Group, Label, Sample, counter, histogram, query
from qmp_exporter.core.page import number
from qmp_exporter.core.read import per
from qmp_exporter.core.vm_facts import VmFacts

NANOSECONDS = 1e9  # make a second
MAX_BOUNDARIES = 64  # of a histogram; an administrator who wants more wants another tool

INVALID_OPERATION = Label("operation", "Which operation was invalid.", values=("read", "write", "flush", "unmap"))
LATENCY_OPERATION = Label("operation", "Which operation took that long.", values=("read", "write", "flush"))


def traffic(name: str, help: str, member: str, unit: float = 1) -> Family:  # noqa: A002  the exposition format's own word
    """A row that copies a member of DeviceStats, of which `unit` make one of the row's."""

    def read(stats: list[BlockStats], _facts: VmFacts) -> Iterable[Sample]:
        for one in stats:
            count = getattr(one.stats, member)
            if count is not None:
                yield (one.name,), count if unit == 1 else per(count, unit)

    return counter(name, help, query(QUERY_BLOCKSTATS, read), labels=(DEVICE,))


def invalid(stats: list[BlockStats], _facts: VmFacts) -> Iterable[Sample]:
    for one in stats:
        by_operation = {
            "read": one.stats.invalid_rd_operations,
            "write": one.stats.invalid_wr_operations,
            "flush": one.stats.invalid_flush_operations,
            "unmap": one.stats.invalid_unmap_operations,
        }
        for operation, count in by_operation.items():
            if count is not None:
                yield (one.name, operation), count


def latency(stats: list[BlockStats], _facts: VmFacts) -> Iterable[Sample]:
    for one in stats:
        by_operation = {
            "read": one.stats.rd_latency_histogram,
            "write": one.stats.wr_latency_histogram,
            "flush": one.stats.flush_latency_histogram,
        }
        for operation, told in by_operation.items():
            for bound, count in buckets(told) if told else ():
                yield (one.name, operation, bound), count


def buckets(told: LatencyHistogram) -> Iterator[tuple[str, int]]:
    """QEMU's bins, each without its upper boundary -> buckets that count all up to it; none if they do not fit.

    That a boundary itself belongs to the bin above it makes a difference of one nanosecond.
    """
    rising = all(below < above for below, above in pairwise((0, *told.boundaries)))
    counts = all(count >= 0 for count in told.bins)
    fits = len(told.bins) == len(told.boundaries) + 1 <= MAX_BOUNDARIES + 1
    if not (rising and counts and fits and max((sum(told.bins), *told.boundaries)) <= MAX_VALUE):
        return
    bounds = (*(number(boundary / NANOSECONDS) for boundary in told.boundaries), "+Inf")
    yield from zip(bounds, accumulate(told.bins), strict=True)


STATISTICS = (
    traffic("qemu_block_read_bytes_total", "Bytes the guest read, by query-blockstats.", "rd_bytes"),
    traffic("qemu_block_written_bytes_total", "Bytes the guest wrote, by query-blockstats.", "wr_bytes"),
    traffic("qemu_block_reads_completed_total", "Reads completed, by query-blockstats.", "rd_operations"),
    traffic("qemu_block_writes_completed_total", "Writes completed, by query-blockstats.", "wr_operations"),
    traffic("qemu_block_flushes_completed_total", "Flushes completed, by query-blockstats.", "flush_operations"),
    traffic(
        "qemu_block_read_time_seconds_total",
        "Time spent on reads, summed over all of them, by query-blockstats.",
        "rd_total_time_ns",
        NANOSECONDS,
    ),
    traffic(
        "qemu_block_write_time_seconds_total",
        "Time spent on writes, summed over all of them, by query-blockstats.",
        "wr_total_time_ns",
        NANOSECONDS,
    ),
    traffic(
        "qemu_block_flush_time_seconds_total",
        "Time spent on flushes, summed over all of them, by query-blockstats.",
        "flush_total_time_ns",
        NANOSECONDS,
    ),
    traffic(
        "qemu_block_unmaps_completed_total", "Unmaps (discards) completed, by query-blockstats.", "unmap_operations"
    ),
    traffic("qemu_block_unmapped_bytes_total", "Bytes the guest unmapped, by query-blockstats.", "unmap_bytes"),
    traffic(
        "qemu_block_unmap_time_seconds_total",
        "Time spent on unmaps, summed over all of them, by query-blockstats.",
        "unmap_total_time_ns",
        NANOSECONDS,
    ),
    traffic(
        "qemu_block_reads_merged_total", "Reads that were merged into another one, by query-blockstats.", "rd_merged"
    ),
    traffic(
        "qemu_block_writes_merged_total", "Writes that were merged into another one, by query-blockstats.", "wr_merged"
    ),
    counter(
        "qemu_block_invalid_operations_total",
        "Operations of the guest that made no sense, such as beyond the end of the disk, by query-blockstats.",
        query(QUERY_BLOCKSTATS, invalid),
        labels=(DEVICE, INVALID_OPERATION),
    ),
)

LATENCIES = (
    histogram(
        "qemu_block_latency_seconds",
        "How long operations took, by query-blockstats, since and where an administrator set the boundaries by "
        "block-latency-histogram-set; there is no sum, since QEMU keeps none.",
        query(QUERY_BLOCKSTATS, latency),
        labels=(DEVICE, LATENCY_OPERATION),
    ),
)

GROUPS = (
    Group("block_stats", STATISTICS, queries=(QUERY_BLOCKSTATS,)),
    Group(
        "block_latency",
        LATENCIES,
        queries=(QUERY_BLOCKSTATS,),
        more="for each disk and operation with a histogram its boundaries and 1 more",
    ),
)
