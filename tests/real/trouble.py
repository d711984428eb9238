"""A running QEMU, or arguments for one -> trouble that is rarer than that of `provoke`, over when its events are there.

Images that are not well are written before the machine is, and given to it by `extra`.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import virtio
from provoke import Operation
from qmp_exporter.demo.machine import MIB, Machine, Style
from qmp_exporter.demo.qemu import Answer, Order, Qemu
from waiting import awaited

Layer = Literal["format", "storage"]
GOOD_LBA = 8  # the sector of Order.READ_GOOD and WRITE_GOOD
SECTOR = 512
SCSI = ("-device", "virtio-scsi-pci,id=scsi0")
USB = ("-device", "qemu-xhci,id=usb")
FIRMWARE = Path("/usr/share/seabios/bios-256k.bin")
PLUGGED = 128 * MIB  # by `WITH_A_DIMM`
WITH_A_DIMM = (
    *("-m", f"32M,slots=2,maxmem={512 * MIB}"),
    *("-object", f"memory-backend-ram,id=mem1,size={PLUGGED}"),
    *("-device", "pc-dimm,id=dimm1,memdev=mem1"),
)


def flash(directory: Path) -> tuple[str, ...]:
    """-> a firmware in flash memory, and the flash pf1 of 4 MiB for its variables, as a UEFI has them"""
    files = {"pf0": FIRMWARE, "pf1": directory / "variables.img"}
    files["pf1"].write_bytes(b"\x5a" * 4 * MIB)
    args: tuple[str, ...] = ("-machine", "pflash0=pf0,pflash1=pf1")
    for name, path in files.items():
        raw = {"driver": "raw", "node-name": name, "file": {"driver": "file", "filename": str(path)}}
        args += ("-blockdev", json.dumps(raw | {"read-only": name == "pf0"}))
    return args


def channel(style: Style, path: Path) -> tuple[str, ...]:
    """-> a port for the guest agent, which is not there: with an id of its own or, in Proxmox' style, without"""
    chardev, ident = ("qga0", "") if style is Style.PROXMOX else ("charchannel0", ",id=channel0")
    socket = ("-chardev", f"socket,id={chardev},path={path},server=on,wait=off")
    return (*socket, *virtio.SERIAL, "-device", f"virtserialport,chardev={chardev}{ident}")


# The guest


async def panic_shall(qemu: Qemu, policy: Literal["none", "pause", "shutdown"]) -> None:
    """What is to become of the machine at its next panic (since QEMU 6.0)."""
    await qemu.execute("set-action", panic=policy)


async def panic(qemu: Qemu) -> None:
    """By the guest; needs Machine(extra=PVPANIC), and what follows is up to `panic_shall`."""
    await qemu.order(Order.PANIC)
    await qemu.event("GUEST_PANICKED")


async def crashload(qemu: Qemu) -> None:
    """The guest says that its crash kernel takes over, and goes on; needs Machine(extra=PVPANIC)."""
    await qemu.order(Order.CRASHLOAD)
    await qemu.event("GUEST_CRASHLOADED")


async def powerdown(qemu: Qemu) -> None:
    """The power button, of which the guest takes no notice."""
    await qemu.execute("system_powerdown")
    await qemu.event("POWERDOWN")


# Disks


async def node(qemu: Qemu, layer: Layer) -> str:
    """-> the name of the data disk's format node, or of the file below it"""
    disk = await _disk(qemu)
    name: str = disk["node-name"] if layer == "format" else disk["parent"]["node-name"]
    return name


async def measure_latency(qemu: Qemu, *boundaries: int) -> None:
    """From now on QEMU counts how long each request to the data disk takes; in nanoseconds."""
    await qemu.execute("block-latency-histogram-set", id=(await _disk(qemu))["qdev"], boundaries=boundaries)


async def plug_in(qemu: Qemu, name: str) -> None:
    """A disk of this name; needs Machine(extra=SCSI), from which it goes without the guest's consent."""
    await qemu.execute("blockdev-add", driver="null-co", **{"node-name": f"{name}-node"})
    await qemu.execute("device_add", driver="scsi-hd", bus="scsi0.0", drive=f"{name}-node", id=name)


async def unplug(qemu: Qemu, name: str) -> None:
    await qemu.execute("device_del", id=name)
    await qemu.event("DEVICE_DELETED", device=name)
    await qemu.execute("blockdev-del", **{"node-name": f"{name}-node"})


async def _disk(qemu: Qemu) -> dict[str, Any]:
    """-> what QEMU itself counts of the data disk"""
    stats: list[dict[str, Any]] = await qemu.execute("query-blockstats")
    (disk,) = (one for one in stats if qemu.machine.disk_qdev in one["qdev"].split("/"))
    return disk


async def exceed_write_threshold(qemu: Qemu, name: str) -> None:
    """The threshold of a node is set, and gone when the guest has written beyond it."""
    await qemu.execute("block-set-write-threshold", **{"node-name": name, "write-threshold": SECTOR})
    assert await qemu.order(Order.WRITE_GOOD) is Answer.DONE
    await qemu.event("BLOCK_WRITE_THRESHOLD", **{"node-name": name})


def data_disk(style: Style, options: str) -> tuple[str, ...]:
    """-> what makes the top node of `options` the disk that Machine(disk=...) would have"""
    machine = Machine(style=style)
    if style is Style.PROXMOX:
        image = ("-drive", f"if=none,id={machine.disk_drive},{options}")
    else:
        image = ("-blockdev", f"node-name={machine.disk_drive},{options}")
    return (*image, "-device", f"virtio-blk-pci,drive={machine.disk_drive},id={machine.disk_qdev}")


def quorum(directory: Path, *contents: bytes, fails: Operation | None = None) -> str:
    """A byte for each child -> options of a quorum of two, whose children have that byte in the guest's sector

    An operation on the last child's fails if it is the one that shall.
    """
    options = "driver=quorum,vote-threshold=2"
    for number, content in enumerate(contents):
        image = directory / f"child{number}.img"
        sector = content * SECTOR
        image.write_bytes(bytes(GOOD_LBA * SECTOR) + sector + bytes(MIB - (GOOD_LBA + 1) * SECTOR))
        options += f",children.{number}.driver=raw,children.{number}.file.driver="
        if fails and number == len(contents) - 1:
            rule = f",children.{number}.file.inject-error.0"
            options += f"blkdebug{rule}.event=none{rule}.iotype={fails}{rule}.sector={GOOD_LBA}"
            options += f",children.{number}.file.image.driver=file,children.{number}.file.image.filename={image}"
        else:
            options += f"file,children.{number}.file.filename={image}"
    return options


CLUSTER_BITS = 10
CLUSTER = 1 << CLUSTER_BITS
OURS = 1 << 63  # in a table of qcow2: nobody else has that cluster


def damaged_qcow2(directory: Path) -> str:
    """-> options of an image that is fine but for the guest's sector: its cluster is not where a cluster can be

    In it one after the other: header, table of reference counts, a block of them, L1 table, L2 table.
    """
    entries = CLUSTER // 8
    l1_size = MIB // (CLUSTER * entries)
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", 2, 0, 0, CLUSTER_BITS, MIB, 0),
        *(l1_size, 3 * CLUSTER, 1 * CLUSTER, 1, 0, 0),
    )
    l2_table = [0] * entries
    l2_table[GOOD_LBA * SECTOR // CLUSTER] = OURS | (5 * CLUSTER + SECTOR)
    parts = (
        header,
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">5H", *[1] * 5),
        struct.pack(">Q", OURS | 4 * CLUSTER),
        struct.pack(f">{entries}Q", *l2_table),
    )
    image = directory / "damaged.qcow2"
    image.write_bytes(b"".join(part.ljust(CLUSTER, b"\0") for part in parts) + bytes(2 * CLUSTER))
    return f"driver=qcow2,file.driver=file,file.filename={image}"


async def read_in_vain(qemu: Qemu) -> None:
    """The guest's good sector, which is not good: told to it."""
    assert await qemu.order(Order.READ_GOOD) is Answer.FAILED


# Migration


async def migrate_at_a_snails_pace(qemu: Qemu) -> None:
    """Under way until it is cancelled; with MIGRATION events."""
    await _aloud(qemu)
    await qemu.execute("migrate-set-parameters", **{"max-bandwidth": 1000})
    await qemu.execute("migrate", uri="exec:cat > /dev/null")
    await qemu.event("MIGRATION", status="active")


async def migrate_to_nobody(qemu: Qemu) -> None:
    """Fails, and the machine goes on; with MIGRATION events."""
    await _aloud(qemu)
    await qemu.execute("migrate", uri="exec:false")
    await qemu.event("MIGRATION", status="failed")


async def _aloud(qemu: Qemu) -> None:
    await qemu.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])


async def migrate_cancel(qemu: Qemu) -> None:
    await qemu.execute("migrate_cancel")
    await qemu.event("MIGRATION", status="cancelled")


# Network


async def stream(qemu: Qemu, path: Path, netdev: str = "net0") -> None:
    """A network backend that waits for its other end at that place (since QEMU 7.2)."""
    address = {"type": "unix", "path": str(path)}
    await qemu.execute("netdev_add", id=netdev, type="stream", server=True, addr=address)
    await awaited(partial(_listens, path), lambda: f"nobody listens at {path}")  # QEMU answers before it does


async def _listens(path: Path) -> bool | None:
    """None: not yet.  Not by connecting, which would be the other end."""
    sockets = Path("/proc/net/unix").read_text().splitlines()  # noqa: ASYNC240  /proc keeps nobody waiting
    return True if any(line.endswith(f" {path}") and line.split()[3] == "00010000" for line in sockets) else None


@contextlib.asynccontextmanager
async def other_end(qemu: Qemu, path: Path) -> AsyncIterator[None]:
    """Connected inside, disconnected after it."""
    _, writer = await asyncio.open_unix_connection(path)
    try:
        await qemu.event("NETDEV_STREAM_CONNECTED")
        yield
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await qemu.event("NETDEV_STREAM_DISCONNECTED")


@contextlib.asynccontextmanager
async def pr_helper(qemu: Qemu, path: Path) -> AsyncIterator[None]:
    """Inside, an object pr0 is connected to a helper for reservations that says what a helper says first, and no more.

    QEMU would learn that the helper is gone when it next needs it.
    """

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        features = bytes(4)
        writer.write(features)
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(greet, path):
        await qemu.execute("object-add", id="pr0", **{"qom-type": "pr-manager-helper", "path": str(path)})
        try:
            yield
        finally:
            await qemu.execute("object-del", id="pr0")  # else the server would wait for QEMU to leave
