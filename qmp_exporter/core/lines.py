"""Chunks of bytes as they arrive -> whole lines, none longer than the limit."""

from typing import Final

from .budget import Budget, Share

OWN: Final = 1 << 20  # bytes of a line that any monitor has room for: the longest replies of a VM stay below
SHARED: Final = 64 << 20


class Lines:
    """Splits a stream at newlines.

    A line of more than `limit` bytes, or for which there is no room, is skipped and counted in `too_long`.
    """

    __slots__ = ("_share", "_skipping", "_unfinished", "limit", "too_long")

    def __init__(self, limit: int, budget: Budget | None = None, own: int = OWN) -> None:
        """`budget`: bytes that the unfinished lines of all monitors may have, beyond `own` for each."""
        self.limit = limit
        self._share = Share(budget or Budget(SHARED), own)
        self._unfinished = bytearray()  # one buffer: a list of the parts would cost 27 times as much for small ones
        self._skipping = False
        self.too_long = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completed, without their line ends; blank lines are left out."""
        first, *others = chunk.split(b"\n")
        self._extend(first)
        if not others:
            return []
        *whole, last = others
        lines = [self._complete(), *whole]
        if len(chunk) > self.limit:  # else none of them is too long
            lines = list(map(self._bounded, lines))
        self._extend(last)
        return [bare for line in lines if (bare := line.rstrip(b"\r"))]

    @property
    def unfinished(self) -> bool:
        """The stream stopped inside a line."""
        return bool(self._unfinished) or self._skipping

    def grow(self, limit: int, budget: Budget) -> None:
        """From now on lines may be as long, and share this budget."""
        self._share.move(budget)
        self.limit = limit

    def clear(self) -> None:
        """Forget the line that is not at its end."""
        self._unfinished = bytearray()
        self._share.resize(0)

    def _extend(self, part: bytes) -> None:
        if not part or self._skipping:
            return
        length = len(self._unfinished) + len(part)
        if length > self.limit or not self._share.resize(length):
            self.clear()
            self._skipping = True
            self.too_long += 1
        else:
            self._unfinished += part

    def _complete(self) -> bytes:
        line = bytes(self._unfinished)
        if line:
            self.clear()
        self._skipping = False
        return line

    def _bounded(self, line: bytes) -> bytes:
        if len(line) > self.limit:
            self.too_long += 1
            return b""
        return line
