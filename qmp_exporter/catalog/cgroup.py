"""The control group of a VM, where it has one of its own: what limits it, and what it waits for."""

from collections.abc import Callable, Iterable

from qmp_exporter.catalog import cpu
from qmp_exporter.core.family import Group, Label, Sample, Source, counter, gauge, host
from qmp_exporter.core.process import CgroupInfo, ProcessInfo
from qmp_exporter.core.vm_facts import VmFacts

RESOURCE = Label("resource", "What was waited for.", values=("cpu", "memory", "io"))
KIND = Label("kind", "Whether some thread waited or all of them, and none ran.", values=("some", "full"))
EVENT = Label(
    "event",
    "A line of memory.events.",
    values=("low", "high", "max", "oom", "oom_kill", "oom_group_kill"),
)


def of_cgroup(read: Callable[[CgroupInfo], Iterable[Sample]]) -> Source:
    def samples(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
        return read(process.cgroup) if process is not None and process.cgroup is not None else ()

    return host("cgroup", samples)


def member(name: str) -> Source:
    """A member of CgroupInfo as it is, where it is to be seen."""

    def read(cgroup: CgroupInfo) -> Iterable[Sample]:
        told = getattr(cgroup, name)
        if told is not None:
            yield (), told

    return of_cgroup(read)


def pressure(cgroup: CgroupInfo) -> Iterable[Sample]:
    return cgroup.pressure.items()


def memory_events(cgroup: CgroupInfo) -> Iterable[Sample]:
    for event, count in cgroup.memory_events.items():
        if event in EVENT.values:
            yield (event,), count


FAMILIES = (
    gauge(
        "qemu_cgroup_cpu_quota_cpus",
        "CPU seconds per second that the VM may take at most, by cpu.max of its control group; absent without a limit.",
        member("cpu_quota"),
    ),
    counter(
        "qemu_cgroup_cpu_throttled_seconds_total",
        "Time that the VM was not allowed to run since its quota was used up, by cpu.stat of its control group.",
        member("throttled_seconds"),
    ),
    counter(
        "qemu_cgroup_pressure_seconds_total",
        "Time that threads of the VM waited for a resource of the host, by the PSI files of its control group.",
        of_cgroup(pressure),
        labels=(RESOURCE, KIND),
    ),
    counter(
        "qemu_cgroup_memory_events_total",
        "Times that the VM met a limit of memory, and what came of it, by memory.events of its control group.",
        of_cgroup(memory_events),
        labels=(EVENT,),
    ),
    gauge(
        "qemu_cgroup_memory_current_bytes",
        "Memory of the VM and of what is cached for it, by memory.current of its control group.",
        member("memory_current"),
    ),
    gauge(
        "qemu_cgroup_memory_max_bytes",
        "Memory at which the OOM killer comes, by memory.max of the control group; absent without a limit.",
        member("memory_max"),
    ),
    gauge(
        "qemu_cgroup_memory_high_bytes",
        "Memory at which the VM is slowed down, by memory.high of the control group; absent without a limit.",
        member("memory_high"),
    ),
)

GROUP = Group(
    "cgroup",
    FAMILIES,
    queries=cpu.QUERIES,
    updates=cpu.UPDATES,
    more="up to 17 where the VM has a control group of its own",
)
