"""What the web process may ask the watcher, and what the watcher answers <-> bytes.

There is nothing else between the two.  Each frame is a length, the number of the request, a kind and a content.  A
request is one frame.  An answer is its head, its body in any number of pieces, and an end.
"""

import enum
import struct
from typing import Final, NamedTuple

import msgspec

FRAME: Final = struct.Struct("<IIB")  # bytes of the content, number of the request, kind
MAX_REQUEST: Final = 64 << 10  # bytes; the header of an HTTP request, which is in it, has 32 KiB at most
MAX_PIECE: Final = 256 << 10  # bytes of an answer at a time: more would hold the event loop
UNDER_WAY: Final = 16  # requests at most, of any kind: a page or the JSON, and room for who reloads


class ChannelError(ValueError):
    """What came is not what the other process sends; says what was wanted."""


class Page(msgspec.Struct, frozen=True, tag="page"):
    """The metrics; `compressed`: as gzip."""

    openmetrics: bool
    compressed: bool = False
    collect: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Overview(msgspec.Struct, frozen=True, tag="overview"):
    """The JSON of /api/v1/targets; `compressed`: as gzip."""

    compressed: bool = False


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Whether every target was tried, and every source of targets works."""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Read the configuration again."""


class BlackBox(msgspec.Struct, frozen=True, tag="black_box"):
    """What a VM said before its last trouble began, as a recorded session; 404 where nothing was kept."""

    vm: str


class Healthy(msgspec.Struct, frozen=True, tag="healthy"):
    """Whether the event loop of the watcher turns; the answer alone says it."""


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """What the web process counts.  It is no question; the first one says that it serves, each that it is alive."""

    web_config_successful: float = 1.0
    connections: dict[str, float] = {}  # by phase
    closed: dict[str, float] = {}  # by reason
    refused: dict[str, float] = {}  # by reason


Question = Page | Overview | BlackBox | Ready | Reload | Healthy
Request = Question | Numbers


class Answer(msgspec.Struct, frozen=True):
    """The head of an answer.  `status` is one of HTTP; a body that is `compressed` is gzip."""

    status: int = 200
    compressed: bool = False


class Kind(enum.IntEnum):
    REQUEST = 0
    ANSWER = 1
    PIECE = 2  # of the body
    END = 3
    FAILED = 4  # instead of the rest of the answer, because of a bug


class Frame(NamedTuple):
    number: int
    kind: Kind
    content: bytes


_to_bytes = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(Request).decode
_answer = msgspec.msgpack.Decoder(Answer).decode


def encode(message: Request | Answer) -> bytes:
    return _to_bytes(message)


def request(frame: Frame) -> Request:
    """:raise ChannelError: it is none."""
    if frame.kind is not Kind.REQUEST:
        raise ChannelError(f"found a frame of kind {frame.kind.name}, wanted a request")
    try:
        return _request(frame.content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ChannelError(f"found no request: {error}") from error


def answer(content: bytes) -> Answer:
    """:raise ChannelError: it is none."""
    try:
        return _answer(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ChannelError(f"found no answer: {error}") from error


def header(head: bytes, most: int) -> tuple[int, int, Kind]:
    """The nine bytes before a content -> its length, number and kind.

    :raise ChannelError: it would be longer than `most`, or its kind is none.
    """
    length, number, kind = FRAME.unpack(head)
    if length > most:
        raise ChannelError(f"found a frame of {length} bytes, wanted {most} at most")
    try:
        return length, number, Kind(kind)
    except ValueError:
        raise ChannelError(f"found a frame of kind {kind}, wanted one of 0 to {max(Kind)}") from None
