"""A QEMU process -> the interfaces of the host that carry its guest's traffic, and what they counted."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from qmp_exporter.core.process import InterfaceInfo
from qmp_exporter.daemon.host.files import content
from qmp_exporter.runtime.namespaces import network_namespace

FRESH = 1.0  # seconds for which one reading of a namespace serves all VMs in it
TUN = "/dev/net/tun"
RECEIVE, TRANSMIT = slice(0, 4), slice(8, 12)  # of a line of /proc/net/dev: bytes, packets, errors, drops
COUNTED = ("bytes", "packets", "errors", "drops")
MAX_NETDEVS = 64  # of one VM; more are a hostile command line's


class Netdev(NamedTuple):
    """A network backend of the command line."""

    id: str
    ifname: str = ""
    fds: tuple[int, ...] = ()
    mac: str = ""  # of the guest's device


class Interface(NamedTuple):
    """An interface of the host; `is_tap`: what it sends is what the guest receives, while a macvtap receives for it."""

    name: str
    netdev: str
    mac: str
    is_tap: bool


class NetworkReader:
    """What all VMs share: the counters of each network namespace, and the addresses of interfaces in our own."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[float, dict[str, list[int]]]] = {}
        self._names: tuple[float, dict[str, str]] = (float("-inf"), {})
        self._own = network_namespace("self")

    def find(self, pid: int, now: float) -> tuple[Interface, ...]:
        """By the descriptors of the process where they may be read, else by the command line, else by the address."""
        netdevs = tuple(netdevs_of(arguments(content(f"/proc/{pid}/cmdline") or b"")))
        taps = _taps(pid)
        names = self._names_by_mac(now) if network_namespace(pid) == self._own else {}
        found: dict[str, Interface] = {}
        left = []
        for netdev in netdevs:
            if interface := _interface(netdev, taps, names):
                found.setdefault(interface.name, interface)
            else:
                left.append(netdev)
        rest = [name for name in dict.fromkeys(taps.values()) if name not in found]
        if len(left) != len(rest) or len(rest) != 1:  # whose is whose is not to be seen
            left = []
        for name in rest:
            netdev = left[0] if left else Netdev("")
            found[name] = Interface(name, netdev.id, netdev.mac, is_tap=True)
        return tuple(found.values())

    def read(self, pid: int, interfaces: Iterable[Interface], now: float) -> Iterator[InterfaceInfo]:
        """Their counters, as /proc/PID/net/dev has them: everybody may read it, and it is that of QEMU's namespace."""
        lines = self._counters(pid, now)
        for interface in interfaces:
            line = lines.get(interface.name)
            if line is not None:
                receive, transmit = (TRANSMIT, RECEIVE) if interface.is_tap else (RECEIVE, TRANSMIT)
                counters = {f"receive_{what}": count for what, count in zip(COUNTED, line[receive], strict=True)}
                counters |= {f"transmit_{what}": count for what, count in zip(COUNTED, line[transmit], strict=True)}
                yield InterfaceInfo(interface.name, interface.netdev, interface.mac, counters)

    def _counters(self, pid: int, now: float) -> Mapping[str, list[int]]:
        namespace = network_namespace(pid)
        if namespace is None:
            return {}
        read_at, lines = self._lines.get(namespace, (float("-inf"), {}))
        if now - read_at >= FRESH:
            lines = parse_counters(content(f"/proc/{pid}/net/dev") or b"")
            self._lines = {key: known for key, known in self._lines.items() if now - known[0] < FRESH}
            self._lines[namespace] = now, lines
        return lines

    def _names_by_mac(self, now: float) -> Mapping[str, str]:
        read_at, names = self._names
        if now - read_at >= FRESH:
            directory = "/sys/class/net"
            names = {
                (content(f"{directory}/{name}/address") or b"").decode().strip(): name for name in _entries(directory)
            }
            self._names = now, names
        return names


def parse_counters(text: bytes) -> dict[str, list[int]]:
    """The content of /proc/net/dev, proc(5): below two lines of headings one for each interface."""
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines()[2:])
    return {name.strip(): counts for name, _, rest in lines if len(counts := [int(one) for one in rest.split()]) >= 12}


def arguments(command_line: bytes) -> list[str]:
    """The content of /proc/PID/cmdline."""
    return command_line.decode(errors="replace").split("\0")


def netdevs_of(command: list[str]) -> Iterator[Netdev]:
    """The network backends of a QEMU command line (qemu(1)): -netdev, -nic, -net, in the older form or as JSON."""
    backends: dict[str, dict[str, str]] = {}
    macs: dict[str, str] = {}
    for number, (option, value) in enumerate(pairwise(command)):
        match option.removeprefix("-").removeprefix("-"):
            case "netdev" | "nic" | "net" if len(backends) < MAX_NETDEVS:
                options = _options(value)
                backends[options.get("id") or f"{number}"] = options
            case "device":
                options = _options(value)
                if "netdev" in options:
                    macs[options["netdev"]] = options.get("mac", "")
    for identifier, options in backends.items():
        if options.get("type") in {"tap", "bridge", ""}:
            fds = tuple(int(fd) for fd in re.split(":", options.get("fds") or options.get("fd", "")) if fd.isdigit())
            mac = macs.get(identifier) or options.get("mac", "")
            yield Netdev(options.get("id", ""), options.get("ifname", ""), fds, mac.lower())


def _options(value: str) -> dict[str, str]:
    """`tap,id=net0,ifname=tap0` or `{"type": "tap", …}`; a comma in a value is doubled."""
    if value.startswith("{"):
        try:
            members: Any = json.loads(value)
        except (ValueError, RecursionError):
            return {}
        return {str(key): str(one) for key, one in members.items()} if isinstance(members, dict) else {}
    first, *rest = (part.replace("\0", ",") for part in value.replace(",,", "\0").split(","))
    options = {"type": first} if "=" not in first else dict([first.split("=", 1)])
    return options | dict(part.split("=", 1) for part in rest if "=" in part)


def _interface(netdev: Netdev, taps: Mapping[int, str], names: Mapping[str, str]) -> Interface | None:
    by_descriptor = next((taps[fd] for fd in netdev.fds if fd in taps), "")
    if name := by_descriptor or netdev.ifname:
        return Interface(name, netdev.id, netdev.mac, is_tap=True)
    if netdev.mac and (name := names.get(f"fe{netdev.mac[2:]}", "")):  # as libvirt makes its taps
        return Interface(name, netdev.id, netdev.mac, is_tap=True)
    if netdev.mac and (name := names.get(netdev.mac, "")):  # a macvtap has the guest's own
        return Interface(name, netdev.id, netdev.mac, is_tap=False)
    return None


def _taps(pid: int) -> dict[int, str]:
    """The taps that the process has open, by descriptor (`iff:` of tun_chr_show_fdinfo in drivers/net/tun.c)."""
    taps = {}
    for name in _entries(f"/proc/{pid}/fd"):
        try:
            is_tap = os.readlink(f"/proc/{pid}/fd/{name}") == TUN  # noqa: PTH115  one for each descriptor
        except OSError:  # it was closed just now
            continue
        if is_tap and (iff := re.search(rb"^iff:\s*(\S+)", content(f"/proc/{pid}/fdinfo/{name}") or b"", re.MULTILINE)):
            taps[int(name)] = iff[1].decode(errors="replace")
    return taps


def _entries(directory: str) -> list[str]:
    """Nothing where it is another user's."""
    try:
        return os.listdir(directory)  # noqa: PTH208  names are enough
    except OSError:
        return []
