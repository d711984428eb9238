"""An entry of `discover` -> the targets behind the sockets that are there now."""

import fnmatch
import os
import stat
from dataclasses import replace

from qmp_exporter.config import Discover, Target, socket_address, vm_name
from qmp_exporter.daemon.monitor.ownership import wrong_owner
from qmp_exporter.daemon.targets.source_poller import Refused, ScanResult, listing
from qmp_exporter.daemon.targets.sources import DISCOVER, Source


def discovered(entry: Discover) -> Source:
    return Source(DISCOVER, f"discover {entry.glob}")


def scan(entry: Discover) -> ScanResult:
    """2,000 sockets take 30 ms.

    :raise OSError: the directory cannot be read.
    """
    paths, refused = listing(entry.glob)
    targets = []
    for path in paths:
        if not _excluded(path, entry.exclude):
            try:
                if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116  no Path is needed for it
                    targets.append(_target(path, entry))
            except _Unfit as unfit:
                refused.append(Refused(path, unfit.reason, str(unfit)))
            except PermissionError:
                refused.append(Refused(path, "denied", "no permission to look at it"))
            except OSError:
                continue  # a link to nothing, or it has just gone
    return ScanResult(targets, refused)


class _Unfit(Exception):
    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


def _excluded(path: str, globs: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(path if "/" in pattern else name, pattern) for pattern in globs)


def _target(path: str, entry: Discover) -> Target:
    """:raise _Unfit: it is not what the entry wants, and somebody may wonder why."""
    if why := wrong_owner(path, entry.shared.owner):
        raise _Unfit("owner", why)
    try:
        socket_address(path)
        match = entry.name.search(path)
        if match is None:
            raise _Unfit("name", f"it does not match {entry.name.pattern}")
        return replace(entry.shared, name=vm_name(match["vm"] or ""), socket=path)
    except ValueError as error:
        raise _Unfit("name", str(error)) from error
