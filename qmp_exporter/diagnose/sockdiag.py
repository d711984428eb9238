"""The kernel -> the unix sockets of this network namespace, and which of them are connected to each other.

/proc/net/unix tells no peers; sock_diag(7) does, to anybody.  `ss -x` asks the same, but may not be installed.
"""

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
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr
_BUFFER = 1 << 16  # bytes; the kernel sends no longer message
_DEADLINE = 5.0  # seconds


class UnixSocket(NamedTuple):
    """`name` is the path that was bound, or @name; empty at the end that connected.

    `file`: the low 32 bits of the inode of the socket file.  `waiting`: inodes of clients that are not served yet.
    """

    inode: int
    listening: bool
    name: str
    file: int
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
    file = attributes.get(_VFS, b"")[:4]
    waiting = attributes.get(_ICONS, b"")
    return UnixSocket(
        inode,
        state == _LISTEN,
        text.rstrip("\0"),
        int.from_bytes(file, sys.byteorder),
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
