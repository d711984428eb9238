"""Disks and CD-ROM drives: what happens to them -> their members of query-block and query-blockstats."""

from dataclasses import dataclass, field
from typing import Any, Literal

from qmp_exporter.simulator.wire import Json

Style = Literal["drive", "blockdev"]
Operation = Literal["read", "write", "flush", "unmap"]
ErrorAction = Literal["report", "ignore", "stop"]
Version = tuple[int, int, int]

# Error policies (rerror=, werror=) with which QEMU keeps an io-status at all.
_STOPPING = frozenset({"stop", "enospc"})
_PREFIX: dict[str, str] = {"read": "rd", "write": "wr", "flush": "flush", "unmap": "unmap"}


def _zero_counters(version: Version) -> dict[str, Any]:
    prefixes = [*_PREFIX.values(), *(["zone_append"] if version >= (8, 1, 0) else [])]
    names = [
        name
        for p in prefixes
        for name in (f"{p}_operations", f"{p}_total_time_ns", f"failed_{p}_operations", f"invalid_{p}_operations")
    ]
    names += [f"{p}_{what}" for p in prefixes if p != "flush" for what in ("bytes", "merged")]
    return {**dict.fromkeys([*names, "wr_highest_offset"], 0), "timed_stats": []}


@dataclass(slots=True)
class BlockDevice:
    """One drive as the guest sees it. `id` is its qdev id; any of its names finds it (see `names`)."""

    id: str
    style: Style
    node_name: str
    file: str
    size: int = 8 << 20
    cdrom: bool = False
    rerror: str = "report"
    werror: str = "enospc"  # both defaults are QEMU's
    io_status: str = "ok"
    tray_open: bool = False
    locked: bool = False
    inserted: bool = True
    last_io: float | None = None
    counters: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """The name of the backend: empty with -blockdev, also in events."""
        return f"drive-{self.id}" if self.style == "drive" else ""

    @property
    def qdev(self) -> str:
        # As recorded: an IDE CD-ROM is known by its bare id, a virtio disk by the path of its backend.
        return self.id if self.cdrom else f"/machine/peripheral/{self.id}/virtio-backend"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.id, self.device, self.node_name, self.qdev)

    @property
    def has_io_status(self) -> bool:
        return self.rerror in _STOPPING or self.werror in _STOPPING

    def do_io(self, operation: Operation, count: int, size: int, seconds: float, now: float) -> None:
        prefix = _PREFIX[operation]
        self.counters[f"{prefix}_operations"] += count
        self.counters[f"{prefix}_total_time_ns"] += int(seconds * 1e9)
        if operation != "flush":
            self.counters[f"{prefix}_bytes"] += count * size
        if operation == "write":
            self.counters["wr_highest_offset"] = min(self.size, self.counters["wr_highest_offset"] + count * size)
        self.last_io = now

    def fail(self, operation: Operation, action: ErrorAction, count: int, now: float, *, nospace: bool) -> None:
        """Counts as QEMU does: ignored means done, stopped means not yet; only reported ones have failed."""
        if action == "stop" and not self.has_io_status:
            raise ValueError(f"{self.id} does not stop at errors: neither of its policies is stop or enospc")
        if action == "report":
            self.counters[f"failed_{_PREFIX[operation]}_operations"] += count
            self.last_io = now
        elif action == "ignore":
            self.do_io(operation, count, 512, 0.0, now)
        elif self.io_status == "ok":  # a latch: the first reason stays
            self.io_status = "nospace" if nospace else "failed"

    def continued(self) -> None:
        """`cont` clears the io-status of -drive; with -blockdev it stays for good, in every version recorded."""
        if self.style == "drive":
            self.io_status = "ok"

    def reset(self) -> None:
        self.tray_open = self.locked = False

    def query_block(self, version: Version) -> Json:
        reply: Json = {"io-status": self.io_status} if self.has_io_status else {}
        reply |= {"device": self.device, "locked": self.locked, "removable": self.cdrom}
        if self.inserted:
            reply["inserted"] = self._inserted(version)
        reply["qdev"] = self.qdev
        if self.cdrom:
            reply["tray_open"] = self.tray_open
        return reply | {"type": "unknown"}

    def _inserted(self, version: Version) -> Json:
        limits = {"request-alignment": 1, "min-mem-alignment": 1, "opt-mem-alignment": 4096, "max-iov": 1024}
        recent = version >= (11, 0, 0)
        image: Json = {"limits": limits} if recent else {}
        image |= {"virtual-size": self.size, "filename": self.file, "format": "raw"}
        image |= {"actual-size": self.size, "dirty-flag": False}
        zero = dict.fromkeys(("iops", "iops_rd", "iops_wr", "bps", "bps_rd", "bps_wr", "write_threshold"), 0)
        node: Json = {**zero, "detect_zeroes": "off", "image": image, "ro": self.cdrom}
        node |= {"node-name": self.node_name, "backing_file_depth": 0, "drv": "raw", "encrypted": False}
        node["cache"] = {"no-flush": False, "direct": False, "writeback": True}
        node["file"] = self.file
        if version >= (10, 0, 0):
            node["active"] = True
        if recent:
            node["children"] = [{"node-name": self._storage, "child": "file"}]
        if version < (6, 0, 0):
            node["encryption_key_missing"] = False
        return node

    @property
    def _storage(self) -> str:
        return self.node_name.replace("-format", "-storage") if self.style == "blockdev" else self.node_name + "0"

    def query_blockstats(self, version: Version, now: float) -> Json:
        stats = {**self.counters, "account_invalid": True, "account_failed": True}
        if self.last_io is not None:
            stats["idle_time_ns"] = max(0, int((now - self.last_io) * 1e9))
        reply: Json = {"device": self.device, "stats": stats, "qdev": self.qdev}
        if self.inserted:
            reply["parent"] = {
                "stats": {**_zero_counters(version), "account_invalid": False, "account_failed": False},
                "node-name": self._storage,
                "driver-specific": {
                    "driver": "file",
                    "discard-bytes-ok": 0,
                    "discard-nb-ok": 0,
                    "discard-nb-failed": 0,
                },
            }
            reply["node-name"] = self.node_name
        return reply


def disk(number: int, style: Style, version: Version, *, rerror: str = "report", werror: str = "enospc") -> BlockDevice:
    return BlockDevice(
        id=f"virtio-disk{number}",
        style=style,
        node_name=_node_name(style, number),
        file=f"/vm/disk{number}.img",
        rerror=rerror,
        werror=werror,
        counters=_zero_counters(version),
    )


def cdrom(number: int, style: Style, version: Version) -> BlockDevice:
    return BlockDevice(
        id=f"ide0-1-{number}",
        style=style,
        node_name=_node_name(style, 50 + number),
        file="/vm/cd.iso",
        size=1 << 20,
        cdrom=True,
        counters=_zero_counters(version),
    )


def _node_name(style: Style, number: int) -> str:
    # With -drive QEMU makes the names up; they differ at every start, here they do not.
    return f"#block1{number:02}" if style == "drive" else f"libvirt-{number + 1}-format"
