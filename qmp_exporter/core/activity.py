"""A VM's samples as they come, and a clock -> how much CPU and disk it used in each of the last minutes."""

from array import array
from collections.abc import Callable, Mapping

from .family import Labels

POINTS = 20
SPACING = 15.0  # seconds, and at least: what the counters have not moved in is the same point still
CPU = "qemu_process_cpu_seconds_total"
DISK = ("qemu_block_read_bytes_total", "qemu_block_written_bytes_total")


class Activity:
    """`cpus`: CPUs in use; `disk_bytes`: bytes read and written in a second; the newest last.  Some 300 bytes."""

    __slots__ = ("_at", "_cpu", "_disk", "cpus", "disk_bytes")

    def __init__(self) -> None:
        self.cpus = array("f")
        self.disk_bytes = array("f")
        self._at = float("-inf")
        self._cpu: float | None = None
        self._disk: float | None = None

    def note(self, values: Callable[[str], Mapping[Labels, float]], now: float) -> None:
        """`now` on a clock that never jumps."""
        seconds = now - self._at
        if seconds < SPACING:
            return
        cpu = values(CPU).get(())
        disks = [sum(found.values()) for name in DISK if (found := values(name))]
        disk = sum(disks) if disks else None
        if (cpu, disk) == (self._cpu, self._disk) and seconds < 2 * SPACING:
            return
        _grow(self.cpus, self._cpu, cpu, seconds)
        _grow(self.disk_bytes, self._disk, disk, seconds)
        self._at, self._cpu, self._disk = now, cpu, disk


def _grow(points: "array[float]", before: float | None, value: float | None, seconds: float) -> None:
    """One more point; none from before the monitor was lost, or the process was another one."""
    if value is None or before is None or value < before:
        del points[:]
        return
    points.append((value - before) / seconds)
    if len(points) > POINTS:
        del points[0]
