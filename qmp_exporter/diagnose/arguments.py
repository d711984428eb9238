"""QEMU's command line -> what each of its sockets is for."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qmp_exporter.core.command_line import options as options_of
from qmp_exporter.core.command_line import values

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
    for value in values(argv, "-name"):
        options = options_of(value, first="guest")
        return options.get("guest", "")
    return ""


def uses(argv: Sequence[str]) -> Iterator[Use]:
    """The sockets of a QEMU or qemu-storage-daemon, be its options written as key=value or in JSON."""
    purposes = dict(_purposes(argv))
    for value in values(argv, "-chardev"):
        options = options_of(value, first="backend")
        socket = _address(options)
        if socket:
            yield Use(socket, purposes.get(options.get("id", "")), _listens(options))
    for option, purpose in _SHORT.items():
        for value in values(argv, option):
            kind, _, rest = value.partition(":")
            options = options_of(rest, first="path" if kind == "unix" else "hostport")
            socket = _address(options)
            if kind in {"unix", "tcp", "telnet"} and socket:
                yield Use(socket, purpose, _listens(options))


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
        for value in values(argv, option):
            options = options_of(value, first="chardev")
            control = options.get("mode", "readline" if option == "-mon" else "control") == "control"
            purpose = (PRETTY if options.get("pretty") == "on" else QMP) if control else HMP
            yield options.get("chardev", ""), purpose
    for value in values(argv, "-object"):  # since QEMU 11.1 instead of -mon
        options = options_of(value, first="qom-type")
        if options.get("qom-type") in _MONITORS:
            pretty = options.get("pretty") == "on"
            yield options.get("chardev", ""), PRETTY if pretty else _MONITORS[options["qom-type"]]
    for value in values(argv, "-device"):
        options = options_of(value, first="driver")
        if "chardev" in options and "driver" in options:
            yield options["chardev"], _PORTS.get(options["driver"], f"the device {options['driver']}")
    for option, purpose in _SHORT.items():
        for value in values(argv, option):
            if value.startswith("chardev:"):
                yield value.removeprefix("chardev:"), purpose
