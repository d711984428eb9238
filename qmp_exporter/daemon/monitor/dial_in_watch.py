"""The calls of a VM that dials in -> its life as that of any other: each call that is answered is a session."""

import time
from dataclasses import dataclass
from typing import cast

from qmp_exporter.config import Target
from qmp_exporter.daemon.monitor.inbound import InboundConnection
from qmp_exporter.daemon.monitor.mailbox import Mailbox
from qmp_exporter.daemon.monitor.watch import Watch


@dataclass(frozen=True, kw_only=True)
class DialledIn(Target):
    """A target that comes to us; `socket` is the one that it comes to."""

    line: Mailbox[InboundConnection]


class DialInWatch(Watch):
    """The watch of a VM that dials in."""

    @property
    def _line(self) -> Mailbox[InboundConnection]:
        return cast("DialledIn", self.target).line

    async def _watch(self) -> None:
        while True:
            call = await self._line.take()
            try:
                self._take(call)
                await self._converse(call.link)
            finally:
                await call.link.close()  # whatever happened: QEMU calls again only when it has lost its connection
            if not self._line.is_full:
                self._became("missing", f"{self.health.reason}; it has not dialled in again")

    def _take(self, call: InboundConnection) -> None:
        """Hear what the VM has said since it dialled in, and from here on all that it says."""
        self.session = self._new_session()
        call.link.note = self.recorder.note
        said = call.attach(
            self._dispatch.allowed,
            self._shared.line_bytes,
            receive=lambda messages: self._receive(call.link, messages),
            ended=self._wake.set,
        )
        self._note(self.session.receive(said, time.time(), time.monotonic()))
