"""The guest's network, as the host's kernel counts it at the interfaces that QEMU uses.  QEMU itself is not asked."""

from collections.abc import Iterable
from itertools import product

from qmp_exporter.catalog import cpu
from qmp_exporter.core.family import Family, Group, Label, Sample, counter, gauge, host
from qmp_exporter.core.process import ProcessInfo
from qmp_exporter.core.vm_facts import VmFacts

INTERFACE = Label("interface", "The network interface of the host, such as tap101i0 or vnet3.")
NETDEV = Label("netdev", "The id of QEMU's network backend; empty where it is not to be seen.")
MAC = Label("mac", "The address of the guest's device by QEMU's command line; empty where it is not there.")

MEANINGS = {
    "bytes": "Bytes",
    "packets": "Packets",
    "errors": "Errors of packets",
    "drops": "Packets that the host dropped of those",
}
DIRECTIONS = {
    "receive": "that the guest receives: what the interface of the host sends",
    "transmit": "that the guest sends: what the interface of the host receives",
}


def info(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
    for interface in process.interfaces if process else ():
        yield (interface.name, interface.netdev, interface.mac), 1


def counted(direction: str, what: str) -> Family:
    def read(process: ProcessInfo | None, _facts: VmFacts) -> Iterable[Sample]:
        for interface in process.interfaces if process else ():
            yield (interface.name,), interface.counters[f"{direction}_{what}"]

    return counter(
        f"qemu_network_{direction}_{what}_total",
        f"{MEANINGS[what]} {DIRECTIONS[direction]}, from /proc/PID/net/dev.",
        host("network", read),
        labels=(INTERFACE,),
    )


FAMILIES = (
    gauge(
        "qemu_network_info",
        "1 for each network interface of the host that QEMU uses, found by its descriptors, its command line, or the "
        "address.",
        host("network", info),
        labels=(INTERFACE, NETDEV, MAC),
    ),
    *(counted(direction, what) for direction, what in product(DIRECTIONS, MEANINGS)),
)

GROUP = Group(
    "network",
    FAMILIES,
    queries=cpu.QUERIES,
    updates=cpu.UPDATES,
    more=f"{1 + len(DIRECTIONS) * len(MEANINGS)} for each network interface",
)
