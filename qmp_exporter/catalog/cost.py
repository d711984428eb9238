"""The examples of the catalog -> how many series a VM has in each group when it runs and nothing goes on."""

from collections import Counter
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from qmp_exporter.catalog import CATALOG, GROUPS
from qmp_exporter.catalog.disk import BLOCK_QUERIES, QUERY_BLOCKSTATS
from qmp_exporter.core.block_file import Mount
from qmp_exporter.core.family import Query
from qmp_exporter.core.process import ProcessInfo
from qmp_exporter.core.vm import Vm
from qmp_exporter.core.wire import Greeting

OF_DISKS = (*BLOCK_QUERIES, QUERY_BLOCKSTATS)  # whose replies have an element for each disk

# As it is found for every VM: what has threads of its own, interfaces or a control group costs more.
PROCESS = ProcessInfo(
    cpu_seconds=1.0,
    resident_bytes=1,
    open_fds=1,
    vcpus={},
    start_time=1.0,
    threads=1,
    major_faults=1,
    swap_bytes=1,
    hugetlb_bytes=1,
    max_fds=1,
    emulator_cpu_seconds=1.0,
    mounts=(Mount("/", "ext4", "/dev/sda1"),),
)


class Cost(NamedTuple):
    """Series of each VM, and of each of its disks."""

    vm: int
    disk: int


def costs() -> dict[str, Cost]:
    """By the name of the group."""
    without, with_one = series(disks=0), series(disks=1)
    return {name: Cost(without[name], with_one[name] - without[name]) for name in GROUPS}


def series(disks: int) -> Counter[str]:
    """How many there are by group, of a VM with so many disks."""
    vm = Vm(CATALOG, at=0.0)
    vm.connected(Greeting("10.0.0"), 0.0)
    vm.seed(CATALOG.queries)
    for query in CATALOG.queries:
        vm.alive(query, 0.0)
        vm.reply(query, Raw(msgspec.json.encode(_reply(query, disks))), 0.0)
    vm.resynced(0.0)
    vm.process_found(0.0)
    vm.process(PROCESS, 0.0)
    values = iter(vm.samples.values)  # in the order of the groups
    return Counter({group.name: sum(len(next(values)) for _ in group.families) for group in GROUPS.values()})


def _reply(query: Query, disks: int) -> Any:
    told = query.example if query.at_rest is None else query.at_rest
    if query in OF_DISKS:
        return [told[0] | {"device": f"disk{number}"} for number in range(disks)]
    return told
