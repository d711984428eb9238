"""The vCPUs: how many there are, and which thread of the host each one is."""

from msgspec import Struct, field

from qmp_exporter.catalog.qapi import Int
from qmp_exporter.core.family import Query, Remember, Sample, gauge, query
from qmp_exporter.core.memory import Memory


class CpuInfo(Struct, frozen=True):
    """An element of query-cpus-fast, qapi/machine.json (since 2.12)."""

    index: Int = field(name="cpu-index")
    thread_id: Int = field(name="thread-id")


# Does not stop vCPUs to ask them, unlike the query-cpus before it.  With the poll, since vCPUs are plugged in silently.
QUERY_CPUS_FAST = Query("query-cpus-fast", list[CpuInfo], every="poll")
QUERIES = (QUERY_CPUS_FAST,)


def note_threads(cpus: list[CpuInfo], memory: Memory) -> None:
    memory.vcpu_threads = {cpu.index: cpu.thread_id for cpu in cpus}


def vcpus(cpus: list[CpuInfo], _memory: Memory) -> tuple[Sample, ...]:
    return (((), len(cpus)),)


REMEMBER = (Remember("query-cpus-fast", list[CpuInfo], note_threads),)

FAMILIES = (gauge("qemu_vcpus", "Number of vCPUs, by query-cpus-fast.", query(QUERY_CPUS_FAST, vcpus)),)
