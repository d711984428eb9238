"""What /api/v1/targets tells -> the rows of a terminal of 80 columns, and the details of one VM."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from qmp_exporter.core.controls import without_controls

Vm = Mapping[str, Any]  # an element of `targets`, as docs/api.md has it
UNITS = ("B", "K", "M", "G", "T")
SESSIONS = frozenset({"connected", "hung", "visited"})  # states of a monitor in which QEMU is there
SIZE = 1024.0


class Row(NamedTuple):
    """`level`: 2 is critical, 1 a warning, 0 is well."""

    vm: str
    state: str
    since: str
    cpu: str
    memory: str
    disk: str
    wrong: str
    level: int


class Column(NamedTuple):
    head: str
    width: int


COLUMNS = (
    Column("VM", 14),
    Column("State", 9),
    Column("Since", 6),
    Column("CPU", 5),
    Column("Mem", 5),
    Column("Disk/s", 6),
    Column("What is wrong, what to do", 26),  # and whatever room there is
)

ORDERS: Mapping[str, Callable[[Vm], Any]] = {
    "trouble": lambda vm: (-level(vm), vm["vm"]),
    "name": lambda vm: vm["vm"],
    "cpu": lambda vm: (-_newest(vm, "cpus"), vm["vm"]),
    "memory": lambda vm: (-vm.get("memory_bytes", 0), vm["vm"]),
    "disk": lambda vm: (-_newest(vm, "disk_bytes_per_second"), vm["vm"]),
}


def rows(data: Mapping[str, Any], order: str = "trouble", find: str = "") -> list[Row]:
    """`order`: one of ORDERS; `find`: words that all have to be in the row."""
    words = find.lower().split()
    made = (row(vm, data["now"]) for vm in sorted(data["targets"], key=ORDERS[order]))
    return [one for one in made if all(word in " ".join(one[:-1]).lower() for word in words)]


def row(vm: Vm, now: float) -> Row:
    cpus, disk = _newest(vm, "cpus"), _newest(vm, "disk_bytes_per_second")
    is_there = vm["monitor"]["state"] in SESSIONS
    since = vm.get("run_state_since") if is_there else vm["monitor"]["since"]
    return Row(
        without_controls(vm["vm"]),
        state(vm),
        "" if since is None else span(now - since),
        "" if cpus < 0 else f"{cpus:.2f}" if cpus < 10 else f"{cpus:.0f}",
        size(vm["memory_bytes"]) if "memory_bytes" in vm else "",
        "" if disk < 0 else size(disk),
        "; ".join(wrong(vm)),
        level(vm),
    )


def state(vm: Vm) -> str:
    """In a word: that of QEMU, or why nobody knows it."""
    monitor = vm["monitor"]["state"]
    if monitor == "hung":
        return "hangs"
    return str(vm.get("run_state") or "-") if monitor in SESSIONS else str(monitor)


def level(vm: Vm) -> int:
    return max((2 if one["severity"] == "critical" else 1 for one in vm.get("troubles", ())), default=0)


def wrong(vm: Vm) -> Iterator[str]:
    """Each trouble that a person is told of, with its disks and what to do first."""
    for one in vm.get("troubles", ()):
        if one.get("inhibited"):
            continue
        disks = one.get("detail") or one.get("labels", {}).get("device", "")
        yield without_controls(f"{one['what']}{' ' if disks else ''}{disks} -> {one['first']}".replace("`", ""))
    if vm["monitor"]["state"] not in SESSIONS and not vm.get("troubles"):
        yield without_controls(vm["monitor"].get("reason", ""))


def details(vm: Vm, now: float) -> Iterator[str]:
    """All that there is to say of one VM, line by line."""
    who = f"{vm.get('name', '')} {vm.get('uuid', '')} QEMU {vm.get('version', '?')}"
    yield f"{without_controls(vm['vm'])}  {state(vm)}  {without_controls(who)}"
    monitor = vm["monitor"]
    yield without_controls(f"monitor {monitor['state']} {monitor.get('reason', '')}  {vm['socket']}")
    for one in vm.get("troubles", ()):
        yield ""
        yield without_controls(f"{one['severity'].upper()} {one['what']} {about(one)}, for {span(now - one['since'])}")
        yield without_controls(f"  {one['todo']}")
    for job in vm.get("jobs", ()):
        share = job["offset_bytes"] / job["length_bytes"] if job.get("length_bytes") else 0
        yield without_controls(f"job {job['type']} {job['job']} {job.get('status', '')} {share:.0%}")
    yield ""
    for event in vm.get("events", ()):
        labels = " ".join(f"{name}={value}" for name, value in event.get("labels", {}).items())
        times = f" x{event['count']:g}" if event["count"] > 1 else ""
        yield without_controls(f"{span(now - event['last']):>6} ago  {event['event']}{times} {labels}")


def about(trouble: Mapping[str, Any]) -> str:
    """The disks, VMs or the like that it is about."""
    return str(trouble.get("detail") or " ".join(trouble.get("labels", {}).values()))


def head(data: Mapping[str, Any]) -> str:
    targets = data["targets"]
    running = sum(bool(vm.get("running")) for vm in targets)
    troubled = sum(level(vm) > 0 for vm in targets)
    return f"{without_controls(data['host'])}: {len(targets)} VMs, {running} running, {troubled} in trouble"


def of_the_exporter(data: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the exporter itself, or with many VMs."""
    for one in data.get("troubles", ()):
        yield without_controls(f"{one['what']} {about(one)} -> {one['first']}".replace("`", ""))


def span(seconds: float) -> str:
    """75 -> 1m; at most six characters."""
    whole = max(0, int(seconds))
    for size_, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size_:
            return f"{whole // size_}{unit}"
    return f"{whole}s"


def size(number: float) -> str:
    """Bytes in at most five characters: 1.5M, 512K, 0."""
    if number < 1:
        return "0"
    unit = 0
    while number >= SIZE and unit < len(UNITS) - 1:
        number /= SIZE
        unit += 1
    return f"{number:.1f}{UNITS[unit]}" if number < 10 and unit else f"{number:.0f}{UNITS[unit]}"


def _newest(vm: Vm, member: str) -> float:
    points = vm.get("activity", {}).get(member) or [-1.0]
    return float(points[-1])
