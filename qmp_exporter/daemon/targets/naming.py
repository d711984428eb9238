"""Targets named by their paths + who their VMs say they are -> the same targets, named as their VMs name themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from qmp_exporter.catalog.vm import IDENTITY
from qmp_exporter.config import Discover, Target, vm_name
from qmp_exporter.daemon.monitor.watch import Watch
from qmp_exporter.daemon.targets.fleet import Fleet

log = structlog.get_logger()


class Naming:
    """For one entry of `discover`.

    A target has the name of its path until its VM has told its own, and whenever that is no name: because QEMU was
    given none, because it does not match, or because another VM has it.  A VM under a dull name is still watched.
    """

    def __init__(self, entry: Discover, fleet: Fleet) -> None:
        self._entry = entry
        self._fleet = fleet
        self._said: Mapping[str, str] = {}  # paths -> why their VM's own name is not taken

    def name(self, targets: Sequence[Target]) -> Sequence[Target]:
        """`targets`: what a scan has found."""
        if self._entry.name_from == "file":
            return targets
        watches = {watch.target.socket: watch for watch in self._fleet.watches.values()}
        holders = {watch.target.name: path for path, watch in watches.items()}
        troubles: dict[str, str] = {}
        named = []
        for target in targets:
            try:
                watch = watches.get(target.socket)
                name = target.name if watch is None else self._own_name(watch)
                _hold(name, target.socket, holders)
            except ValueError as error:
                name, troubles[target.socket] = target.name, str(error)
            named.append(replace(target, name=name))
        self._say(troubles)
        return named

    def _own_name(self, watch: Watch) -> str:
        """What it has now, until it tells another.

        :raise ValueError: what it tells makes no name.
        """
        identity = watch.vm.facts[IDENTITY]
        if not identity.is_told:
            return watch.target.name
        given = identity.name if self._entry.name_from == "name" else identity.uuid.lstrip("0-") and identity.uuid
        if not given:
            raise ValueError(f"QEMU was started without -{self._entry.name_from}")
        match = self._entry.own_name.search(given)
        if match is None:
            raise ValueError(f"{given} does not match {self._entry.own_name.pattern}")
        return vm_name(match["vm"] or "")

    def _say(self, troubles: Mapping[str, str]) -> None:
        for path, why in troubles.items():
            if self._said.get(path) != why:
                log.warning("named by its path, not as it names itself", socket=path, why=why)
        self._said = troubles


def _hold(name: str, path: str, holders: dict[str, str]) -> None:
    """:raise ValueError: another path has it."""
    if holders.setdefault(name, path) != path:
        raise ValueError(f"another VM has the name {name}")
