"""The vCPUs: how many there are, and which thread of the host each one is."""

from msgspec import Struct, field

from qmp_exporter.catalog.qapi import Int
from qmp_exporter.core.family import Label, Query, Sample, StateUpdate, gauge, query
from qmp_exporter.core.process import HOST_WANTS
from qmp_exporter.core.vm_facts import MAX_NAME, Slice, VmFacts


class CpuInfo(Struct, frozen=True):
    """An element of query-cpus-fast, qapi/machine.json (since 2.12)."""

    index: Int = field(name="cpu-index")
    thread_id: Int = field(name="thread-id")
    qom_path: str = field(name="qom-path", default="")


# Does not stop vCPUs to ask them, unlike the query-cpus before it.  With the poll, since vCPUs are plugged in silently.
QUERY_CPUS_FAST = Query(
    "query-cpus-fast",
    list[CpuInfo],
    example=[{"cpu-index": 0, "thread-id": 1000, "qom-path": "/machine/unattached/device[0]"}],
    every="slow",
)
QUERIES = (QUERY_CPUS_FAST,)


class Vcpus:
    """By the QOM path of a vCPU its index, as query-cpus-fast said last."""

    def __init__(self) -> None:
        self.paths: dict[str, int] = {}


VCPUS = Slice(Vcpus)
VCPU = Label("vcpu", "The vCPU's index.", limit=512)


def update_threads(cpus: list[CpuInfo], facts: VmFacts) -> None:
    facts[HOST_WANTS].vcpus = {cpu.index: cpu.thread_id for cpu in cpus}


def update_paths(cpus: list[CpuInfo], facts: VmFacts) -> None:
    facts[VCPUS].paths = {cpu.qom_path[:MAX_NAME]: cpu.index for cpu in cpus}


def vcpus(cpus: list[CpuInfo], _facts: VmFacts) -> tuple[Sample, ...]:
    return (((), len(cpus)),)


UPDATES = (StateUpdate("query-cpus-fast", list[CpuInfo], update_threads),)
UPDATE_PATHS = (StateUpdate("query-cpus-fast", list[CpuInfo], update_paths),)

FAMILIES = (gauge("qemu_vcpus", "Number of vCPUs, by query-cpus-fast.", query(QUERY_CPUS_FAST, vcpus)),)
