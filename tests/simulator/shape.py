"""JSON values -> their common shape (member names and types); a shape and another -> where the first differs."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

TRACES = Path(__file__).parent.parent / "traces"
VERSIONS = {
    "5.2": (5, 2, 0),
    "7.2": (7, 2, 22),
    "10.0": (10, 0, 13),
    "11.1": (11, 1, 2),
}
# A shape: a type's name, or {"object": {member: shape}, "required": {...}}, or {"list": shape}; None is anything.
Shape = Any


def shape(value: Any) -> Shape:
    if isinstance(value, dict):
        return {"object": {name: shape(member) for name, member in value.items()}, "required": set(value)}
    if isinstance(value, list):
        elements = None
        for element in value:
            elements = unify(elements, shape(element))
        return {"list": elements}
    return type(value).__name__


def unify(one: Shape, other: Shape) -> Shape:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        if "list" in one:
            return {"list": unify(one["list"], other["list"])}
        members = {
            name: unify(one["object"].get(name), other["object"].get(name))
            for name in one["object"].keys() | other["object"].keys()
        }
        return {"object": members, "required": one["required"] & other["required"]}
    if {str(one), str(other)} <= {"int", "float"}:
        return "float"
    assert one == other, f"recorded as {one} and as {other}"
    return one


def differences(ours: Shape, recorded: Shape, where: str = "") -> Iterator[str]:
    """Members that were never recorded, members that always were and are missing here, other types."""
    if ours is None or recorded is None or ours == recorded:
        return
    if isinstance(ours, dict) and isinstance(recorded, dict) and ours.keys() == recorded.keys():
        if "list" in ours:
            yield from differences(ours["list"], recorded["list"], where + "[]")
            return
        for name in recorded["required"] - ours["required"]:
            yield f"{where}.{name} is missing"
        for name, member in ours["object"].items():
            if name not in recorded["object"]:
                yield f"{where}.{name} was never recorded"
            else:
                yield from differences(member, recorded["object"][name], f"{where}.{name}")
    elif not (ours == "int" and recorded == "float"):
        yield f"{where} is {ours}, recorded was {recorded}"


@cache
def recorded_shapes(version: str) -> dict[str, Shape]:
    """The greeting as "QMP", events by their names, replies by their commands."""
    shapes: dict[str, Shape] = {}
    for messages in sessions(version).values():
        for key, value in keyed(messages):
            shapes[key] = unify(shapes.get(key), shape(value))
    return shapes


@cache
def sessions(version: str) -> dict[str, list[dict[str, Any]]]:
    """The messages of each recorded session by the name of its scenario, in order."""
    files = sorted((TRACES / f"qemu-{version}").glob("*.jsonl"))
    assert files, f"no recorded sessions of {version}"
    return {f.stem: [json.loads(line)["msg"] for line in f.read_text().splitlines()] for f in files}


def keyed(messages: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    asked: dict[Any, str] = {}
    for message in messages:
        if "execute" in message:
            asked[message["id"]] = message["execute"]
        elif "event" in message:
            yield message["event"], message
        elif "QMP" in message:
            yield "QMP", message
            yield "query-version", message["QMP"]["version"]  # VersionInfo in both places, says the schema
        elif "return" in message:
            yield asked[message["id"]], message["return"]


def story(version: str, scenario: str) -> list[Any]:
    """What a session shows of the run state: events, and the states that query-status gave, in order."""
    told: list[Any] = []
    for key, value in keyed(sessions(version)[scenario]):
        if key == "query-status":
            told.append(value["status"])
        elif "event" in value:
            told.append((value["event"], value.get("data")))
    return told
