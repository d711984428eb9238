"""One value of a configuration file → what it means, or the sentence that says what was wanted instead."""

import ipaddress
import os
import pwd
import re
import unicodedata
from collections.abc import Collection
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from qmp_exporter.documents.duration import DURATION, between

LABEL_NAME: Final = "[a-zA-Z_][a-zA-Z0-9_]*"
FILE_NAME: Final = r"(?P<vm>[^/]+?)(\.[^/.]*)?$"  # without what is after its last dot
# Prometheus sets instance and job; le and quantile belong to histograms and summaries.
NEVER_A_LABEL: Final = frozenset({"vm", "instance", "job", "le", "quantile"})


class Known(NamedTuple):
    """What the catalog of metrics has, which this package does not know by itself."""

    labels: Collection[str] = ()  # that its metrics set themselves
    groups: Collection[str] = ()  # that can be switched off
    users: bool = True  # false: those of this host are not those that the file is for


NOTHING: Final = Known()


def printable(value: str) -> str:
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"wanted text without control characters, U+{ord(character):04X} is one")
    return value


def vm_name(value: str) -> str:
    if not 1 <= len(value) <= 128:
        raise ValueError(f"with {len(value)} characters, wanted 1 to 128")
    return printable(value)


def socket_address(value: str) -> str:
    printable(value)
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


def _kvm_stat(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]{0,63}", name):
        raise ValueError("wanted a name of KVM, such as exits: small letters, digits and _")
    return name


def _glob(value: str) -> str:
    if not re.fullmatch("/.*[^/]", printable(value)):
        raise ValueError("wanted an absolute path, in which * stands for any part of a name")
    return value


_WANTED_PATTERN: Final = r"a regular expression with a group named vm, such as (?P<vm>[^/]+)\.sock$"


def _pattern(value: object) -> re.Pattern[str]:
    if not isinstance(value, str):
        raise ValueError(f"wanted {_WANTED_PATTERN}")  # noqa: TRY004  pydantic turns no other into an error of the file
    try:
        pattern = re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"wanted a regular expression: {error}") from error
    if "vm" not in pattern.groupindex:
        raise ValueError(f"wanted {_WANTED_PATTERN}")
    return pattern


def _owner(value: object, info: ValidationInfo) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return value
    if not _known(info).users and isinstance(value, str) and value:
        return os.getuid()
    try:
        return pwd.getpwnam(value if isinstance(value, str) else "").pw_uid
    except (KeyError, ValueError):
        raise ValueError("wanted a user of this host, by name or number") from None


def _unix_group(value: object) -> str:
    """Whether there is one is seen where it is used: a configuration may be checked on another host."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return str(value)
    if not isinstance(value, str) or not re.fullmatch(r"[\w.][\w.-]{0,31}", value, re.ASCII):
        raise ValueError("wanted a group, by name or number")
    return value


def _own_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("wanted an absolute path, where the exporter makes the socket")
    return socket_address(value)


def _libvirt_uri(value: str) -> str:
    """A remote one would have the exporter tell of another host under this one's name."""
    if value not in ("qemu:///system", "qemu:///session"):
        raise ValueError("wanted qemu:///system or qemu:///session: of another host, an exporter there can tell")
    return value


def _mode(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch("0?[0-7]{3}", value):
        raise ValueError('wanted the permissions of the socket in quotes, such as "0660"')
    return int(value, 8)


_TEXT = {"type": "string", "pattern": f"^(?=.){DURATION}$"}
PollInterval = Annotated[float, BeforeValidator(between("1s", "1h", "15s or 1m30s")), WithJsonSchema(_TEXT)]
Grace = Annotated[float, BeforeValidator(between("0s", "24h", "15m or 1h30m")), WithJsonSchema(_TEXT)]
Name = Annotated[str, AfterValidator(vm_name), Field(description="the VM's name: the label vm of its metrics")]
Socket = Annotated[str, AfterValidator(socket_address), Field(description="its monitor: /path, @name or tcp:host:port")]
LabelName = Annotated[
    str, AfterValidator(_label_name), WithJsonSchema({"type": "string", "pattern": f"^{LABEL_NAME}$"})
]
Labels = dict[LabelName, Annotated[str, AfterValidator(printable)]]
Group = Annotated[str, AfterValidator(_group)]
KvmStat = Annotated[str, AfterValidator(_kvm_stat)]
Glob = Annotated[str, AfterValidator(_glob)]
Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern), WithJsonSchema({"type": "string", "format": "regex"})]
Owner = Annotated[int, BeforeValidator(_owner), WithJsonSchema({"type": ["string", "integer"]})]
UnixGroup = Annotated[str, BeforeValidator(_unix_group), WithJsonSchema({"type": ["string", "integer"]})]
OwnPath = Annotated[str, AfterValidator(_own_path)]
LibvirtUri = Annotated[
    str, AfterValidator(_libvirt_uri), WithJsonSchema({"type": "string", "enum": ["qemu:///system", "qemu:///session"]})
]
Mode = Annotated[int, BeforeValidator(_mode), WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"})]
