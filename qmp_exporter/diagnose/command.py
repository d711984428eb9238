"""What stands on the command line -> what is printed, and whether all is well."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from qmp_exporter.config import Config, Target, socket_address
from qmp_exporter.daemon.monitor.managed_sockets import instance
from qmp_exporter.diagnose.check import find
from qmp_exporter.diagnose.dial_in import examine_listener
from qmp_exporter.diagnose.finding import Finding
from qmp_exporter.diagnose.host import Host
from qmp_exporter.diagnose.libvirt import examine_libvirt
from qmp_exporter.diagnose.nothing import no_vms
from qmp_exporter.diagnose.preflight import View, nobody, preflight, unwise
from qmp_exporter.diagnose.report import details, rights, summary, table
from qmp_exporter.diagnose.run import examine_all

DETAILED = 20  # targets in trouble whose details are told; what is wrong with all is most often one thing
_SAME_IN_EACH_DIRECTORY = frozenset({"monitor", "mon", "qmp", "qemu", "exporter", "sock", "socket"})
SHOWN = 50  # errors, and warnings, that check-config prints; a host without its VMs has one for each


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


class Report(NamedTuple):
    """`text` is what was asked for, `said` what is said in addition: errors and warnings, which are counted too."""

    text: str
    said: Sequence[str]
    errors: int
    warnings: int = 0


def check(config: Config, file: str) -> Report:
    """What diagnose would find, as far as it is seen without connecting to anybody."""
    view = _view()
    found = find(config, file, view)
    warnings = [*found.warnings, *(f"{file}: {line}" for one in found.targets for line in _warnings_of(one, view))]
    listening = ", ".join(one.socket for one in config.listen)
    daemons = ", ".join(one.socket or one.uri for one in config.libvirt)
    others = (f", and those that dial in at {listening}" if listening else "") + (
        f", and the domains of {daemons}" if daemons else ""
    )
    hint = "" if found.targets or others else f"; `qmp-exporter diagnose {file}` says what to do next"
    text = f"{file}: good, with {len(found.targets)} VMs{others}{hint}\n"
    return Report(text, _bounded(found.errors, warnings), len(found.errors), len(warnings))


def diagnose(what: str, config: Config | None, vm: str | None = None, user: str = "") -> Report:
    """A socket, or the configuration that stands in the file `what`: all of it, or one VM.

    :raise ValueError: there is no such address, VM or user; says what was wanted.
    """
    view = _view(user)
    if config is None:
        try:
            return _examined([socket_target(what, vm)], Config(), view, one_by_one=True)
        except ValueError as error:
            raise ValueError(f"{what!r}: {error}") from error
    found = find(config, what, view)
    targets = [target for target in found.targets if vm in {None, target.name}]
    if vm and not targets:
        raise ValueError(f"{what}: no VM is called {vm}")
    others = Config() if vm else config
    if targets or others.listen or others.libvirt:
        report = _examined(targets, others, view, one_by_one=vm is not None)
    else:
        nothing = no_vms(config, what, view.host)
        report = Report("".join(f"{_harmless(line)}\n" for line in details(nothing)), (), not nothing.is_good)
    return report._replace(said=_bounded(found.errors, found.warnings), errors=report.errors + len(found.errors))


def _view(user: str = "") -> View:
    """Of this host now, with the rights of the exporter's user, unless another is named."""
    host = Host()
    try:
        return View(host, host.exporters_user(user))
    except KeyError:
        raise ValueError(f"--user: no user is called {user}") from None


def _examined(targets: Sequence[Target], others: Config, view: View, *, one_by_one: bool) -> Report:
    """`others`: where VMs come from by themselves.  `one_by_one`: details of each, else a table first.

    The errors are the targets in trouble.
    """
    found = asyncio.run(examine_all(targets, view))
    found += [(Target("listen", one.socket), examine_listener(one, view.host, view.user)) for one in others.listen]
    for daemon in others.libvirt:
        finding = asyncio.run(examine_libvirt(daemon, view.host, view.user))
        found.append((Target("libvirt", finding.socket), finding))
    lines = (_harmless(line) for line in _report(found, view, one_by_one=one_by_one))
    return Report("\n".join(lines) + "\n", (), sum(not one.is_good for _, one in found))


def _bounded(errors: Sequence[str], warnings: Sequence[str]) -> Sequence[str]:
    said = []
    for lines, what in ((errors, "errors"), (warnings, "warnings")):
        said += [_harmless(line) for line in lines[:SHOWN]]
        said += [f"and {len(lines) - SHOWN} more {what}"] if len(lines) > SHOWN else []
    return said


def _harmless(line: str) -> str:
    """Names of VMs, sockets and processes are anybody's, and a terminal obeys what is in a name."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _warnings_of(target: Target, view: View) -> Iterator[str]:
    finding = preflight(target, view) or nobody(target, view)
    said = [] if finding is None or finding.is_good else [f"{target.socket}: {finding.problem}"]
    for text in (*said, *(f"{target.socket}: {text}" for text in unwise(target))):
        yield f"{target.name}: warning: {text}"


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
