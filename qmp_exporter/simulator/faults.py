"""What can go wrong with a monitor, as data. Told to a Monitor: `monitor.inject(Stall("query-block"))`.

Slow replies are a Stall with `seconds`; rubbish on the wire is Garbage with one of the ready-made pieces
below; a monitor that never says anything is NoGreeting.

"now" means the client that is connected, or else the next one as soon as it has negotiated;
"greeting" means in place of the greeting; "negotiated" means right behind the capabilities reply, in
the same write. The two latter hold for every client that comes, until they are healed.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from qmp_exporter.simulator.wire import Json

Moment = Literal["now", "greeting", "negotiated"]


@dataclass(frozen=True)
class Stall:
    """Commands hang for `seconds`, or until healed: all of them, or the given one.

    With `in_order`, as in QEMU, whatever comes after a hanging command waits for it; without, it overtakes.
    Events go on, because the one who makes them happen is a test and not a main loop that hangs.
    """

    command: str | None = None
    seconds: float | None = None
    in_order: bool = True


@dataclass(frozen=True)
class NoGreeting:
    """The client is accepted and hears nothing, whatever it says."""


@dataclass(frozen=True)
class EarlyEvents:
    """Events that come before the greeting, or after it and before the reply to qmp_capabilities."""

    before: Literal["greeting", "capabilities"]
    events: tuple[tuple[str, Json | None], ...] = (("STOP", None),)


@dataclass(frozen=True)
class Garbage:
    data: bytes
    at: Moment = "now"


@dataclass(frozen=True)
class Endless:
    """A line that never ends: `start`, and then `filler` as fast as the client reads, up to `limit` bytes."""

    start: bytes = b'{"QMP": {"version": {"package": "'
    filler: bytes = b"x" * 65536
    limit: int | None = None
    at: Moment = "greeting"


@dataclass(frozen=True)
class HangUp:
    """The connection is closed: at once, after so many more bytes, or in the middle of the next message."""

    after_bytes: int | None = None
    mid_message: bool = False
    at: Moment = "now"


@dataclass(frozen=True)
class Flood:
    """Events at a rate, `count` of them or until healed. QEMU buffers without bound for who does not read."""

    events_per_second: float
    count: int | None = None
    event: str = "BLOCK_IO_ERROR"
    data: Any = None


@dataclass(frozen=True)
class WrongId:
    """Replies, all or those to one command, bear an id that nobody has sent."""

    command: str | None = None
    id: Any = "nobody"


@dataclass(frozen=True)
class StrayReply:
    """A reply that nobody has asked for; give a `message` without id, and nobody can tell whose it is."""

    message: Json = field(default_factory=lambda: {"return": {}, "id": "nobody"})


Fault = Stall | NoGreeting | EarlyEvents | Garbage | Endless | HangUp | Flood | WrongId | StrayReply

# --- pieces of garbage ---

BAD_JSON = b'{"event": STOP}\r\n'
INVALID_UTF8 = b'{"event": "\xff\xfe"}\r\n'
BLANK_LINE = b"\r\n"
WRONG_TYPES = (
    b"[]\r\n",
    b"5\r\n",
    b'"STOP"\r\n',
    b"null\r\n",
    b"{}\r\n",
    b'{"event": ["STOP"]}\r\n',
    b'{"event": null}\r\n',
    b'{"event": "STOP", "data": 5}\r\n',
    b'{"event": "STOP", "timestamp": "now"}\r\n',
    b'{"event": "STOP", "timestamp": {"seconds": "1", "microseconds": null}}\r\n',
    b'{"error": "no"}\r\n',
)


def deep_nesting(depth: int = 100_000) -> bytes:
    return b"[" * depth + b"]" * depth + b"\r\n"


def long_line(size: int) -> bytes:
    """A message that is right in all but its size."""
    return b'{"event": "STOP", "data": {"padding": "' + b"x" * size + b'"}}\r\n'
