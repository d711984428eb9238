"""A running QEMU with a data disk -> a job in some state of its life, when the owner's monitor has seen its events.

Each copies the disk's 16 MiB; with a speed limit, which they start with, it is under way when the function ends.
"""

import asyncio
from typing import Any

from qmp_exporter.demo.machine import MIB, Fault, Style
from qmp_exporter.demo.qemu import Qemu

SMALL_STEPS = {"sync": "full", "buf-size": MIB // 2}  # a mirror's default of 10 MiB leaps, then rests for seconds


async def mirror(
    qemu: Qemu, job: str = "mirror0", speed: int = MIB, fault: Fault | None = None, **options: str
) -> None:
    """blockdev-mirror to a new file, or to one that cannot be written; options such as on-target-error."""
    assert qemu.machine.disk is not None
    path = qemu.directory / f"{job}.img"
    path.write_bytes(bytes(qemu.machine.disk.size))
    file: dict[str, Any] = {"driver": "file", "filename": str(path)}
    if fault is not None:
        file = {"driver": "blkdebug", "image": file, "inject-error": [fault.rule()]}
    await qemu.execute("blockdev-add", **{"node-name": f"{job}-target", "driver": "raw", "file": file})
    await _start(qemu, "blockdev-mirror", job, speed, target=f"{job}-target", **SMALL_STEPS, **options)


async def drive_mirror(qemu: Qemu, job: str = "drive-mirror0", speed: int = MIB) -> None:
    """drive-mirror, which makes its target itself."""
    target = str(qemu.directory / f"{job}.img")
    await _start(qemu, "drive-mirror", job, speed, target=target, format="raw", **SMALL_STEPS)


async def stream(qemu: Qemu, job: str = "stream0", speed: int = MIB) -> None:
    """A qcow2 overlay on top of the data disk, which the job then fills."""
    overlay = {"snapshot-file": str(qemu.directory / f"{job}.qcow2"), "format": "qcow2"}
    drive = qemu.machine.disk_drive
    if qemu.machine.style is Style.PROXMOX:
        await qemu.execute("blockdev-snapshot-sync", device=drive, **overlay)
        await _start(qemu, "block-stream", job, speed)
    else:
        top = "libvirt-4-format"
        await qemu.execute("blockdev-snapshot-sync", **{"node-name": drive, "snapshot-node-name": top}, **overlay)
        await _start(qemu, "block-stream", job, speed, device=top)


async def _start(qemu: Qemu, command: str, job: str, speed: int, **arguments: Any) -> None:
    arguments = {"device": qemu.machine.disk_drive, "job-id": job, "speed": speed} | arguments
    await qemu.execute(command, **arguments)
    await qemu.event("JOB_STATUS_CHANGE", id=job, status="running")


async def _gone(qemu: Qemu, job: str) -> None:
    await qemu.event("JOB_STATUS_CHANGE", id=job, status="null")


async def moved(qemu: Qemu, job: str, beyond: int = 0) -> int:
    """-> its offset, once it is further than that; nothing announces it, so it is asked for"""
    async with asyncio.timeout(20):
        while True:
            (info,) = await qemu.execute("query-block-jobs")
            assert info["device"] == job
            if info["offset"] > beyond:
                return int(info["offset"])
            await asyncio.sleep(0.02)


async def cancelled(qemu: Qemu, job: str) -> None:
    await qemu.execute("block-job-cancel", device=job, force=True)
    await qemu.event("BLOCK_JOB_CANCELLED", device=job)
    await _gone(qemu, job)


async def mirror_completed(qemu: Qemu, job: str) -> None:
    """Ready, then switched to the copy."""
    await qemu.execute("block-job-set-speed", device=job, speed=0)
    await qemu.event("BLOCK_JOB_READY", device=job)
    await qemu.execute("block-job-complete", device=job)
    await qemu.event("BLOCK_JOB_COMPLETED", device=job)
    await _gone(qemu, job)


async def stream_completed(qemu: Qemu, job: str) -> None:
    await qemu.execute("block-job-set-speed", device=job, speed=0)
    await qemu.event("BLOCK_JOB_COMPLETED", device=job)
    await _gone(qemu, job)


async def mirror_stuck(qemu: Qemu, job: str = "mirror0") -> None:
    """A mirror that waits for its target to become writable: it stays paused, which no further event says."""
    await mirror(qemu, job, speed=0, fault=Fault("write"), **{"on-target-error": "stop"})
    await qemu.event("BLOCK_JOB_ERROR", device=job, operation="write", action="stop")
    await qemu.event("JOB_STATUS_CHANGE", id=job, status="paused")


async def mirror_failed(qemu: Qemu, job: str = "mirror0") -> None:
    """A mirror whose target cannot be written, from its start to its end."""
    await mirror(qemu, job, speed=0, fault=Fault("write"))
    await qemu.event("BLOCK_JOB_ERROR", device=job, operation="write", action="report")
    completed = await qemu.event("BLOCK_JOB_COMPLETED", device=job)
    assert "error" in completed.data
    await _gone(qemu, job)
