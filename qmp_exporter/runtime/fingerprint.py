"""A path -> what changes when the file behind it does."""

import os
from pathlib import Path

Stamp = tuple[int, ...]


def file_fingerprint(path: str | Path) -> Stamp | None:
    """None: there is no file, or no way to it."""
    try:
        seen = os.stat(path)  # noqa: PTH116  no Path is needed for it
    except OSError:
        return None
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
