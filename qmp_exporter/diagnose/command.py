"""What stands on the command line -> what is printed, and whether all is well."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from qmp_exporter.config import Config, Listener, Target, socket_address
from qmp_exporter.daemon.monitor.foreign import instance
from qmp_exporter.daemon.targets import discovery
from qmp_exporter.daemon.targets.configured import KNOWN
from qmp_exporter.daemon.targets.target_files import TargetFiles
from qmp_exporter.diagnose.dial_in import examine_listener
from qmp_exporter.diagnose.examine import examine_all
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host
from qmp_exporter.diagnose.look import View, look, nobody, unwise
from qmp_exporter.diagnose.report import details, rights, summary, table

DETAILED = 20  # targets in trouble whose details are told; what is wrong with all is most often one thing
_SAME_IN_EACH_DIRECTORY = frozenset({"monitor", "mon", "qmp", "qemu", "exporter", "sock", "socket"})
WARNINGS = 50  # that check-config prints; a host without its VMs has one for each


def is_configuration(what: str) -> bool:
    """A file, or what is called as one would be; everything else is a socket."""
    return os.path.isfile(what) or Path(what).suffix in {".yaml", ".yml"}  # noqa: PTH113  a Path raises where it may not look


def socket_target(what: str, name: str | None) -> Target:
    """:raise ValueError: it is no address of a socket; the text says what was wanted."""
    what = what.removeprefix("unix:")
    socket = what if what.startswith(("@", "tcp:")) else os.path.abspath(what)  # noqa: PTH100  links stay links
    return Target(name or _called_after(socket), socket_address(socket))


def _called_after(socket: str) -> str:
    """A name for what is behind a socket: its file's, or its directory's where each VM has one for a `monitor.sock`."""
    path = Path(socket.rpartition(":")[2])
    stem = path.stem.lstrip("@")
    return instance(socket) or (path.parent.name if stem in _SAME_IN_EACH_DIRECTORY else "") or stem or "vm"


def targets_of(config: Config) -> tuple[list[Target], list[str]]:
    """All targets, with those that are found at this moment; and warnings about what is there and is none."""
    looks = [partial(discovery.look, entry) for entry in config.discover]
    looks.append(partial(TargetFiles(KNOWN).look, config.files, config.defaults))
    targets, refused = list(config.vms), []
    for look_now in looks:
        try:
            seen = look_now()
        except OSError as error:
            refused.append(f"warning: {error}")
            continue
        targets += seen.targets
        refused += [f"{path}: warning: no target: {why}" for path, _, why in seen.refused]
    return targets, refused


def diagnose(
    targets: Sequence[Target], user: str, *, listeners: Sequence[Listener] = (), one_by_one: bool
) -> tuple[str, bool]:
    """The report, and whether every target is good.  `one_by_one`: details of each, else a table first.

    :raise KeyError: there is no such user.
    """
    host = Host()
    view = View(host, host.exporters_user(user))
    found = asyncio.run(examine_all(targets, view))
    found += [(Target("listen", one.socket), examine_listener(one, host)) for one in listeners]
    lines = (_harmless(line) for line in _report(found, view, one_by_one=one_by_one))
    return "\n".join(lines) + "\n", all(one.is_good for _, one in found)


def warnings(targets: Sequence[Target]) -> Iterator[str]:
    """What diagnose would find, as far as it is seen without connecting to anybody."""
    host = Host()
    view = View(host, host.exporters_user())
    lines = [line for target in targets for line in _warnings_of(target, view)]
    yield from lines[:WARNINGS]
    if len(lines) > WARNINGS:
        yield f"and {len(lines) - WARNINGS} more warnings"


def _harmless(line: str) -> str:
    """Names of VMs, sockets and processes are anybody's, and a terminal obeys what is in a name."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _warnings_of(target: Target, view: View) -> Iterator[str]:
    finding = look(target, view) or nobody(target, view)
    said = [] if finding is None or finding.is_good else [f"{target.socket}: {finding.problem}"]
    for text in (*said, *(f"{target.socket}: {text}" for text in unwise(target))):
        yield _harmless(f"{target.name}: warning: {text}")


def _report(found: Sequence[tuple[Target, Finding]], view: View, *, one_by_one: bool) -> Iterator[str]:
    if not one_by_one:
        yield from table(found)
        yield ""
    told = [(target, finding) for target, finding in found if one_by_one or not finding.is_good]
    for target, finding in told[:DETAILED]:
        yield from details(finding, tuple(unwise(target)))
    if len(told) > DETAILED:
        yield f"Details of {len(told) - DETAILED} more are left out: --vm NAME tells them."
        yield ""
    yield rights(view.user)
    if not one_by_one:
        yield summary(found)
