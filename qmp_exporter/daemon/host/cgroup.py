"""A process -> what its control group (v2) says, where that belongs to this VM alone.

The files are those of Documentation/admin-guide/cgroup-v2.rst and Documentation/accounting/psi.rst.
"""

import re
from functools import cache

from qmp_exporter.core.block_file import parse_mounts
from qmp_exporter.core.process import CgroupInfo
from qmp_exporter.daemon.host.files import content, keyed, number

RESOURCES = ("cpu", "memory", "io")
# libvirt's own, in which it makes others below; and Proxmox'.
_OF_A_VM = re.compile(r"(?:/.*)?/(?:machine-qemu[^/]*\.scope|qemu\.slice/\d+\.scope)(?=/|$)")
_UNIT = re.compile(r"\.(?:service|scope)$")


@cache
def mount_point() -> str | None:
    """Where the second version of control groups is mounted; on a host that has both this is not /sys/fs/cgroup."""
    mounts = parse_mounts(content("/proc/self/mountinfo") or b"")
    return next((mount.point for mount in mounts if mount.kind == "cgroup2"), None)


def own_cgroup(pid: int, root: str | None) -> str | None:
    """The directory of the control group that has this VM and nothing else in it; None where there is no such one.

    A manager's name tells that; a unit of systemd has to have this process alone.
    """
    lines = (content(f"/proc/{pid}/cgroup") or b"").decode(errors="replace").splitlines()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    if root is None or ".." in path.split("/"):  # a group outside of our own namespace
        return None
    if of_a_vm := _OF_A_VM.match(path):
        return root + of_a_vm[0]
    alone = _UNIT.search(path) and (content(f"{root}{path}/cgroup.procs") or b"").split() == [b"%d" % pid]
    return root + path if alone else None


def read_cgroup(directory: str) -> CgroupInfo:
    cpu = keyed(f"{directory}/cpu.stat")
    return CgroupInfo(
        cpu_quota=_quota(content(f"{directory}/cpu.max")),
        throttled_seconds=cpu["throttled_usec"] / 1e6 if "throttled_usec" in cpu else None,
        pressure={
            (resource, kind): seconds
            for resource in RESOURCES
            for kind, seconds in _pressure(content(f"{directory}/{resource}.pressure")).items()
        },
        memory_events=keyed(f"{directory}/memory.events"),
        memory_current=number(f"{directory}/memory.current"),
        memory_max=number(f"{directory}/memory.max"),
        memory_high=number(f"{directory}/memory.high"),
    )


def _quota(text: bytes | None) -> float | None:
    """`200000 100000`: two CPUs; `max 100000`: no limit."""
    quota, _, period = (text or b"").partition(b" ")
    return int(quota) / int(period) if quota.isdigit() and int(period or 0) else None


def _pressure(text: bytes | None) -> dict[str, float]:
    """`some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, in microseconds."""
    lines = re.findall(rb"^(some|full) .*total=(\d+)$", text or b"", re.MULTILINE)
    return {kind.decode(): int(total) / 1e6 for kind, total in lines}
