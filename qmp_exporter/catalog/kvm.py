"""What KVM itself counts of a machine and its vCPUs, for those who name what they want: query-stats of QEMU 8.1."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import msgspec
from msgspec import Struct, field

from qmp_exporter.catalog import cpu
from qmp_exporter.catalog.cpu import UPDATE_PATHS, VCPU, VCPUS
from qmp_exporter.core.family import Group, Label, Query, Read, Sample, StateUpdate, counter, gauge, query
from qmp_exporter.core.vm_facts import MAX_NAME, Slice, VmFacts

# A float holds what counters of 64 bits count up to in practice, and refuses what a broken peer may send beyond them.
Value = float | bool | list[float]


class Stat(Struct, frozen=True):
    """Stats, qapi/stats.json; the value of a histogram is a list."""

    name: str
    value: Value


class StatsResult(Struct, frozen=True):
    """An element of query-stats, qapi/stats.json: of the VM, or of the vCPU with this path."""

    stats: list[Stat]
    qom_path: str = field(name="qom-path", default="")


class StatType(Struct, frozen=True):
    """StatsSchemaValue, qapi/stats.json."""

    name: str
    type: str


class StatsSchema(Struct, frozen=True):
    """An element of query-stats-schemas, qapi/stats.json."""

    target: str
    stats: list[StatType]


# Not before 8.1, where asking for those of vCPUs interrupted each of them (QEMU commit 3b6f485275).
SINCE = (8, 1)
QUERY_SCHEMAS = Query(
    "query-stats-schemas", list[StatsSchema], since=SINCE, arguments=b'{"provider": "kvm"}'
)  # what adds up and what is a level; it never changes
QUERY_OF_VM = Query("query-stats", list[StatsResult], every="poll", since=SINCE, of="vm")
QUERY_OF_VCPUS = Query("query-stats", list[StatsResult], every="poll", since=SINCE, of="vcpu")

STAT = Label("stat", "As KVM names it; its name tells its unit, as in halt_wait_ns.")


def queries(names: Collection[str]) -> tuple[Query, ...]:
    """Ask for these statistics and no others."""
    if not names:
        return ()
    wanted = [{"provider": "kvm", "names": sorted(names)}]
    return (
        QUERY_SCHEMAS,
        *(
            replace(one, arguments=msgspec.json.encode({"target": one.of, "providers": wanted}))
            for one in (QUERY_OF_VM, QUERY_OF_VCPUS)
        ),
    )


STAT_TYPES = Slice(dict[tuple[str, str], str])  # StatsType by target and name


def update_types(schemas: list[StatsSchema], facts: VmFacts) -> None:
    types = facts[STAT_TYPES]
    types.clear()
    for schema in schemas:
        for one in schema.stats:
            types[schema.target[:MAX_NAME], one.name[:MAX_NAME]] = one.type[:MAX_NAME]


def of_vm(*types: str) -> Read[list[StatsResult]]:
    def read(results: list[StatsResult], facts: VmFacts) -> Iterable[Sample]:
        for result in results:
            for name, value in _of_types(result, "vm", types, facts):
                yield (name,), value

    return read


def of_vcpus(*types: str) -> Read[list[StatsResult]]:
    def read(results: list[StatsResult], facts: VmFacts) -> Iterable[Sample]:
        for result in results:
            index = facts[VCPUS].paths.get(result.qom_path)
            if index is not None:
                for name, value in _of_types(result, "vcpu", types, facts):
                    yield (str(index), name), value

    return read


def _of_types(result: StatsResult, target: str, types: tuple[str, ...], facts: VmFacts) -> Iterator[tuple[str, float]]:
    for stat in result.stats:
        if not isinstance(stat.value, list) and facts[STAT_TYPES].get((target, stat.name)) in types:
            yield stat.name, float(stat.value)


ADDS_UP = ("cumulative",)
LEVELS = ("instant", "peak")

UPDATES = (*UPDATE_PATHS, StateUpdate("query-stats-schemas", list[StatsSchema], update_types))

FAMILIES = (
    counter(
        "qemu_kvm_stat_total",
        "Cumulative KVM statistics of the VM, each in the unit that its name tells, by query-stats.",
        query(QUERY_OF_VM, of_vm(*ADDS_UP)),
        labels=(STAT,),
    ),
    gauge(
        "qemu_kvm_stat_level",
        "Instantaneous and peak KVM statistics of the VM, by query-stats.",
        query(QUERY_OF_VM, of_vm(*LEVELS)),
        labels=(STAT,),
    ),
    counter(
        "qemu_kvm_vcpu_stat_total",
        "Cumulative KVM statistics of a vCPU, each in the unit that its name tells, by query-stats.",
        query(QUERY_OF_VCPUS, of_vcpus(*ADDS_UP)),
        labels=(VCPU, STAT),
    ),
    gauge(
        "qemu_kvm_vcpu_stat_level",
        "Instantaneous and peak KVM statistics of a vCPU, by query-stats.",
        query(QUERY_OF_VCPUS, of_vcpus(*LEVELS)),
        labels=(VCPU, STAT),
    ),
)

GROUP = Group(
    "kvm",
    FAMILIES,
    queries=cpu.QUERIES,
    updates=UPDATES,
    more="1 for each statistic that is named in the configuration, and 1 for each of a vCPU",
)
