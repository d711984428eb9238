"""The process behind the VM, as the host's kernel accounts for it: only where QEMU is on this host and readable."""

from collections.abc import Iterable

from qmp_exporter.catalog import cpu
from qmp_exporter.catalog.cpu import VCPU
from qmp_exporter.core.family import Group, Label, Sample, Source, counter, gauge, host, lifecycle
from qmp_exporter.core.process import EXITED, FAILED, OOM_KILL, UNKNOWN, Part, ProcessInfo
from qmp_exporter.core.vm_facts import VmFacts

# Those that the kernel or somebody sends, and that end a process (signal(7)).
SIGNALS = (
    *(
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGSEGV",
        "SIGSYS",
    ),
    *("SIGTERM", "SIGTRAP", "SIGXCPU", "SIGXFSZ"),
)
LIKELY = (EXITED, FAILED, "SIGABRT", "SIGBUS", "SIGKILL", "SIGSEGV", OOM_KILL, UNKNOWN)
HOW = Label(
    "how",
    "By its own will (failed: with a status that is not 0), by which signal, by the OOM killer in its own control "
    "group; unknown before Linux 6.15, and where nobody waits for it.",
    values=(EXITED, FAILED, *SIGNALS, OOM_KILL, UNKNOWN),
    zero=(),
)


def of_process(part: Part, member: str) -> Source:
    """A member of ProcessInfo as it is, where it is to be seen."""

    def read(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
        told = None if process is None else getattr(process, member)
        if told is not None:
            yield (), told

    return host(part, read)


def vcpu_cpu_seconds(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for index, vcpu in process.vcpus.items() if process else ():
        yield (str(index),), vcpu.cpu_seconds


def vcpu_run_delay(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for index, vcpu in process.vcpus.items() if process else ():
        yield (str(index),), vcpu.run_delay_seconds


def at_zero(_payload: None, _facts: VmFacts) -> Iterable[Sample]:
    return (((how,), 0) for how in LIKELY)


def exited(how: str, _facts: VmFacts) -> Iterable[Sample]:
    yield (how,), 1


FAMILIES = (
    counter(
        "qemu_process_cpu_seconds_total",
        "CPU time of the QEMU process, user and system, from /proc.",
        of_process("process", "cpu_seconds"),
    ),
    gauge(
        "qemu_process_resident_memory_bytes",
        "Resident memory of the QEMU process, from /proc.",
        of_process("process", "resident_bytes"),
    ),
    gauge(
        "qemu_process_open_fds",
        "Open file descriptors of the QEMU process, from /proc; absent where they may not be listed.",
        of_process("process", "open_fds"),
    ),
    gauge(
        "qemu_process_max_fds",
        "Limit of open file descriptors of the QEMU process, from /proc; absent where there is none.",
        of_process("process", "max_fds"),
    ),
    gauge(
        "qemu_process_start_time_seconds",
        "When the QEMU process was started, in seconds since the epoch, from /proc.",
        of_process("process", "start_time"),
    ),
    gauge(
        "qemu_process_threads",
        "Threads of the QEMU process, from /proc; a storage that hangs makes them many.",
        of_process("process", "threads"),
    ),
    gauge(
        "qemu_process_swap_bytes",
        "Memory of the QEMU process that the host has swapped out, from /proc.",
        of_process("process", "swap_bytes"),
    ),
    gauge(
        "qemu_process_hugetlb_bytes",
        "Huge pages of the QEMU process, which are not in its resident memory, from /proc.",
        of_process("process", "hugetlb_bytes"),
    ),
    counter(
        "qemu_process_major_faults_total",
        "Page faults of the QEMU process that had to wait for a disk, from /proc: memory was swapped out.",
        of_process("process", "major_faults"),
    ),
    counter(
        "qemu_vcpu_cpu_seconds_total",
        "CPU time of the thread of a vCPU, from /proc by the thread ids of query-cpus-fast.",
        host("process", vcpu_cpu_seconds),
        labels=(VCPU,),
    ),
    counter(
        "qemu_vcpu_run_delay_seconds_total",
        "Time that a vCPU was ready to run and waited for a CPU of the host, steal as the guest feels it, from "
        "/proc by the thread ids of query-cpus-fast.",
        host("process", vcpu_run_delay),
        labels=(VCPU,),
    ),
    counter(
        "qemu_process_exits_total",
        "Times the QEMU process ended whose monitor had been connected, and how; absent where it is not on this host.",
        lifecycle("process", at_zero),
        lifecycle("exited", exited),
        labels=(HOW,),
    ),
)

GROUP = Group(
    "process",
    FAMILIES,
    queries=cpu.QUERIES,
    updates=cpu.UPDATES,
    more="2 for each vCPU",
)
