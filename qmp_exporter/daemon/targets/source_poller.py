"""Scans the file system, again and again -> the targets of a source; what gives no target is said once."""

import asyncio
import glob
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from os import scandir  # by its own name, so that a test can replace it here alone
from typing import NamedTuple

import structlog

from qmp_exporter.config import Target, quoted
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import Source
from qmp_exporter.runtime.threads import run_in_daemon_thread

PAUSE = 5.0  # seconds between two scans
SLOW = 5.0  # seconds after which it is said that a scan takes long
MOST = 10_000  # files of a glob: the one who may write into the directory must not fill our memory
SAID = 20  # refusals that are logged after one scan; the metric counts them all

log = structlog.get_logger()


class Refused(NamedTuple):
    what: str  # a path
    reason: str  # one of REFUSALS
    why: str


class ScanResult(NamedTuple):
    targets: Sequence[Target]
    refused: Sequence[Refused]


def listing(pattern: str) -> tuple[list[str], list[Refused]]:
    """The paths that a glob finds, sorted.

    :raise OSError: its directory is there but cannot be read, which is not the same as finding nothing.
    """
    directory = os.path.dirname(re.split(r"[*?[]", pattern, maxsplit=1)[0])  # noqa: PTH120  a str as the others
    try:
        scandir(directory).close()
        paths = list(islice(glob.iglob(pattern), MOST + 1))  # noqa: PTH207  as fast as it gets, and it takes any name
        if not paths:
            scandir(directory).close()  # to glob what cannot be read by now is empty, and VMs would end for it
    except FileNotFoundError:
        return [], []
    many = [Refused(pattern, "many", f"more than {MOST:,} files")] if len(paths) > MOST else []
    return sorted(paths[:MOST]), many


class SourcePoller:
    """Keeps what a source has up to date.  `scan` may wait for the file system, `name` may not."""

    def __init__(
        self,
        source: Source,
        scan: Callable[[], ScanResult],
        grace: float,
        fleet: Fleet,
        stats: Selfstats,
        *,
        name: Callable[[Sequence[Target]], Sequence[Target]] = lambda targets: targets,
    ) -> None:
        self.source = source
        self._scan = scan
        self._name = name
        self._grace = grace
        self._fleet = fleet
        self._stats = stats
        self._targets: Sequence[Target] | None = None
        self._refused: frozenset[Refused] = frozenset()
        self._failure = ""
        self._log = log.bind(source=source.name)

    async def run(self) -> None:
        """Never returns."""
        while True:
            scanning = run_in_daemon_thread(self._scan)
            await asyncio.wait([scanning], timeout=SLOW)
            if not scanning.done():
                self._log.warning("the file system does not answer; what was found before stays", seconds=SLOW)
                self._fleet.fails(self.source, "the file system does not answer")
            try:
                self._take(await scanning)
            except OSError as error:
                self._fail(error)
            await asyncio.sleep(PAUSE)

    def _take(self, seen: ScanResult) -> None:
        self._failure = ""
        self._fleet.works(self.source)
        targets = self._name(seen.targets)
        if targets != self._targets:
            self._log.info("targets found", targets=len(targets))
            # Grace is for what goes by itself, not for what a new configuration does without.
            grace = 0.0 if self._targets is None else self._grace
            self._fleet.want(self.source, targets, grace=grace)
            self._targets = targets
        refused = frozenset(seen.refused)
        self._say(sorted(refused - self._refused))
        self._refused = refused
        kinds = Counter(reason for _, reason in {(one.what, one.reason) for one in refused})
        self._stats.scanned(self.source.name, time.time(), kinds)

    def _say(self, refused: Sequence[Refused]) -> None:
        for what, reason, why in refused[:SAID]:
            self._log.warning("not watched", what=quoted(what), reason=reason, why=why)
        if len(refused) > SAID:
            self._log.warning("more is not watched", number=len(refused) - SAID)

    def _fail(self, error: OSError) -> None:
        failure = f"{error.filename}: {error.strerror}"
        self._fleet.cannot_say(self.source, failure)
        if failure != self._failure:
            self._log.warning("cannot look for targets; what was found before stays", why=failure)
        self._failure = failure
