"""QEMU's command line -> what each of its sockets is for."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

QMP, PRETTY, HMP = "a QMP monitor", "a QMP monitor with pretty=on", "a human monitor (HMP)"
_SHORT = {"-qmp": QMP, "-qmp-pretty": PRETTY, "-monitor": HMP, "-serial": "a serial port"}

_PORTS = {
    "virtserialport": "a virtio serial port, such as the guest agent's",
    "virtconsole": "a console",
    "isa-serial": "a serial port",
}


class Use(NamedTuple):
    """`socket` as a target names it, `purpose` in words, `listens`: QEMU made the socket and waits for clients."""

    socket: str
    purpose: str
    listens: bool


def vm_name(argv: Sequence[str]) -> str:
    """What follows -name, without its options; empty if nothing does."""
    for value in _values(argv, "-name"):
        options = _options(value, first="guest")
        return options.get("guest", "")
    return ""


def uses(argv: Sequence[str]) -> Iterator[Use]:
    """The sockets of a QEMU or qemu-storage-daemon, in the key=value syntax of its options."""
    purposes = dict(_purposes(argv))
    for value in _values(argv, "-chardev"):
        options = _options(value, first="backend")
        socket = _address(options)
        if socket:
            purpose = purposes.get(options.get("id", ""), "connected to nothing that is known")
            yield Use(socket, purpose, _listens(options))
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
    options = {}
    for number, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if number == 0 and not equals:
            key, text = first, key
        elif not equals:
            key, text = (key[2:], "off") if key.startswith("no") else (key, "on")
        options[key] = text
    return options


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
    for value in _values(argv, "-device"):
        options = _options(value, first="driver")
        if "chardev" in options:
            yield options["chardev"], _PORTS.get(options["driver"], f"the device {options['driver']}")
    for option, purpose in _SHORT.items():
        for value in _values(argv, option):
            if value.startswith("chardev:"):
                yield value.removeprefix("chardev:"), purpose
