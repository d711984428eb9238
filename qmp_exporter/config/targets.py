"""What a configuration says, checked and frozen: the values that the daemon works with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

POLL_INTERVAL: Final = 15.0  # seconds


@dataclass(frozen=True)
class Target:
    name: str
    socket: str  # /path, @abstract or tcp:host:port
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    allow_shared_monitor: bool = False
    query_block: bool = True
    disabled: frozenset[str] = frozenset()  # groups of metrics
    kvm_stats: tuple[str, ...] = ()  # names of what KVM counts
    poll_interval: float = POLL_INTERVAL  # seconds
    owner: int | None = None  # the user whose socket it has to be
    visit: bool = False  # connect for a moment at each poll, between the visits of a manager whose monitor it is


DEFAULTS: Final = Target("", "")


@dataclass(frozen=True)
class Discover:
    glob: str
    name: re.Pattern[str]  # searched in a path; its group vm is the VM's name
    own_name: re.Pattern[str]  # the same, searched in what a VM names itself by
    name_from: Literal["file", "name", "uuid"] = "file"  # what a VM is called by; by its path until it has told
    exclude: tuple[str, ...] = ()
    grace: float = 0.0  # seconds that a VM is still watched for when its socket is gone
    shared: Target = DEFAULTS  # what its targets have in common, without a name and a socket


@dataclass(frozen=True)
class Listener:
    """A socket of ours where VMs dial in."""

    socket: str  # /path
    name_from: Literal["name", "uuid"] = "name"  # of what QEMU was given, what the VM is called by
    mode: int = 0o660
    group: str = ""  # whose the socket is, by name or number; "": that of the exporter
    grace: float = 0.0  # seconds that a VM is still on the page when it has hung up
    shared: Target = DEFAULTS  # what its targets have in common, without a name and a socket


@dataclass(frozen=True)
class Libvirt:
    """A libvirt daemon of this host, through which its domains are watched."""

    socket: str  # /path; "": where the daemon of that URI listens
    uri: str = "qemu:///system"
    commands: bool = False  # whether QEMU is asked through it, which taints a domain
    activate: bool = False  # whether a daemon that does not run may be started by connecting to it
    grace: float = 0.0  # seconds that a VM is still on the page when its domain has ended
    shared: Target = DEFAULTS  # what its targets have in common, without a name and a socket


@dataclass(frozen=True)
class Config:
    vms: tuple[Target, ...] = ()
    discover: tuple[Discover, ...] = ()
    listen: tuple[Listener, ...] = ()
    libvirt: tuple[Libvirt, ...] = ()
    files: tuple[str, ...] = ()  # globs of files with more targets
    defaults: Target = DEFAULTS  # what a target in one of those files leaves open
