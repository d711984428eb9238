"""An embedded QEMU that speaks real QMP: for demos without QEMU, for tests and for benchmarks."""

from qmp_exporter.simulator.block import BlockDevice, cdrom, disk
from qmp_exporter.simulator.commands import COMMANDS, HEADLESS_COMMANDS, STORAGE_DAEMON_COMMANDS
from qmp_exporter.simulator.dialling import DiallingMonitor
from qmp_exporter.simulator.display import SpiceServer, VncServer
from qmp_exporter.simulator.life import live
from qmp_exporter.simulator.monitor import Monitor
from qmp_exporter.simulator.throttle import Event
from qmp_exporter.simulator.vm import SimulatedVm

__all__ = [
    "COMMANDS",
    "HEADLESS_COMMANDS",
    "STORAGE_DAEMON_COMMANDS",
    "BlockDevice",
    "DiallingMonitor",
    "Event",
    "Monitor",
    "SimulatedVm",
    "SpiceServer",
    "VncServer",
    "cdrom",
    "disk",
    "live",
]
