"""A file → its text; what is wrong with it → the lines that are read in a terminal."""

import errno
import os
import select
import time
from pathlib import Path
from typing import Final

from qmp_exporter.documents.document import ConfigError, Location, Wrong, end, quoted

ERRORS_SHOWN: Final = 50
PATIENCE: Final = 5.0  # seconds
PIECE: Final = 64 << 10  # bytes
BYTES: Final = 4 << 20  # 2,000 VMs with three labels each are 0.2 MB


def content_of(path: Path, most: int) -> bytes:
    """The first bytes of a file; of a FIFO, what comes out of it within PATIENCE, for nobody may ever write into it.

    :raise OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        ends_at = time.monotonic() + PATIENCE
        content = bytearray()
        while len(content) < most:
            if not ready.poll(max(0.0, ends_at - time.monotonic()) * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "nothing comes out of it", str(path))
            piece = os.read(descriptor, min(PIECE, most - len(content)))
            if not piece:
                break
            content += piece
        return bytes(content)
    finally:
        os.close(descriptor)


def text_of(path: Path) -> str:
    try:
        raw = content_of(path, BYTES + 1)  # bounded: a device may never end
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(raw) > BYTES:
        raise ConfigError([f"{path}: found more than {BYTES >> 20} MiB, wanted a configuration"])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        place = end(raw[: error.start].decode())
        found = f"found the byte 0x{raw[error.start]:02x}, wanted text in UTF-8"
        raise ConfigError([f"{path}:{place}: {found}"]) from error


def lines(source: str, wrongs: list[Wrong]) -> list[str]:
    ordered = [
        f"{source}:{place}: {_path(location)}{text}" for place, location, text in sorted(set(wrongs), key=_order)
    ]
    more = len(ordered) - ERRORS_SHOWN
    return [*ordered[:ERRORS_SHOWN], f"and {more} more"] if more > 0 else ordered


def _order(wrong: Wrong) -> tuple[object, ...]:
    return wrong.place, _path(wrong.location), wrong.text


def _path(location: Location) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + (step if step.isidentifier() and step.isascii() else quoted(step))
    return f"{path}: " if path else ""
