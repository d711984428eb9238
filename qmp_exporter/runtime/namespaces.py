"""A process -> the network namespace that it is in, as far as it can be told from others."""

import os


def network_namespace(pid: int | str) -> int | None:
    """What tells one from another; None: no such process.  The links in /proc/PID/ns are for their owner alone."""
    try:
        return os.stat(f"/proc/{pid}/net/dev").st_ino  # noqa: PTH116  no Path is needed for it
    except OSError:
        return None
