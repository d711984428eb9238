"""The kernel -> the unix sockets of this network namespace, and which of them are connected to each other.

/proc/net/unix tells no peers; sock_diag(7) does, to anybody.  `ss -x` asks the same, but may not be installed.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_NAME, _VFS, _PEER, _ICONS = range(4)  # unix_diag.h: the attributes
_SHOW = 0b1111  # all four
_LISTEN = 10  # tcp_states.h
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_SOCKET = struct.Struct("=BBBxI8x")  # struct unix_diag_msg
_FILE = struct.Struct("=II")  # struct unix_diag_vfs
_MINOR_BITS = 20  # kdev_t.h
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr
_BUFFER = 1 << 16  # bytes; the kernel sends no longer message
_DEADLINE = 5.0  # seconds


class File(NamedTuple):
    """What tells a file from any other, whatever path leads to it: its device, and the low 32 bits of its inode."""

    device: int
    inode: int


def file_of(path: str) -> File | None:
    """None if there is no such file, or it may not be looked at."""
    try:
        stat = os.stat(path)  # noqa: PTH116  no Path is needed for it
    except (OSError, ValueError):
        return None
    device = os.major(stat.st_dev) << _MINOR_BITS | os.minor(stat.st_dev)  # as the kernel has it inside
    return File(device, stat.st_ino & 0xFFFFFFFF)


class UnixSocket(NamedTuple):
    """`name` is the path that was bound, or @name; empty at the end that connected.

    `file`: None for a socket without one.  `waiting`: inodes of clients that are not served yet.
    """

    inode: int
    listening: bool
    name: str
    file: File | None
    peer: int
    waiting: tuple[int, ...]


def unix_sockets() -> tuple[UnixSocket, ...]:
    """:raise OSError: the kernel does not tell (a container, a hardened service)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_DEADLINE)
        request = _REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW, 0, 0)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + request)
        return tuple(_answers(kernel))


def _answers(kernel: socket.socket) -> Iterator[UnixSocket]:
    while True:
        data = kernel.recv(_BUFFER)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", data, _HEADER.size)
                raise OSError(-code, "sock_diag refused")
            yield _socket(data[_HEADER.size : length])
            data = data[_aligned(length) :]


def _socket(message: bytes) -> UnixSocket:
    _, _, state, inode = _SOCKET.unpack_from(message)
    attributes = dict(_attributes(message[_SOCKET.size :]))
    name = attributes.get(_NAME, b"")
    text = "@" + name[1:].decode(errors="replace") if name.startswith(b"\0") else name.decode(errors="replace")
    inode_of_file, device = _FILE.unpack(attributes.get(_VFS, bytes(_FILE.size)))
    waiting = attributes.get(_ICONS, b"")
    return UnixSocket(
        inode,
        state == _LISTEN,
        text.rstrip("\0"),
        File(device, inode_of_file) if inode_of_file else None,
        int.from_bytes(attributes.get(_PEER, b""), sys.byteorder),
        tuple(client for (client,) in struct.iter_unpack("=I", waiting) if client),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
