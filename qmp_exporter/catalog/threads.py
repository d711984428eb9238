"""The threads of QEMU beside the vCPUs, as the host's kernel accounts for them: IOThreads, vhost, and the rest."""

from collections.abc import Iterable

from msgspec import Struct, field

from qmp_exporter.catalog import cpu
from qmp_exporter.catalog.process import of_process
from qmp_exporter.catalog.qapi import Int
from qmp_exporter.core.family import Group, Label, Query, Sample, StateUpdate, counter, host
from qmp_exporter.core.process import HOST_WANTS, ProcessInfo
from qmp_exporter.core.vm_facts import MAX_NAME, VmFacts


class IoThreadInfo(Struct, frozen=True):
    """An element of query-iothreads, qapi/misc.json (since 2.0)."""

    id: str
    thread_id: Int = field(name="thread-id")


QUERY_IOTHREADS = Query(
    "query-iothreads",
    list[IoThreadInfo],
    example=[{"id": "iothread0", "thread-id": 1000}],
    at_rest=[],
    every="rare",
)
IOTHREAD = Label("iothread", "The id of the IOThread.")


def update_iothreads(threads: list[IoThreadInfo], facts: VmFacts) -> None:
    facts[HOST_WANTS].iothreads = {thread.id[:MAX_NAME]: thread.thread_id for thread in threads}


def iothread_cpu_seconds(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for name, thread in process.iothreads.items() if process else ():
        yield (name,), thread.cpu_seconds


def iothread_run_delay(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for name, thread in process.iothreads.items() if process else ():
        yield (name,), thread.run_delay_seconds


FAMILIES = (
    counter(
        "qemu_iothread_cpu_seconds_total",
        "CPU time of an IOThread, from /proc by the thread ids of query-iothreads.",
        host("threads", iothread_cpu_seconds),
        labels=(IOTHREAD,),
    ),
    counter(
        "qemu_iothread_run_delay_seconds_total",
        "Time that an IOThread was ready to run and waited for a CPU of the host, from /proc by the thread ids of "
        "query-iothreads.",
        host("threads", iothread_run_delay),
        labels=(IOTHREAD,),
    ),
    counter(
        "qemu_vhost_cpu_seconds_total",
        "CPU time of the vhost threads that carry the network of the guest, from /proc; absent without vhost, and "
        "before Linux 6.4, where they are not threads of QEMU.",
        of_process("threads", "vhost_cpu_seconds"),
    ),
    counter(
        "qemu_emulator_cpu_seconds_total",
        "CPU time of the QEMU process beside its vCPUs, IOThreads and vhost threads, from /proc: the main loop, device "
        "emulation, migration.",
        of_process("threads", "emulator_cpu_seconds"),
    ),
)

GROUP = Group(
    "threads",
    FAMILIES,
    queries=(*cpu.QUERIES, QUERY_IOTHREADS),
    updates=(*cpu.UPDATES, StateUpdate("query-iothreads", list[IoThreadInfo], update_iothreads)),
    more="2 for each IOThread, 1 with vhost",
)
