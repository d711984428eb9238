"""The process behind the VM, as the host's kernel accounts for it: only where QEMU is on this host and readable."""

from collections.abc import Iterable

from qmp_exporter.catalog import cpu
from qmp_exporter.catalog.cpu import VCPU
from qmp_exporter.core.family import Group, Sample, counter, gauge, host
from qmp_exporter.core.process import ProcessInfo
from qmp_exporter.core.vm_facts import VmFacts


def cpu_seconds(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    if process is not None:
        yield (), process.cpu_seconds


def resident(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    if process is not None:
        yield (), process.resident_bytes


def open_fds(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    if process is not None and process.open_fds is not None:
        yield (), process.open_fds


def vcpu_cpu_seconds(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for index, vcpu in process.vcpus.items() if process else ():
        yield (str(index),), vcpu.cpu_seconds


def vcpu_run_delay(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for index, vcpu in process.vcpus.items() if process else ():
        yield (str(index),), vcpu.run_delay_seconds


FAMILIES = (
    counter(
        "qemu_process_cpu_seconds_total",
        "CPU time of the QEMU process, user and system, from /proc.",
        host(cpu_seconds),
    ),
    gauge("qemu_process_resident_memory_bytes", "Resident memory of the QEMU process, from /proc.", host(resident)),
    gauge(
        "qemu_process_open_fds",
        "Open file descriptors of the QEMU process, from /proc; absent where they may not be listed.",
        host(open_fds),
    ),
    counter(
        "qemu_vcpu_cpu_seconds_total",
        "CPU time of the thread of a vCPU, from /proc by the thread ids of query-cpus-fast.",
        host(vcpu_cpu_seconds),
        labels=(VCPU,),
    ),
    counter(
        "qemu_vcpu_run_delay_seconds_total",
        "Time that a vCPU was ready to run and waited for a CPU of the host, steal as the guest feels it, from "
        "/proc by the thread ids of query-cpus-fast.",
        host(vcpu_run_delay),
        labels=(VCPU,),
    ),
)

GROUP = Group(
    "process",
    FAMILIES,
    queries=cpu.QUERIES,
    updates=cpu.UPDATES,
    more="2 for each vCPU",
)
