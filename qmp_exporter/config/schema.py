"""Plain values of a configuration file → the values the daemon works with, or what is wrong with each; JSON Schema."""

import difflib
import ipaddress
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Final, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from qmp_exporter.config.document import Document, Location, Wrong, quoted

DURATION: Final = "(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
POLL_INTERVAL: Final = 15.0  # seconds
LABEL_NAME: Final = "[a-zA-Z_][a-zA-Z0-9_]*"
# Prometheus sets instance and job; le and quantile belong to histograms and summaries.
NEVER_A_LABEL: Final = frozenset({"vm", "instance", "job", "le", "quantile"})


@dataclass(frozen=True)
class Target:
    name: str
    socket: str  # /path, @abstract or tcp:host:port
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    allow_shared_monitor: bool = False
    query_block: bool = True
    disabled: frozenset[str] = frozenset()  # groups of metrics
    poll_interval: float = POLL_INTERVAL  # seconds


@dataclass(frozen=True)
class Config:
    vms: tuple[Target, ...] = ()


class Known(NamedTuple):
    """What the catalog of metrics has, which this package does not know by itself."""

    labels: Collection[str] = ()  # that its metrics set themselves
    groups: Collection[str] = ()  # that can be switched off


NOTHING: Final = Known()


def validate(document: Document, known: Known) -> Config | None:
    """Add everything wrong with the values to document.wrongs; None when there was something."""
    try:
        content = File.model_validate(document.value, context=known)
    except ValidationError as error:
        _explain(error.errors(include_url=False), document)
        return None
    return Config(tuple(vm.target(content) for vm in content.vms))


def json_schema() -> str:
    schema = File.model_json_schema(schema_generator=_WithoutTitles)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=2) + "\n"


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002  # no title is better than its key
        return False


def _duration(value: object) -> float:
    match = re.fullmatch(DURATION, value) if isinstance(value, str) else None
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in (match.groups() if match else "0000"))
    duration = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    if not 1 <= duration <= 3600:
        raise ValueError("wanted a duration from 1s to 1h, such as 15s or 1m30s")
    return duration


def _printable(value: str) -> str:
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"wanted text without control characters, U+{ord(character):04X} is one")
    return value


def _name(value: str) -> str:
    if not 1 <= len(value) <= 128:
        raise ValueError(f"with {len(value)} characters, wanted 1 to 128")
    return _printable(value)


def _socket(value: str) -> str:
    _printable(value)
    if value.startswith("tcp:"):
        return _tcp(value)
    if not re.fullmatch("@.+|/.*[^/]", value):
        raise ValueError("wanted an absolute path, @name of an abstract socket, or tcp:host:port")
    size = len(value.removeprefix("@").encode())
    if size > 107:
        raise ValueError(f"with {size} bytes, wanted at most 107: Linux has room for no more")
    return value


def _tcp(value: str) -> str:
    match = re.fullmatch(r"tcp:(\[([^\[\]]+)\]|[^:\[\]\s]+):([0-9]{1,5})", value)
    if not match or not 1 <= int(match[3]) <= 65535:
        raise ValueError("wanted tcp:host:port or tcp:[IPv6 address]:port, with a port from 1 to 65535")
    if match[2]:
        try:
            ipaddress.IPv6Address(match[2])
        except ValueError:
            raise ValueError("wanted an IPv6 address in the brackets, as in tcp:[::1]:4444") from None
    return value


def _known(info: ValidationInfo) -> Known:
    return info.context if isinstance(info.context, Known) else NOTHING


def _label_name(name: str, info: ValidationInfo) -> str:
    if not re.fullmatch(LABEL_NAME, name):
        raise ValueError("not a label name, wanted letters, digits and _, no digit first")
    if name.startswith("__"):
        raise ValueError("reserved, wanted a name without __ in front: Prometheus keeps those to itself")
    if name in NEVER_A_LABEL or name in _known(info).labels:
        raise ValueError("reserved, wanted another name: the metrics or Prometheus set a label of this one")
    return name


def _group(name: str, info: ValidationInfo) -> str:
    groups = _known(info).groups
    if name not in groups:
        raise ValueError(f"wanted a group of metrics that can be switched off: {', '.join(groups)}")
    return name


_Duration = Annotated[
    float, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": f"^(?=.){DURATION}$"})
]
_Name = Annotated[str, AfterValidator(_name), Field(description="the VM's name: the label vm of its metrics")]
_Socket = Annotated[str, AfterValidator(_socket), Field(description="its monitor: /path, @name or tcp:host:port")]
_LabelName = Annotated[
    str, AfterValidator(_label_name), WithJsonSchema({"type": "string", "pattern": f"^{LABEL_NAME}$"})
]
_Labels = dict[_LabelName, Annotated[str, AfterValidator(_printable)]]


class Metrics(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    disable: list[Annotated[str, AfterValidator(_group)]] = Field(
        default=[], description="groups of metrics, which METRICS.md lists, that are not wanted"
    )


class VM(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: _Name
    socket: _Socket
    labels: _Labels = Field({}, description="labels on every metric of this VM")
    allow_shared_monitor: bool = Field(
        default=False, description="true: take even a monitor that libvirt or Proxmox needs for itself"
    )

    query_block: bool | None = Field(default=None, description="for this VM, instead of what holds for all")
    metrics: Metrics | None = Field(default=None, description="for this VM, instead of what holds for all")

    def target(self, file: "File") -> Target:
        return Target(
            self.name,
            self.socket,
            MappingProxyType(self.labels),
            self.allow_shared_monitor,
            file.query_block if self.query_block is None else self.query_block,
            frozenset((self.metrics or file.metrics).disable),
            file.poll_interval,
        )


class File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", title="Configuration of qmp-exporter")

    poll_interval: _Duration = Field(
        POLL_INTERVAL,
        description="how often a VM is asked for what it does not announce, from 1s to 1h",
        json_schema_extra={"default": "15s"},
    )
    query_block: bool = Field(
        default=True, description="false: never ask query-block, which reads image files and can hang with the storage"
    )
    metrics: Metrics = Field(Metrics(), description="which metrics are wanted; all unless said otherwise")
    vms: list[VM] = Field(description="a list of VMs, each with a name and a socket")


WANTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "text",
}


def _explain(errors: list[ErrorDetails], document: Document) -> None:
    mistyped: set[Location] = set()  # a key that is missing because it is misspelt is no second mistake
    for error in errors:
        if error["type"] == "extra_forbidden":
            location, text, meant = _unknown_key(error["loc"])
            mistyped.add(meant)
            document.wrongs.append(Wrong(document.keys[location], location, text))
    for error in errors:
        location = error["loc"]
        if error["type"] == "missing" and location not in mistyped:
            text = f"missing, wanted {_fields(location)[str(location[-1])]}"
            document.wrongs.append(Wrong(document.values[location[:-1]], location, text))
        elif location[-1:] == ("[key]",):
            text = str(error["ctx"]["error"])
            document.wrongs.append(Wrong(document.keys[location[:-1]], location[:-1], text))
        elif error["type"] not in ("missing", "extra_forbidden") and location not in document.settled:
            text = _bad_value(error, document)
            document.wrongs.append(Wrong(document.values[location], location, text))


def _unknown_key(location: Location) -> tuple[Location, str, Location]:
    known = list(_fields(location))
    close = difflib.get_close_matches(str(location[-1]), known, 1)
    if close:
        return location, f'unknown key, did you mean "{close[0]}"?', (*location[:-1], close[0])
    return location, f"unknown key, known here are {', '.join(known)}", location


def _fields(location: Location) -> dict[str, str]:
    models: dict[str, type[BaseModel]] = {"vms": VM, "metrics": Metrics}
    inside = [step for step in location[:-1] if isinstance(step, str)]
    model = models[inside[-1]] if inside else File
    return {name: model_field.description or name for name, model_field in model.model_fields.items()}


def _bad_value(error: ErrorDetails, document: Document) -> str:
    location = error["loc"]
    found = f"found {document.found(location, error['input'])}"
    if error["type"] == "value_error":
        return f"{found}, {error['ctx']['error']}"
    raw = document.raw.get(location) if error["type"] == "string_type" else None
    return f"{found}, wanted {WANTED[error['type']]}" + (f": write it as {quoted(raw)}" if raw else "")
