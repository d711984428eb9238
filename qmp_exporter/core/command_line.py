"""QEMU's command line -> the values of its options, and the disks that it was started with."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from .wire import UNREADABLE


class Disk(NamedTuple):
    """A -device with a drive: the id of a -drive or a node's name, and the device's own id; an absent name is empty."""

    device: str  # the drive id; empty with -blockdev
    qdev: str
    node: str


def uuid(argv: Sequence[str]) -> str:
    """What -uuid says; empty where it is not given."""
    return next(values(argv, "-uuid"), "").lower()


def disks(argv: Sequence[str]) -> list[Disk]:
    drives = {options(value, first="file").get("id", "") for value in values(argv, "-drive")}
    devices = (options(value, first="driver") for value in values(argv, "-device"))
    return [
        Disk(drive, one.get("id", ""), "") if drive in drives else Disk("", one.get("id", ""), drive)
        for one in devices
        if (drive := one.get("drive", ""))
    ]


def values(argv: Sequence[str], option: str) -> Iterator[str]:
    """An option's values, be it written with one dash or two."""
    return (value for name, value in pairwise(argv) if name in {option, "-" + option})


def options(value: str, first: str) -> dict[str, str]:
    """`socket,id=a,server` -> {first: "socket", "id": "a", "server": "on"}; ,, is a comma in a value."""
    if value.startswith("{"):
        return _json_options(value)
    given = {}
    for number, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if number == 0 and not equals:
            key, text = first, key
        elif not equals:
            key, text = (key[2:], "off") if key.startswith("no") else (key, "on")
        given[key] = text
    return given


def _json_options(value: str) -> dict[str, str]:
    """`{"id": "a", "server": true}` -> {"id": "a", "server": "on"}; members of members as if they were its own."""
    try:
        leaves = dict(_leaves(msgspec.json.decode(value)))
    except UNREADABLE:  # any process may have such a command line, and nest as deeply as it likes
        return {}
    words = {True: "on", False: "off"}
    return {
        key: words[leaf] if isinstance(leaf, bool) else str(leaf)
        for key, leaf in leaves.items()
        if not isinstance(leaf, list)
    }


def _leaves(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield key, value
