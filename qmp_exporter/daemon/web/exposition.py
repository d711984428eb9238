"""The fleet's page and the exporter's own metrics -> the text of one answer, in pieces."""

from collections.abc import AsyncIterator, Collection
from itertools import accumulate
from typing import NamedTuple

from qmp_exporter.catalog import GROUPS
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.runtime.cooperative import YieldBudget

OWN = "exporter"  # what the group of the exporter's own metrics is called here


class Selection(NamedTuple):
    """What somebody wants of the page: families of the VMs by their index (None: all), and the exporter's own."""

    families: frozenset[int] | None
    own: bool


ALL = Selection(None, own=True)


def selection(collect: Collection[str], exclude: Collection[str]) -> Selection:
    """The groups that are asked for, by the convention of node_exporter: these only, or all but these.

    :raise ValueError: a group that there is not, or both.
    """
    if collect and exclude:
        raise ValueError("collect[] and exclude[] exclude each other")
    if unknown := sorted({*collect, *exclude} - FAMILIES_OF.keys() - {OWN}):
        raise ValueError(f"unknown group {', '.join(unknown)}; wanted one of {', '.join((*FAMILIES_OF, OWN))}")
    if not collect and not exclude:
        return ALL
    names = frozenset(collect) or {*FAMILIES_OF, OWN}.difference(exclude)
    families = (index for name in names - {OWN} for index in FAMILIES_OF[name])
    return Selection(frozenset(families), own=OWN in names)


def _families_of() -> dict[str, range]:
    """By the name of a group, where its families stand in the catalog."""
    ends = accumulate(len(group.families) for group in GROUPS.values())
    return {name: range(end - len(GROUPS[name].families), end) for name, end in zip(GROUPS, ends, strict=True)}


FAMILIES_OF = _families_of()


class Exposition:
    """A page is the VMs' part, which `refresh` brings up to date, and the exporter's own metrics behind it."""

    def __init__(self, fleet: Fleet, stats: Selfstats) -> None:
        self._fleet = fleet
        self._stats = stats

    async def refresh(self) -> int:
        """The version of the VMs' part: where it is the same, so is the text."""
        await self._fleet.refresh()
        return self._fleet.page.version

    async def parts(self, wanted: Selection = ALL, *, openmetrics: bool = False) -> AsyncIterator[bytes]:
        """The VMs' part, some 100 KiB at a time."""
        turn = YieldBudget()
        for part in self._fleet.page.parts(openmetrics=openmetrics, families=wanted.families):
            yield part
            await turn.checkpoint()

    def own(self, wanted: Selection = ALL, *, openmetrics: bool = False) -> bytes:
        """What ends the page."""
        if wanted.own:
            return self._stats.text(openmetrics=openmetrics)
        return b"# EOF\n" if openmetrics else b""
