"""A configuration that gives no VM now -> where it looked, which QEMUs run here, and what to do next."""

import os
import re
from collections.abc import Iterator

from qmp_exporter.config import Config
from qmp_exporter.daemon.monitor.managed_sockets import instance, managing_tool
from qmp_exporter.diagnose.arguments import QMP, uses, vm_name
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.fixes import DIRECTORY, second_monitor
from qmp_exporter.diagnose.host import Host, Process

_MANY = 5  # QEMUs, in a list for a person


def no_vms(config: Config, file: str, host: Host) -> Finding:
    """A finding about the file: good where no QEMU runs either."""
    looked = tuple(f"discover {entry.glob} finds no socket{_why(entry.glob)}." for entry in config.discover)
    looked += tuple(f"files {glob} has no VM." for glob in config.files)
    qemus = host.qemus
    runs = [f"Runs here and is not watched: {qemu}." for qemu in qemus[:_MANY]]
    if len(qemus) > _MANY:
        runs.append(f"And {len(qemus) - _MANY} more.")
    seen = (
        *(looked or ("None of vms, discover, listen, libvirt and files has an entry.",)),
        *(runs or ("No QEMU runs here.",)),
    )
    return Finding(
        file,
        "missing" if qemus else "good",
        "No VM is watched.",
        seen,
        tuple(_next(config, qemus[0] if qemus else None)),
    )


def _why(glob: str) -> str:
    directory = os.path.dirname(re.split(r"[*?[]", glob, maxsplit=1)[0])  # noqa: PTH120  a str as the others
    return "" if os.path.lexists(directory) else f": there is no directory {directory}"


def _next(config: Config, qemu: Process | None) -> Iterator[str]:
    """Sentences, and commands, which begin with two spaces."""
    found_by = next((entry.glob for entry in config.discover if _is_simple(entry.glob)), "")
    monitors = [use.socket for use in uses(qemu.argv) if use.listens and use.purpose == QMP] if qemu else []
    name = (qemu and vm_name(qemu.argv)) or "NAME"
    if free := next((socket for socket in monitors if not managing_tool(socket)), ""):
        yield f"A QEMU that runs, {name}, has a QMP monitor. If nothing else needs it, write in the configuration:"
        yield "  vms:"
        yield f"    - name: {name}"
        yield f"      socket: {free}"
        yield "Or give it another one for the exporter alone, at its next cold start."
    else:
        yield "Give each VM a monitor for the exporter, at its next cold start."
    managers_own = next(filter(managing_tool, monitors), "")
    yield from _recipe(managers_own, name, found_by)
    if not found_by:
        yield "And let the exporter find it. Write in the configuration:"
        yield "  discover:"
        yield f"    - glob: {DIRECTORY}/*.sock"
        yield "Then let it be read:"
        yield "  systemctl reload qmp-exporter"
    yield "docs/README.md leads to libvirt, Proxmox, Incus and Ganeti, and to VMs that dial in; in the package it is"
    yield "  /usr/share/doc/qmp-exporter/docs/README.md"


def _recipe(managers_own: str, name: str, found_by: str) -> tuple[str, ...]:
    """`managers_own`: the monitor of its manager, whose path may tell what the manager's commands call the VM."""
    manager = managing_tool(managers_own)
    called = name if manager in {None, "libvirt"} else instance(managers_own) or name
    return second_monitor(called, manager, found_by.replace("*", called))


def _is_simple(glob: str) -> bool:
    """A name in the place of its star makes a path that it finds."""
    return glob.count("*") == 1 and not re.search(r"[?[]", glob)
