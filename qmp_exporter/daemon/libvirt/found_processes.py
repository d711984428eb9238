"""The UUID of a domain -> its QEMU process, by one look at all processes for all who ask at the same time."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from qmp_exporter.daemon.host.qemu_processes import QemuProcess, qemu_processes
from qmp_exporter.runtime.threads import run_in_daemon_thread

HOLDS: Final = 1.0  # seconds for which a look at all processes answers the next who asks
WITHIN: Final = 10.0  # seconds


class FoundProcesses:
    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._look: asyncio.Future[Mapping[str, QemuProcess]] | None = None

    async def find(self, uuid: str) -> QemuProcess | None:
        """None where it is not to be seen, or not certain which it is."""
        now = time.monotonic()
        if self._look is None or now - self._looked_at > HOLDS:
            self._looked_at, self._look = now, run_in_daemon_thread(qemu_processes)
        look = self._look
        await asyncio.wait([look], timeout=WITHIN)
        return look.result().get(uuid) if look.done() and look.exception() is None else None
