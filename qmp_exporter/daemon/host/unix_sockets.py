"""A socket of this host -> whether nobody is at it but the one who listens, without asking anybody."""

import os
import time
from collections.abc import Mapping
from typing import Final

from qmp_exporter.core.unix_sockets import Crowd, crowds
from qmp_exporter.runtime.unix_tables import unix_tables

HOLDS: Final = 0.02  # seconds for which one reading answers all who ask: those whose polls fall into one slot


class UnixSockets:
    """Not for the event loop: 40 ms where there are 20,000 sockets."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._by_name: Mapping[str, list[tuple[str, Crowd]]] = {}

    def is_free(self, path: str) -> bool | None:
        """None where nobody listens there, as far as our network namespace and that of init show."""
        self._read_again()
        real = os.path.realpath(path)
        same = [crowd for other, crowd in self._by_name.get(_name(real), ()) if os.path.realpath(other) == real]
        if not any(crowd.listening for crowd in same):
            return None
        return not any(crowd.clients for crowd in same)

    def _read_again(self) -> None:
        now = time.monotonic()
        if now - self._read_at < HOLDS:
            return
        by_name: dict[str, list[tuple[str, Crowd]]] = {}
        for table in unix_tables():
            for path, crowd in crowds(table.decode(errors="replace")).items():
                by_name.setdefault(_name(path), []).append((path, crowd))
        self._by_name, self._read_at = by_name, now


def _name(path: str) -> str:
    return path.rpartition("/")[2]
