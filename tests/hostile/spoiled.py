"""A good message and chance -> the same one spoiled, as bytes: in its bytes, in its members, or in what it says."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

RAW = "raw:"  # a string that begins so stands for itself without its quotes: what no encoder would write
NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308)
TEXTS = (
    *("", "x" * 129, "x" * 5000, "\ud800", "\udfff\ud800", "\x00", "\x1b[2J", "\n", '"', "\\", "\u2028", "\u202e"),
    *(
        "\U0001f4a5" * 60,
        "running",
        "on-fire",
        "preconfig",
        "STOP",
        "any event",
        "connected",
        "query-status",
        "/machine/",
    ),
)
RAWS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E+400", "00", "+1", ".5", "0x10", "tru", "nul", "'a'", "")
MEMBERS = ("id", "event", "data", "return", "error", "QMP", "timestamp", "status", "device", "clients", "type")


def encoded(value: Any) -> bytes:
    """JSON, with lone surrogates escaped and raw pieces as they are."""
    text = json.dumps(value)
    while (start := text.find(f'"{RAW}')) >= 0:
        end = text.index('"', start + 1)
        text = text[:start] + text[start + 1 + len(RAW) : end] + text[end + 1 :]
    return text.encode()


def odd(rng: Random) -> Any:
    """A value that nobody expects in its place."""
    return rng.choice(ODD)(rng)


ODD: tuple[Callable[[Random], Any], ...] = (
    lambda rng: rng.choice(NUMBERS),
    lambda rng: rng.choice(TEXTS),
    lambda rng: RAW + rng.choice(RAWS),
    lambda rng: rng.choice((None, True, False, [], {}, [[]], [{}], {"": None})),
    lambda rng: nested(rng.choice((5, 100, 30_000))),
    lambda rng: [odd(rng) for _ in range(rng.randrange(4))],
    lambda rng: {rng.choice(MEMBERS): odd(rng) for _ in range(rng.randrange(3))},
    lambda rng: f"name{rng.randrange(100_000)}",
)


def nested(depth: int) -> str:
    return RAW + "[" * depth + "]" * depth


def at_some_place(value: Any, rng: Random, change: Callable[[Any, Any], None]) -> Any:
    """A copy in which one container, found by chance, was changed at one of its keys."""
    copy = json.loads(json.dumps(value))
    containers = [one for one in walk(copy) if one]
    where = rng.choice(containers or [[None]])
    change(where, rng.choice(list(where)) if isinstance(where, dict) else rng.randrange(len(where)))
    return copy


def walk(value: Any) -> list[Any]:
    """-> all lists and objects in it"""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(found for one in inner for found in walk(one))]


def replaced(message: Any, rng: Random) -> bytes:
    return encoded(at_some_place(message, rng, lambda where, key: where.__setitem__(key, odd(rng))))


def removed(message: Any, rng: Random) -> bytes:
    return encoded(at_some_place(message, rng, lambda where, key: where.__delitem__(key)))


def added(message: Any, rng: Random) -> bytes:
    def add(where: Any, _key: Any) -> None:
        if isinstance(where, dict):
            where[rng.choice(MEMBERS)] = odd(rng)
        else:
            where.extend(where * rng.choice((1, 1, 40)))

    return encoded(at_some_place(message, rng, add))


def renamed(message: Any, rng: Random) -> bytes:
    """One more disk, one more job, one more client: the same message under a name not heard before."""

    def rename(where: Any, key: Any) -> None:
        if isinstance(where[key], str):
            where[key] = f"{where[key][:20]}-{rng.randrange(10_000)}"
        elif isinstance(where[key], int):
            where[key] = rng.randrange(2**40)

    return encoded(at_some_place(message, rng, rename))


def flipped(message: Any, rng: Random) -> bytes:
    line = bytearray(encoded(message))
    for _ in range(rng.choice((1, 1, 5))):
        line[rng.randrange(len(line))] = rng.randrange(256)
    return bytes(line)


def cut(message: Any, rng: Random) -> bytes:
    line = encoded(message)
    start, end = sorted(rng.randrange(len(line) + 1) for _ in range(2))
    return line[:start] + line[end:]


def doubled(message: Any, rng: Random) -> bytes:
    line = encoded(message)
    start, end = sorted(rng.randrange(len(line) + 1) for _ in range(2))
    return line[:end] + line[start:]


WAYS = (replaced, replaced, removed, added, renamed, renamed, flipped, cut, doubled)


def spoiled(message: Any, rng: Random) -> bytes:
    """-> one line, or what was one, without its end"""
    return rng.choice(WAYS)(message, rng)
