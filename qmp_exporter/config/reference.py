"""The models of the configuration -> its reference in Markdown, which is docs/configuration.md."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from qmp_exporter.config.schema import json_schema
from qmp_exporter.documents.duration import DURATION

_INTRODUCTION = """# Configuration

Generated from the models by `make docs`. [config.example.yaml](../config.example.yaml) is a file to begin with,
[config.schema.json](../deploy/config.schema.json) the same as below for editors and other programs.

    qmp-exporter check-config /etc/qmp-exporter/config.yaml

names every mistake with its line and column, exit status 2. That is also for what does not work on this host: a file
of `files` that is wrong or that the exporter may not read, a name or a socket that stands twice, a `listen` whose
directory or group there is not. What may be right, such as the socket of a VM that is off, is a warning: exit status 0,
or with `--strict` 1. `--syntax-only` looks at the file alone, for CI on another machine.

`systemctl reload qmp-exporter` takes a changed file: VMs that did not change keep their connection and their counters,
and a file with a mistake changes nothing.

A file has `vms`, `discover`, `listen`, `libvirt`, `files` or several of them. A list or a mapping may be left empty, as
when all that stands in it is commented out. A duration is like `15s`, `1m30s` or `500ms`.
"""

# What stands before a section, by the name of the model that is shown in it.
_WORDS: Final = {
    "": ("At the top", ""),
    "VM": ("An entry of `vms`", "A file that `files` names is a list of such entries and nothing else."),
    "DiscoverEntry": ("An entry of `discover`", "Sockets that are found are met within 5 seconds."),
    "ListenEntry": (
        "An entry of `listen`",
        "QEMU connects to this socket of the exporter: [how](../deploy/README.md#or-let-the-vm-dial-in).",
    ),
    "LibvirtEntry": (
        "An entry of `libvirt`",
        "The domains of a libvirt that runs here, none of which has to be changed: [how](quickstart-libvirt.md).",
    ),
    "Metrics": ("`metrics`", "At the top it holds for all; in an entry it holds instead of what stands at the top."),
}
# What a key may look like in a file, by model and key; without one the default is shown.
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "": {
        "poll_interval": "30s",
        "query_block": False,
        "metrics": {"disable": ["block_latency"]},
        "vms": [{"name": "web01", "socket": "/run/qmp/web01.sock"}],
        "discover": [{"glob": "/run/qmp/*.sock"}],
        "listen": [{"socket": "/run/qmp-exporter/dial-in.sock"}],
        "libvirt": [{"uri": "qemu:///system"}],
        "files": ["/etc/qmp-exporter/targets.d/*.yaml"],
    },
    "VM": {
        "name": "web01",
        "socket": "/run/qmp/web01.sock",
        "labels": {"tenant": "acme"},
        "allow_shared_monitor": True,
        "owner": "root",
        "visit": True,
        "query_block": False,
        "metrics": {"disable": ["display"]},
    },
    "DiscoverEntry": {
        "glob": "/run/qmp/*.sock",
        "name_from": "name",
        "name": r"^(?P<vm>[^.]+)",
        "exclude": ["test-*", "/run/qmp/old.sock"],
        "owner": "root",
        "visit": True,
        "grace": "5m",
        "labels": {"tier": "gold"},
        "allow_shared_monitor": True,
        "query_block": False,
        "metrics": {"disable": ["display"]},
    },
    "ListenEntry": {
        "socket": "/run/qmp-exporter/dial-in.sock",
        "name_from": "uuid",
        "mode": "0660",
        "group": "kvm",
        "grace": "5m",
        "labels": {"tier": "gold"},
        "query_block": False,
        "metrics": {"disable": ["display"]},
    },
    "LibvirtEntry": {
        "socket": "/run/libvirt/libvirt-sock",
        "uri": "qemu:///session",
        "commands": True,
        "poll_interval": "1m",
        "activate": True,
        "grace": "5m",
        "labels": {"tier": "gold"},
        "query_block": False,
        "metrics": {"disable": ["display"]},
    },
    "Metrics": {"disable": ["block_latency", "display"], "kvm_stats": ["exits", "halt_wait_ns"]},
}
_TYPES: Final = {"boolean": "true or false", "integer": "number", "object": "mapping of text", "string": "text"}


def reference() -> str:
    """The whole page."""
    schema = json.loads(json_schema())
    models = {"": schema, **schema.get("$defs", {})}
    ordered = [*_WORDS, *(name for name in models if name not in _WORDS)]
    return "\n".join((_INTRODUCTION, *(line for name in ordered for line in _section(name, models))))


def _section(name: str, models: dict[str, Any]) -> Iterator[str]:
    title, words = _WORDS.get(name, (f"`{name}`", ""))
    yield f"## {title}\n"
    if words:
        yield f"{words}\n"
    yield "| Key | Type | Default | Meaning | Example |"
    yield "|---|---|---|---|---|"
    required = models[name].get("required", [])
    for key, field in models[name]["properties"].items():
        default = "needed" if key in required else _code(field.get("default"))
        example = EXAMPLES.get(name, {}).get(key, field.get("default"))
        meaning = _cell(field.get("description", ""))
        yield f"| `{key}` | {_type(field, models)} | {default} | {meaning} | {_code({key: example})} |"
    yield ""


def _type(field: dict[str, Any], models: dict[str, Any]) -> str:
    """In the words of a person who writes the file."""
    kinds = field.get("anyOf") or [{"type": kind} for kind in field.get("type", ()) if isinstance(field["type"], list)]
    if kinds:
        return " or ".join(_type(kind, models) for kind in kinds if kind != {"type": "null"})
    if reference := field.get("$ref", "").rpartition("/")[2]:
        return f"[mapping](#{_anchor(_WORDS.get(reference, (reference, ''))[0])})"
    if field["type"] == "array":
        return f"list of {_type(field['items'], models)}"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if DURATION in field.get("pattern", ""):
        return "duration"
    return "regular expression" if field.get("format") == "regex" else _TYPES[field["type"]]


def _code(value: Any) -> str:
    """A value as YAML, in the flow style, which is JSON with fewer quotes."""
    return "" if value is None else f"`{_cell(_yaml(value))}`"


def _yaml(value: Any, *, inside: bool = False) -> str:
    match value:
        case dict():
            pairs = ", ".join(f"{key}: {_yaml(item, inside=True)}" for key, item in value.items())
            return f"{{{pairs}}}" if inside or len(value) != 1 else pairs
        case list():
            return f"[{', '.join(_yaml(item, inside=True) for item in value)}]"
        case str() if not re.fullmatch(r"[A-Za-z/][\w/.-]*|[0-9]+[hms]", value):
            return "'" + value.replace("'", "''") + "'"
        case str():
            return value
    return json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _anchor(title: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
