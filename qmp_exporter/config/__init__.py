"""A configuration file → a frozen Config, or a ConfigError with every mistake in it, each with line and column."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from qmp_exporter.config.schema import json_schema, validate, validate_targets
from qmp_exporter.config.targets import Config, Discover, Libvirt, Listener, Target
from qmp_exporter.config.values import NOTHING, Known, socket_address, vm_name
from qmp_exporter.documents.document import ConfigError, Document, Location, Wrong, quoted, read
from qmp_exporter.documents.file import lines, text_of

__all__ = [
    "Config",
    "ConfigError",
    "Discover",
    "Known",
    "Libvirt",
    "Listener",
    "Target",
    "json_schema",
    "load",
    "load_targets",
    "parse",
    "parse_targets",
    "quoted",
    "socket_address",
    "vm_name",
]


def load(path: Path, known: Known = NOTHING) -> Config:
    return parse(text_of(path), str(path), known)


def load_targets(path: Path, defaults: Target, known: Known = NOTHING) -> tuple[Target, ...]:
    """A file with nothing but a list like `vms`; `defaults`: what the configuration says for all."""
    return parse_targets(text_of(path), str(path), defaults, known)


def parse(text: str, source: str, known: Known = NOTHING) -> Config:
    """Take 0.7 s of CPU for 2,000 VMs: the one who serves at the same time calls this in a thread."""
    document = read(text, source, 'wanted at least "vms: []"')
    config = validate(document, known)
    _find_repeated_vms(document, ("vms",))
    _find_repeated(document, ("discover",), "glob", str, "a glob of its own for every entry")
    _find_repeated(document, ("listen",), "socket", _address, "a socket of its own for every entry")
    _find_repeated(document, ("libvirt",), "socket", _address, "a daemon of its own for every entry")
    if config is None or document.wrongs:
        raise ConfigError(lines(source, document.wrongs))
    return config


def parse_targets(text: str, source: str, defaults: Target, known: Known = NOTHING) -> tuple[Target, ...]:
    document = read(text, source, 'wanted at least "[]"')
    targets = validate_targets(document, known, defaults)
    _find_repeated_vms(document, ())
    if document.wrongs:
        raise ConfigError(lines(source, document.wrongs))
    return targets


def _find_repeated_vms(document: Document, where: Location) -> None:
    _find_repeated(document, where, "name", str, "a name of its own for every VM")
    _find_repeated(document, where, "socket", _address, "a monitor of its own for every VM: it serves one client")


def _find_repeated(document: Document, where: Location, key: str, same: Callable[[str], str], wanted: str) -> None:
    """Look at the plain values: a mistake elsewhere in the file must not hide this one."""
    entries = document.value
    for step in where:
        entries = entries.get(step) if isinstance(entries, dict) else None
    first: dict[str, Location] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        value = entry.get(key) if isinstance(entry, dict) else None
        location = (*where, index, key)
        if not isinstance(value, str):
            continue
        before = first.setdefault(same(value), location)
        if before != location:
            text = f"found {quoted(value)} as on line {document.values[before].line}, wanted {wanted}"
            document.wrongs.append(Wrong(document.values[location], location, text))


def _address(socket: str) -> str:
    return str(PurePosixPath(socket)) if socket.startswith("/") else socket  # one path, however many slashes
