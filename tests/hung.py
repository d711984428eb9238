"""A directory -> a file system there that never answers, like NFS whose server is gone.

It is FUSE's, and nobody serves it: whoever looks up a path below waits until the end of the block.  As root.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_NOSUID_NODEV, _DETACH = 2 | 4, 2  # mount(2), umount2(2)


@contextlib.contextmanager
def hung_file_system(directory: Path) -> Iterator[None]:
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        _check(_libc.mount(b"hung", os.fsencode(directory), b"fuse", _NOSUID_NODEV, options.encode()))
        try:
            yield
        finally:
            _check(_libc.umount2(os.fsencode(directory), _DETACH))
    finally:
        os.close(device)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
