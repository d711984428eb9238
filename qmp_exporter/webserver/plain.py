"""A connection to a port with TLS -> whether it speaks plain HTTP; such a one is told so, as nginx and Go do.

Without an answer a browser shows an empty page and Prometheus says EOF, as if the exporter were broken.
"""

import asyncio
import socket
from typing import Final

_WORDS: Final = b"This port speaks TLS: ask it by https:// and not by http://\n"
ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"%b"
) % (len(_WORDS), _WORDS)
_CAPITALS: Final = frozenset(bytes([letter]) for letter in range(ord("A"), ord("Z") + 1))
PIECE: Final = 4096  # bytes read at once


async def is_http(peer: socket.socket) -> bool:
    """Wait for its first byte and leave it there: a capital letter begins a method; TLS begins with 22."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return peer.recv(1, socket.MSG_PEEK) in _CAPITALS
        except BlockingIOError:
            there = asyncio.Event()
            loop.add_reader(peer, there.set)
            try:
                await there.wait()
            finally:
                loop.remove_reader(peer)


async def refuse(peer: socket.socket, most: int) -> None:
    """Read the header of its request, `most` bytes of it at most: what is not read would cut off the answer."""
    loop = asyncio.get_running_loop()
    header = b""
    while b"\r\n\r\n" not in header and len(header) < most:
        piece = await loop.sock_recv(peer, PIECE)
        if not piece:
            break
        header += piece
    await loop.sock_sendall(peer, ANSWER)
    peer.shutdown(socket.SHUT_WR)
