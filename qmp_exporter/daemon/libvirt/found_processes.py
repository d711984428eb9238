"""The UUID of a domain -> its QEMU process, by one scan of all processes for all who ask at the same time."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from qmp_exporter.daemon.host.qemu_processes import QemuProcess, qemu_processes
from qmp_exporter.runtime.threads import run_in_daemon_thread

HOLDS: Final = 1.0  # seconds for which a scan of all processes answers the next who asks
WITHIN: Final = 10.0  # seconds


class FoundProcesses:
    def __init__(self) -> None:
        self._scanned_at = float("-inf")
        self._scan: asyncio.Future[Mapping[str, QemuProcess]] | None = None

    async def find(self, uuid: str) -> QemuProcess | None:
        """None where it is not to be seen, or not certain which it is."""
        now = time.monotonic()
        if self._scan is None or now - self._scanned_at > HOLDS:
            self._scanned_at, self._scan = now, run_in_daemon_thread(qemu_processes)
        scan = self._scan
        await asyncio.wait([scan], timeout=WITHIN)
        return scan.result().get(uuid) if scan.done() and scan.exception() is None else None
