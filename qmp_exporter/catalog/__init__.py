"""WHAT is measured: each metric family is one row beside what feeds it.  No query is ever sent but those named here."""

from dataclasses import replace
from functools import cache

from qmp_exporter.core.dispatch import Dispatch

from . import (
    block,
    block_image,
    block_info,
    block_stats,
    cgroup,
    device,
    display,
    guest,
    guest_memory,
    job,
    kvm,
    memory,
    migration,
    monitor,
    network,
    process,
    threads,
    vm,
)

GROUPS = {
    group.name: group
    for group in (
        monitor.GROUP,
        vm.GROUP,
        guest.GROUP,
        guest_memory.GROUP,
        memory.GROUP,
        migration.GROUP,
        device.GROUP,
        block.GROUP,
        *block_stats.GROUPS,
        block_image.GROUP,
        block_info.GROUP,
        job.GROUP,
        display.GROUP,
        process.GROUP,
        threads.GROUP,
        cgroup.GROUP,
        network.GROUP,
        kvm.GROUP,
    )
}
ALWAYS = monitor.GROUP.name  # whether a VM can be reached is not to be switched off
OPTIONAL = tuple(name for name in GROUPS if name != ALWAYS)


@cache
def without(names: frozenset[str], kvm_stats: tuple[str, ...] = ()) -> Dispatch:
    """The catalog with these groups switched off, made once and shared by all VMs that do without the same.

    Their families stay where they are, so that one page serves all VMs, but nothing feeds them; a query that feeds
    nothing is not asked.  The group kvm is on for those who name the statistics they want.
    """
    if not kvm_stats:
        names |= {kvm.GROUP.name}
    families = tuple(
        replace(family, sources=()) if group.name in names else family
        for group in GROUPS.values()
        for family in group.families
    )
    on = [group for group in GROUPS.values() if group.name not in names]
    queries = dict.fromkeys(query for group in on for query in group.queries)
    return Dispatch(
        families,
        queries=(*queries, *kvm.queries(kvm_stats)),
        updates=tuple(dict.fromkeys(update for group in on for update in group.updates)),
        needs={
            family.name: vm.QUERY_STATUS for group in GROUPS.values() if group.of_a_machine for family in group.families
        },
    )


CATALOG = without(frozenset())
