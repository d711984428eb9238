"""Plain values of a configuration file → the values the daemon works with, or what is wrong with each; JSON Schema."""

import json
import re
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema

from qmp_exporter.config.targets import POLL_INTERVAL, Config, Discover, Libvirt, Listener, Target
from qmp_exporter.config.values import (
    FILE_NAME,
    Glob,
    Grace,
    Group,
    Known,
    KvmStat,
    Labels,
    LibvirtUri,
    Mode,
    Name,
    Owner,
    OwnPath,
    Pattern,
    PollInterval,
    Socket,
    UnixGroup,
    printable,
)
from qmp_exporter.documents.check import checked
from qmp_exporter.documents.document import Document, Wrong

GRACE: Final = 900.0  # seconds: a few scrapes, and the `for` of an alert
KVM_STATS: Final = 64  # names; KVM has some 60, and each of a vCPU is a series
COMMANDS_INTERVAL: Final = 30.0  # seconds; through libvirt a query costs it and QEMU three times as much
SOURCES: Final = ("vms", "discover", "listen", "libvirt", "files")  # a configuration has one of them


_Exclude = Annotated[str, AfterValidator(printable)]


def validate(document: Document, known: Known) -> Config | None:
    """Add everything wrong with the values to document.wrongs; None when there was something."""
    content = checked(File, document, known)
    if content is None:
        return None
    if not content.model_fields_set & set(SOURCES):
        text = f"missing, wanted {File.model_fields['vms'].description} (or {' or '.join(SOURCES[1:])})"
        document.wrongs.append(Wrong(document.values[()], ("vms",), text))
    defaults = content.defaults()
    return Config(
        tuple(vm.target(defaults) for vm in content.vms or ()),
        tuple(entry.discover(defaults) for entry in content.discover or ()),
        tuple(entry.listener(defaults) for entry in content.listen or ()),
        tuple(entry.libvirt(defaults) for entry in content.libvirt or ()),
        tuple(content.files or ()),
        defaults,
    )


def validate_targets(document: Document, known: Known, defaults: Target) -> tuple[Target, ...]:
    """The same for a file with nothing but a list of targets; `defaults`: what the configuration says for all."""
    content = checked(Targets, document, known)
    return tuple(vm.target(defaults) for vm in content.root) if content else ()


def json_schema() -> str:
    schema = File.model_json_schema(schema_generator=_WithoutTitles)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=2) + "\n"


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002  # no title is better than its key
        return False


# A list or a mapping is None where nothing stands behind its key, as when all of it is commented out: that is as empty.


class Metrics(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    disable: list[Group] | None = Field(
        default=[], description="groups of metrics, which METRICS.md lists, that are not wanted"
    )
    kvm_stats: list[KvmStat] | None = Field(
        default=[], max_length=KVM_STATS, description="names of what KVM counts that is wanted, from QEMU 8.1 on"
    )

    def chosen(self, defaults: Target) -> Target:
        kvm_stats = tuple(dict.fromkeys(self.kvm_stats or ()))
        return replace(defaults, disabled=frozenset(self.disable or ()), kvm_stats=kvm_stats)


class Watched(BaseModel):
    """What can be said of a VM, however it is found."""

    model_config = ConfigDict(strict=True, extra="forbid")

    labels: Labels | None = Field({}, description="labels on every metric of this VM")
    query_block: bool | None = Field(default=None, description="for this VM, instead of what holds for all")
    metrics: Metrics | None = Field(default=None, description="for this VM, instead of what holds for all")

    def shared(self, defaults: Target) -> Target:
        return replace(
            self.metrics.chosen(defaults) if self.metrics else defaults,
            labels=MappingProxyType(self.labels or {}),
            query_block=defaults.query_block if self.query_block is None else self.query_block,
        )


class Called(Watched):
    """What can be said in addition of one whose monitor we connect to."""

    allow_shared_monitor: bool = Field(
        default=False, description="true: take even a monitor that libvirt or Proxmox needs for itself"
    )

    owner: Owner | None = Field(
        default=None,
        description="the user, by name or number, whose socket it has to be: the file, if there is one, and the "
        "process that listens; the process may be root's",
    )

    visit: bool = Field(
        default=False,
        description="true: a monitor that Proxmox or Ganeti only visits is visited, too, for a moment at each poll; "
        "without events",
    )

    def shared(self, defaults: Target) -> Target:
        return replace(
            super().shared(defaults),
            allow_shared_monitor=self.allow_shared_monitor,
            owner=self.owner,
            visit=self.visit,
        )


class VM(Called):
    name: Name
    socket: Socket

    @field_validator("socket")
    @classmethod
    def _is_local(cls, socket: str, info: ValidationInfo) -> str:
        """Both look at who else is there."""
        key = "owner" if info.data.get("owner") is not None else "visit" if info.data.get("visit") else ""
        if key and socket.startswith("tcp:"):
            raise ValueError(f"wanted a socket of this host for {key}: over TCP nobody tells who is there")
        return socket

    def target(self, defaults: Target) -> Target:
        return replace(self.shared(defaults), name=self.name, socket=self.socket)


class DiscoverEntry(Called):
    model_config = ConfigDict(title="Discover")

    glob: Glob = Field(description="the paths of the sockets, such as /run/qmp/*.sock")
    name_from: Literal["file", "name", "uuid"] = Field(
        default="file",
        description="what a VM is called by: the path of its socket, its -name or its -uuid; "
        "the last two once it has told them, and until then its file",
    )
    name: Pattern | None = Field(
        default=None,
        description="a regular expression that is searched in the path, or in the -name or -uuid; its group vm is the "
        "VM's name; without it, the file's name up to its last dot, or all of the -name or -uuid",
    )
    exclude: list[_Exclude] | None = Field([], description="globs of paths, or of file names, that are no VMs")
    grace: Grace = Field(
        GRACE,
        description="how long a VM is still on the page when its socket is gone, from 0s to 24h",
        json_schema_extra={"default": "15m"},
    )

    def discover(self, defaults: Target) -> Discover:
        shared = self.shared(defaults)
        by_path, by_itself = re.compile(FILE_NAME), re.compile(r"(?P<vm>.*)")
        if self.name is not None and self.name_from == "file":
            by_path = self.name
        elif self.name is not None:
            by_itself = self.name
        exclude = tuple(self.exclude or ())
        return Discover(self.glob, by_path, by_itself, self.name_from, exclude, self.grace, shared)


class ListenEntry(Watched):
    model_config = ConfigDict(title="Listen")

    socket: OwnPath = Field(description="the path of a socket that the exporter makes, where QEMU dials in")
    name_from: Literal["name", "uuid"] = Field(
        default="name", description="what a VM is called by: its -name (without one its -uuid), or always its -uuid"
    )
    mode: Mode = Field(0o660, description="the permissions of the socket", json_schema_extra={"default": "0660"})
    group: UnixGroup | None = Field(
        default=None, description="the group of the socket, by name or number; that of the exporter unless said"
    )
    grace: Grace = Field(
        GRACE,
        description="how long a VM is still on the page when it has hung up, from 0s to 24h",
        json_schema_extra={"default": "15m"},
    )

    def listener(self, defaults: Target) -> Listener:
        return Listener(self.socket, self.name_from, self.mode, self.group or "", self.grace, self.shared(defaults))


class LibvirtEntry(Watched):
    model_config = ConfigDict(title="Libvirt")

    socket: OwnPath | None = Field(
        default=None, description="the socket of libvirtd or virtqemud; without it, where that of the URI listens"
    )
    uri: LibvirtUri = Field("qemu:///system", description="qemu:///system, or qemu:///session of the exporter's user")
    commands: bool = Field(
        default=False,
        description="true: ask QEMU through libvirt, for all metrics; libvirt marks each domain as tainted by that",
    )
    poll_interval: PollInterval | None = Field(
        default=None,
        description="how often a VM is asked; without it, 30s with `commands`, else as at the top",
    )
    activate: bool = Field(default=False, description="true: connect even where that starts a daemon that does not run")
    grace: Grace = Field(
        GRACE,
        description="how long a VM is still on the page when its domain has ended, from 0s to 24h",
        json_schema_extra={"default": "15m"},
    )

    def libvirt(self, defaults: Target) -> Libvirt:
        shared = self.shared(defaults)
        least = COMMANDS_INTERVAL if self.commands else 0.0
        interval = self.poll_interval or max(shared.poll_interval, least)
        shared = replace(shared, poll_interval=interval)
        return Libvirt(self.socket or "", self.uri, self.commands, self.activate, self.grace, shared)


class File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", title="Configuration of qmp-exporter")

    poll_interval: PollInterval = Field(
        POLL_INTERVAL,
        description="how often a VM is asked for what it does not announce, from 1s to 1h",
        json_schema_extra={"default": "15s"},
    )
    query_block: bool = Field(
        default=True, description="false: never ask query-block, which reads image files and can hang with the storage"
    )
    metrics: Metrics | None = Field(Metrics(), description="which metrics are wanted; all unless said otherwise")
    vms: list[VM] | None = Field([], description="a list of VMs, each with a name and a socket")
    discover: list[DiscoverEntry] | None = Field(
        [], description="a list of globs of sockets, looked for every 5 seconds"
    )
    listen: list[ListenEntry] | None = Field([], description="a list of sockets where VMs dial in")
    libvirt: list[LibvirtEntry] | None = Field(
        [], description="a list of libvirt daemons of this host, whose domains are watched through them"
    )
    files: list[Glob] | None = Field(
        [], description="globs of YAML files with lists like vms, read again when they change"
    )

    def defaults(self) -> Target:
        plain = Target("", "", query_block=self.query_block, poll_interval=self.poll_interval)
        return self.metrics.chosen(plain) if self.metrics else plain


class Targets(RootModel[list[VM]]):
    """A file that `files` names."""
