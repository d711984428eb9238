"""Chunks of bytes as they arrive -> whole lines, none longer than the limit."""


class Lines:
    """Splits a stream at newlines.  A line of more than `limit` bytes is skipped and counted in `too_long`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parts: list[bytes] = []  # of the line that is not at its end yet; joined once, not copied per chunk
        self._length = 0
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
        return self._length > 0 or self._skipping

    def _extend(self, part: bytes) -> None:
        if not part or self._skipping:
            return
        self._length += len(part)
        if self._length > self.limit:
            self._parts.clear()
            self._length = 0
            self._skipping = True
            self.too_long += 1
        else:
            self._parts.append(part)

    def _complete(self) -> bytes:
        line = b"".join(self._parts)
        self._parts.clear()
        self._length = 0
        self._skipping = False
        return line

    def _bounded(self, line: bytes) -> bytes:
        if len(line) > self.limit:
            self.too_long += 1
            return b""
        return line
