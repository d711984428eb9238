"""WHAT is measured: each metric family is one row beside what feeds it.  No query is ever sent but those named here."""

from qmp_exporter.core.dispatch import Dispatch

from . import block, block_stats, cpu, device, disk, display, guest, job, memory, migration, monitor, process, vm

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
}

# What a qemu-storage-daemon, which has no machine, cannot have either.
OF_A_MACHINE = ("vm", "guest", "memory", "migration", "device", "display")

CATALOG = Dispatch(
    families=tuple(family for families in GROUPS.values() for family in families),
    queries=(
        *vm.QUERIES,
        *disk.QUERIES,
        *job.QUERIES,
        *display.QUERIES,
        *migration.QUERIES,
        *memory.QUERIES,
        *device.QUERIES,
        *cpu.QUERIES,
    ),
    remember=(
        *monitor.REMEMBER,
        *vm.REMEMBER,
        *disk.REMEMBER,
        *display.REMEMBER,
        *migration.REMEMBER,
        *memory.REMEMBER,
        *device.REMEMBER,
        *cpu.REMEMBER,
    ),
    needs={family.name: vm.QUERY_STATUS for group in OF_A_MACHINE for family in GROUPS[group]},
)
