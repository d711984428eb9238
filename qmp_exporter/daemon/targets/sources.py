"""What each source of targets has now -> the one target that is watched under each name, and which are left out.

A name makes series and a monitor serves one client, so that each of them belongs to one target.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Literal, NamedTuple

from qmp_exporter.config import Target


class Source(NamedTuple):
    """Where targets come from. The lower rank has precedence; a name says which of its kind it is, for the log."""

    rank: int
    name: str


STATIC = Source(0, "vms")
FILES = Source(1, "files")
DISCOVER = 2
DIAL_IN = 3
LIBVIRT = 4
WITHOUT_A_SOCKET = frozenset({DIAL_IN, LIBVIRT})  # of the VM's own: all of a source have the same


class Collision(NamedTuple):
    """A target that is not watched, because another has its name or its socket."""

    source: Source
    target: Target
    same: Literal["name", "socket"]
    other: Target


class _Farewell(NamedTuple):
    source: Source
    until: float


class Sources:
    """`now` is on a clock of the caller's."""

    def __init__(self) -> None:
        self.chosen: Mapping[str, Target] = {}
        self.collisions: Mapping[Collision, None] = {}
        self._wanted: dict[Source, dict[Target, None]] = {}
        self._leaving: dict[Target, _Farewell] = {}
        self._real: dict[str, str] = {}  # paths -> without links, as far as that is known

    def want(self, source: Source, targets: Iterable[Target], grace: float, now: float) -> None:
        """All that the source has. What it had before stays for `grace` seconds, unless something else needs its place.

        Without grace, what it has no more ends at once, even if it had been given some before.
        """
        before = self._wanted.pop(source, {})
        wanted = dict.fromkeys(targets)
        if wanted:
            self._wanted[source] = wanted
        if not grace:
            self._leaving = {target: left for target, left in self._leaving.items() if left.source != source}
        for target in before:
            if grace and target not in wanted and self.chosen.get(target.name) == target:
                self._leaving[target] = _Farewell(source, now + grace)
        self._choose()

    @property
    def unresolved(self) -> list[str]:
        """Paths of which it is not known yet whether they have links: two of them may lead to one monitor."""
        return [path for path in self._sockets() if path.startswith("/") and path not in self._real]

    def resolved(self, real: Mapping[str, str]) -> None:
        """These paths, without their links."""
        self._real |= real
        self._choose()

    def expire(self, now: float) -> None:
        """End what has had its grace."""
        self._leaving = {target: left for target, left in self._leaving.items() if left.until > now}
        self._choose()

    @property
    def due(self) -> float | None:
        """When there will be something to expire."""
        return min((left.until for left in self._leaving.values()), default=None)

    def _choose(self) -> None:
        chosen: dict[str, Target] = {}
        taken: dict[str, Target] = {}
        collisions: dict[Collision, None] = {}
        for source, target in self._in_order():
            address = self._address(source, target)
            by_name, by_socket = chosen.get(target.name), taken.get(address)
            if by_name and by_name != by_socket:  # else it is one VM, told twice
                collisions[Collision(source, target, "name", by_name)] = None
            elif by_socket and not by_name:
                collisions[Collision(source, target, "socket", by_socket)] = None
            elif not by_name:
                chosen[target.name] = taken[address] = target
        self._keep_who_leaves(chosen, taken)
        known = self._sockets()
        self._real = {socket: real for socket, real in self._real.items() if socket in known}
        self.chosen, self.collisions = MappingProxyType(chosen), MappingProxyType(collisions)

    def _sockets(self) -> set[str]:
        without = {source for source in self._wanted if source.rank in WITHOUT_A_SOCKET}
        wanted = (targets for source, targets in self._wanted.items() if source not in without)
        leaving = (target for target, left in self._leaving.items() if left.source not in without)
        return {target.socket for target in chain(*wanted, leaving)}

    def _in_order(self) -> Iterator[tuple[Source, Target]]:
        """By precedence; within a source, the one who is watched already keeps its place."""
        for source in sorted(self._wanted):
            for target in sorted(self._wanted[source], key=lambda target: self.chosen.get(target.name) != target):
                yield source, target

    def _keep_who_leaves(self, chosen: dict[str, Target], taken: dict[str, Target]) -> None:
        """The one who leaves yields to the one who is there, and does not come back for it."""
        for target, left in tuple(self._leaving.items()):
            address = self._address(left.source, target)
            if target.name in chosen or address in taken:
                del self._leaving[target]
            else:
                chosen[target.name] = taken[address] = target

    def _address(self, source: Source, target: Target) -> str:
        """What tells monitors apart: /run and /var/run are one directory. Who dials in has a connection of its own."""
        if source.rank in WITHOUT_A_SOCKET:
            return f"{target.socket} {target.name}"
        return self._real.get(target.socket, target.socket)
