"""QEMU's command line -> what each of its sockets is for."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

QMP, PRETTY, HMP = "a QMP monitor", "a QMP monitor with pretty=on", "a human monitor (HMP)"
_SHORT = {"-qmp": QMP, "-qmp-pretty": PRETTY, "-monitor": HMP, "-serial": "a serial port"}

_MONITORS = {"monitor-qmp": QMP, "monitor-hmp": HMP}
_PORTS = {
    "virtserialport": "a virtio serial port, such as the guest agent's",
    "virtconsole": "a console",
    "isa-serial": "a serial port",
}


class Use(NamedTuple):
    """`socket` as a target names it, `listens`: QEMU made the socket and waits for clients.

    `purpose` in words; None: the arguments do not tell, or not in a form that is known here.
    """

    socket: str
    purpose: str | None
    listens: bool


def vm_name(argv: Sequence[str]) -> str:
    """What follows -name, without its options; empty if nothing does."""
    for value in _values(argv, "-name"):
        options = _options(value, first="guest")
        return options.get("guest", "")
    return ""


def uses(argv: Sequence[str]) -> Iterator[Use]:
    """The sockets of a QEMU or qemu-storage-daemon, be its options written as key=value or in JSON."""
    purposes = dict(_purposes(argv))
    for value in _values(argv, "-chardev"):
        options = _options(value, first="backend")
        socket = _address(options)
        if socket:
            yield Use(socket, purposes.get(options.get("id", "")), _listens(options))
    for option, purpose in _SHORT.items():
        for value in _values(argv, option):
            kind, _, rest = value.partition(":")
            options = _options(rest, first="path" if kind == "unix" else "hostport")
            socket = _address(options)
            if kind in {"unix", "tcp", "telnet"} and socket:
                yield Use(socket, purpose, _listens(options))


def _values(argv: Sequence[str], option: str) -> Iterator[str]:
    """An option's values, be it written with one dash or two."""
    return (value for name, value in pairwise(argv) if name in {option, "-" + option})


def _options(value: str, first: str) -> dict[str, str]:
    """`socket,id=a,server` -> {first: "socket", "id": "a", "server": "on"}; ,, is a comma in a value."""
    if value.startswith("{"):
        return _json_options(value)
    options = {}
    for number, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if number == 0 and not equals:
            key, text = first, key
        elif not equals:
            key, text = (key[2:], "off") if key.startswith("no") else (key, "on")
        options[key] = text
    return options


def _json_options(value: str) -> dict[str, str]:
    """`{"id": "a", "server": true}` -> {"id": "a", "server": "on"}; members of members as if they were its own."""
    try:
        document = json.loads(value)
    except ValueError:
        return {}
    words = {True: "on", False: "off"}
    return {
        key: words[leaf] if isinstance(leaf, bool) else str(leaf)
        for key, leaf in _leaves(document)
        if not isinstance(leaf, list)
    }


def _leaves(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield key, value


def _address(options: dict[str, str]) -> str:
    if path := options.get("path"):
        return f"@{path}" if options.get("abstract") == "on" else path
    host, _, port = options.get("hostport", "").rpartition(":")
    host, port = options.get("host", host), options.get("port", port)
    return f"tcp:{f'[{host}]' if ':' in host.strip('[]') else host}:{port}" if port else ""


def _listens(options: dict[str, str]) -> bool:
    return options.get("server", "off") == "on"


def _purposes(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The id of each chardev that something is connected to, and what."""
    for option in ("-mon", "-monitor"):  # the storage daemon's is --monitor, and is QMP always
        for value in _values(argv, option):
            options = _options(value, first="chardev")
            control = options.get("mode", "readline" if option == "-mon" else "control") == "control"
            purpose = (PRETTY if options.get("pretty") == "on" else QMP) if control else HMP
            yield options.get("chardev", ""), purpose
    for value in _values(argv, "-object"):  # since QEMU 11.1 instead of -mon
        options = _options(value, first="qom-type")
        if options.get("qom-type") in _MONITORS:
            pretty = options.get("pretty") == "on"
            yield options.get("chardev", ""), PRETTY if pretty else _MONITORS[options["qom-type"]]
    for value in _values(argv, "-device"):
        options = _options(value, first="driver")
        if "chardev" in options and "driver" in options:
            yield options["chardev"], _PORTS.get(options["driver"], f"the device {options['driver']}")
    for option, purpose in _SHORT.items():
        for value in _values(argv, option):
            if value.startswith("chardev:"):
                yield value.removeprefix("chardev:"), purpose
