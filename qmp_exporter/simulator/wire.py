"""Bytes of a monitor socket, cut anywhere -> whole JSON texts and requests; messages -> bytes as QEMU writes them."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]

# QEMU's own limits (qobject/json-streamer.c).
MAX_DEPTH = 1024
MAX_TEXT_BYTES = 64 << 20

_BLANK = re.compile(rb"\s*")
_OUTSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'["\\]')
_WORD_END = re.compile(rb'[\s{}\[\]",:]')
_PARSE_ERRORS = {
    "Expecting ':' delimiter": "missing : in object pair",
    "Invalid \\escape": "invalid escape sequence in string",
    "Invalid \\uXXXX escape": "invalid escape sequence in string",
    "Illegal trailing comma before end of array": "expecting value",  # from Python 3.13 on
    "Illegal trailing comma before end of object": "expecting value",
}


class QmpError(Exception):
    """What QEMU answers instead of a return; `desc` is QEMU's own wording, which clients match on."""

    def __init__(self, desc: str, error_class: str = "GenericError", request_id: Any = None) -> None:
        super().__init__(desc)
        self.desc = desc
        self.error_class = error_class
        self.request_id = request_id


class Request(NamedTuple):
    """A command as a client sent it; `reply` is what the reply has of it: the id, if there was one."""

    execute: str
    arguments: Json
    reply: Json


def encode(message: Json, *, pretty: bool = False) -> bytes:
    # json's default separators are QEMU's own, and so is the CR LF.
    text = json.dumps(message, indent=4 if pretty else None)
    return text.replace("\n", "\r\n").encode() + b"\r\n"


class JsonStream:
    """Input of one client. Clients send no newline, so only counting brackets tells where a text ends.

    Each byte is looked at once (by a regular expression, not one by one), so a text that arrives in
    a thousand pieces costs no more than one in one piece.
    """

    def __init__(self) -> None:
        self._pieces = bytearray()
        self._scanned = 0
        self._begun = False
        self._is_word = False
        self._in_string = False
        self._braces = 0
        self._brackets = 0

    def feed(self, data: bytes) -> Iterator[bytes | QmpError]:
        self._pieces += data
        while (text := self._next()) is not None:
            yield text

    def _next(self) -> bytes | QmpError | None:
        if not self._begun and not self._begin():
            return None
        try:
            end = self._end_of_word() if self._is_word else self._end_of_text()
        except QmpError as error:
            self._forget(self._scanned)
            return error
        if end is None:
            return None
        text = bytes(self._pieces[:end])
        self._forget(end)
        return text

    def _begin(self) -> bool:
        """Cuts off the white space between two texts; tells whether a text begins."""
        blank = _BLANK.match(self._pieces)
        del self._pieces[: blank.end() if blank else 0]
        self._begun = bool(self._pieces)
        self._is_word = self._begun and self._pieces[0] not in b'{}[]"'
        return self._begun

    def _end_of_word(self) -> int | None:
        # A bare word or number ends where something else begins, and not before: `nul` may become `null`.
        found = _WORD_END.search(self._pieces, max(self._scanned, 1))
        self._scanned = len(self._pieces)
        if found is None:
            self._check_size()
            return None
        return found.start()

    def _end_of_text(self) -> int | None:
        while found := (_IN_STRING if self._in_string else _OUTSIDE).search(self._pieces, self._scanned):
            if found[0] == b"\\":
                if found.end() == len(self._pieces):
                    self._scanned = found.start()  # what it escapes has not come yet: look at it again then
                    return None
                self._scanned = found.end() + 1
                continue
            self._scanned = found.end()
            if self._ends_with(found[0]):
                return self._scanned
            if self._braces + self._brackets > MAX_DEPTH:
                raise QmpError("JSON nesting depth limit exceeded")
        self._scanned = len(self._pieces)
        self._check_size()
        return None

    def _ends_with(self, character: bytes) -> bool:
        """Counts one character; tells whether the text ends with it, well or badly."""
        if character == b'"':
            self._in_string = not self._in_string
        else:
            self._braces += (character == b"{") - (character == b"}")
            self._brackets += (character == b"[") - (character == b"]")
        closed = not (self._in_string or self._braces or self._brackets)
        return closed or self._braces < 0 or self._brackets < 0

    def _check_size(self) -> None:
        if len(self._pieces) > MAX_TEXT_BYTES:
            raise QmpError("JSON token size limit exceeded")

    def _forget(self, count: int) -> None:
        del self._pieces[:count]
        self._scanned = self._braces = self._brackets = 0
        self._begun = self._is_word = self._in_string = False


def parse_request(text: bytes) -> Request:
    """One JSON text -> the request in it, or QmpError in the order of QEMU's own checks (qmp-dispatch.c)."""
    message = _parse(text)
    if not isinstance(message, dict):
        raise QmpError("QMP input must be a JSON object")
    request_id = {"id": message["id"]} if "id" in message else None
    for member, value in message.items():
        if member == "execute":
            if not isinstance(value, str):
                raise QmpError("QMP input member 'execute' must be a string", request_id=request_id)
        elif member == "arguments":
            if not isinstance(value, dict):
                raise QmpError("QMP input member 'arguments' must be an object", request_id=request_id)
        elif member != "id":
            raise QmpError(f"QMP input member '{member}' is unexpected", request_id=request_id)
    if "execute" not in message:
        raise QmpError("QMP input lacks member 'execute'", request_id=request_id)
    return Request(message["execute"], message.get("arguments", {}), request_id or {})


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise QmpError("JSON parse error, invalid UTF-8 sequence in string") from None
    except json.JSONDecodeError as error:
        raise QmpError(f"JSON parse error, {_wording(error)}") from None


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise QmpError("JSON parse error, duplicate key")
    return members


def _wording(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :]
    if error.msg == "Expecting ',' delimiter":
        return "expected separator in " + ("dict" if error.doc.startswith("{") else "list")
    if error.msg.startswith("Expecting property name"):
        return "key is not a string in object" if rest[:1].isalnum() else "expecting value"
    if error.msg == "Expecting value":
        word = re.match(r"[A-Za-z]\w*", rest)
        return f"invalid keyword '{word[0]}'" if word else "expecting value"
    return _PARSE_ERRORS.get(error.msg, "stray '\\uFFFD'")
