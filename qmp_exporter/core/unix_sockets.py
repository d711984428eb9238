"""The text of /proc/net/unix (proc_net(5), proc(5)) -> who stands at each socket that has a path."""

from collections.abc import Mapping
from typing import Final, NamedTuple

_ACCEPTS: Final = 0x10000  # __SO_ACCEPTCON of include/linux/net.h
_COLUMNS: Final = 7  # before the path, which may have spaces


class Crowd(NamedTuple):
    """Sockets with one path: those that listen, and the ends of clients that are served or wait for that."""

    listening: int
    clients: int


def crowds(table: str) -> Mapping[str, Crowd]:
    """By path as the one who listens wrote it; an abstract name begins with @."""
    found: dict[str, Crowd] = {}
    for line in table.splitlines()[1:]:
        columns = line.split(maxsplit=_COLUMNS)
        if len(columns) <= _COLUMNS:
            continue
        listening, clients = found.get(columns[_COLUMNS], (0, 0))
        if int(columns[3], 16) & _ACCEPTS:
            listening += 1
        else:
            clients += 1
        found[columns[_COLUMNS]] = Crowd(listening, clients)
    return found
