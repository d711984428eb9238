"""WHAT is measured: each metric family is one row beside what feeds it.  No query is ever sent but those named here."""

from dataclasses import replace
from functools import cache

from qmp_exporter.core.dispatch import Dispatch

from . import block, block_stats, cpu, device, disk, display, guest, job, kvm, memory, migration, monitor, process, vm

GROUPS = {
    "monitor": monitor.FAMILIES,
    "vm": (*vm.FAMILIES, *cpu.FAMILIES),
    "guest": guest.FAMILIES,
    "memory": memory.FAMILIES,
    "migration": migration.FAMILIES,
    "device": device.FAMILIES,
    "block": block.FAMILIES,
    "block_stats": block_stats.STATISTICS,
    "block_latency": block_stats.LATENCIES,
    "block_job": job.FAMILIES,
    "display": display.FAMILIES,
    "process": process.FAMILIES,
    "kvm": kvm.FAMILIES,
}

ALWAYS = "monitor"  # whether a VM can be reached is not to be switched off
OPTIONAL = tuple(group for group in GROUPS if group != ALWAYS)

# What the rows of a group read from memory; nobody else needs it.
UPDATES = {
    ALWAYS: (*monitor.UPDATES, *vm.VITAL),
    "vm": vm.UPDATES,
    "memory": memory.UPDATES,
    "migration": migration.UPDATES,
    "device": device.UPDATES,
    "block": disk.UPDATES,
    "display": display.UPDATES,
    "process": cpu.UPDATES,
    "kvm": kvm.UPDATES,
}

QUERIES = (
    *vm.QUERIES,
    *disk.QUERIES,
    *job.QUERIES,
    *display.QUERIES,
    *migration.QUERIES,
    *memory.QUERIES,
    *device.QUERIES,
    *cpu.QUERIES,
)

# What a qemu-storage-daemon, which has no machine, cannot have either.
OF_A_MACHINE = ("vm", "guest", "memory", "migration", "device", "display")


@cache
def without(groups: frozenset[str], kvm_stats: tuple[str, ...] = ()) -> Dispatch:
    """The catalog with these groups switched off, made once and shared by all VMs that do without the same.

    Their families stay where they are, so that one page serves all VMs, but nothing feeds them; a query that feeds
    nothing is not asked.  The group kvm is on for those who name the statistics they want.
    """
    if not kvm_stats:
        groups |= {"kvm"}
    families = tuple(
        replace(family, sources=()) if group in groups else family
        for group, members in GROUPS.items()
        for family in members
    )
    remember = tuple(row for group, rows in UPDATES.items() if group not in groups for row in rows)
    queries = (*QUERIES, *kvm.queries(kvm_stats))
    fed = {source.name for family in families for source in family.sources} | {row.name for row in remember}
    return Dispatch(
        families,
        queries=tuple(query for query in queries if query.reply in fed),
        remember=remember,
        needs={family.name: vm.QUERY_STATUS for group in OF_A_MACHINE for family in GROUPS[group]},
    )


CATALOG = without(frozenset())
