"""What a watch needs of a session with QEMU, over whatever that goes: a socket, or libvirt."""

from typing import Protocol

from qmp_exporter.core.family import Query


class OpenLink(Protocol):
    """A session that is negotiated, over whatever it goes."""

    error: BaseException | None  # that ended it; known when it is closed

    @property
    def is_open(self) -> bool: ...

    def ask(self, query: Query, arguments: bytes | None = None) -> None: ...

    async def close(self) -> None: ...
