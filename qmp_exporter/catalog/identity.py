"""Replies to query-name and query-uuid -> who a VM is, as far as it can be told by them."""

import re
from typing import NamedTuple

import msgspec

from qmp_exporter.catalog.vm import NameInfo, UuidInfo
from qmp_exporter.core.family import printable
from qmp_exporter.core.protocol import Answer
from qmp_exporter.core.wire import typed

_decode_name = msgspec.json.Decoder(NameInfo).decode
_decode_uuid = msgspec.json.Decoder(UuidInfo).decode
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Identity(NamedTuple):
    """Either is empty where QEMU was not given one, or one that makes no label of its own, or knows no such command."""

    name: str = ""
    uuid: str = ""


def name_in(answer: Answer) -> str:
    """:raise BadMessage: it is no answer to query-name."""
    name: str = "" if answer.value is None else typed(_decode_name, answer.value).name
    return name if printable(name) == name else ""  # two that differ in what is not printed would have the same series


def uuid_in(answer: Answer) -> str:
    """:raise BadMessage: it is no answer to query-uuid."""
    uuid: str = "" if answer.value is None else typed(_decode_uuid, answer.value).uuid.lower()
    return uuid if _UUID.fullmatch(uuid) and uuid.strip("0-") else ""
