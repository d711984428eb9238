"""Globs of YAML files with lists of targets -> the targets of all of them; a bad file gives what it gave before."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from qmp_exporter.config import ConfigError, Known, Target, load_targets
from qmp_exporter.daemon.targets.source_poller import Refused, ScanResult, listing
from qmp_exporter.runtime.fingerprint import Stamp, file_fingerprint


class _Read(NamedTuple):
    stamp: Stamp
    defaults: Target
    targets: tuple[Target, ...]
    errors: tuple[str, ...]


class TargetFiles:
    """Remembers what the files said, so that only changed ones are read again."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._read: dict[str, _Read] = {}

    def scan(self, globs: tuple[str, ...], defaults: Target) -> ScanResult:
        """`defaults`: what a target leaves open.

        :raise OSError: a directory cannot be read.
        """
        paths, refused = [], []
        for pattern in globs:
            more, many = listing(pattern)
            paths += more
            refused += many
        self._read = {path: read for path in paths if (read := self._up_to_date(path, defaults))}
        targets = [target for targets in self.by_file.values() for target in targets]
        refused += [Refused(path, "mistake", why) for path, read in self._read.items() for why in read.errors]
        return ScanResult(targets, refused)

    @property
    def by_file(self) -> Mapping[str, tuple[Target, ...]]:
        """What each file gave when it was read last."""
        return {path: read.targets for path, read in self._read.items()}

    def _up_to_date(self, path: str, defaults: Target) -> _Read | None:
        before = self._read.get(path)
        now = file_fingerprint(path)
        if now is None:
            return None  # a link to nothing, or it has just gone
        if before and before.stamp == now and before.defaults == defaults:
            return before
        try:
            return _Read(now, defaults, load_targets(Path(path), defaults, self._known), ())
        except ConfigError as error:
            return _Read(now, defaults, before.targets if before else (), error.errors)
