"""A configuration file → a frozen Config, or a ConfigError with every mistake in it, each with line and column."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from qmp_exporter.config.document import ConfigError, Document, Location, Wrong, end, quoted, read
from qmp_exporter.config.schema import json_schema, validate, validate_targets
from qmp_exporter.config.targets import Config, Discover, Listener, Target
from qmp_exporter.config.values import NOTHING, Known, printable

__all__ = [
    "Config",
    "ConfigError",
    "Discover",
    "Known",
    "Listener",
    "Target",
    "json_schema",
    "load",
    "load_targets",
    "parse",
    "parse_targets",
    "printable",
]

ERRORS_SHOWN: Final = 50
BYTES: Final = 4 << 20  # 2,000 VMs with three labels each are 0.2 MB


def load(path: Path, known: Known = NOTHING) -> Config:
    return parse(_text(path), str(path), known)


def load_targets(path: Path, defaults: Target, known: Known = NOTHING) -> tuple[Target, ...]:
    """A file with nothing but a list like `vms`; `defaults`: what the configuration says for all."""
    return parse_targets(_text(path), str(path), defaults, known)


def parse(text: str, source: str, known: Known = NOTHING) -> Config:
    """Take 0.7 s of CPU for 2,000 VMs: whoever serves at the same time calls this in a thread."""
    document = read(text, source, 'wanted at least "vms: []"')
    config = validate(document, known)
    _find_repeated_vms(document, ("vms",))
    _find_repeated(document, ("discover",), "glob", str, "a glob of its own for every entry")
    _find_repeated(document, ("listen",), "socket", _address, "a socket of its own for every entry")
    if config is None or document.wrongs:
        raise ConfigError(_lines(source, document.wrongs))
    return config


def parse_targets(text: str, source: str, defaults: Target, known: Known = NOTHING) -> tuple[Target, ...]:
    document = read(text, source, 'wanted at least "[]"')
    targets = validate_targets(document, known, defaults)
    _find_repeated_vms(document, ())
    if document.wrongs:
        raise ConfigError(_lines(source, document.wrongs))
    return targets


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES + 1)  # bounded: a device may never end
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(raw) > BYTES:
        raise ConfigError([f"{path}: found more than {BYTES >> 20} MiB, wanted a configuration"])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        place = end(raw[: error.start].decode())
        found = f"found the byte 0x{raw[error.start]:02x}, wanted text in UTF-8"
        raise ConfigError([f"{path}:{place}: {found}"]) from error


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


def _lines(source: str, wrongs: list[Wrong]) -> list[str]:
    ordered = [
        f"{source}:{place}: {_path(location)}{text}" for place, location, text in sorted(set(wrongs), key=_order)
    ]
    more = len(ordered) - ERRORS_SHOWN
    return [*ordered[:ERRORS_SHOWN], f"and {more} more"] if more > 0 else ordered


def _order(wrong: Wrong) -> tuple[object, ...]:
    return wrong.place, _path(wrong.location), wrong.text


def _path(location: Location) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + (step if step.isidentifier() and step.isascii() else quoted(step))
    return f"{path}: " if path else ""
