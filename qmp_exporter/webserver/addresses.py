"""Addresses as they are written -> sockets that listen there."""

import asyncio
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from qmp_exporter.runtime.own_socket import make_way

BACKLOG = 128  # connections that the kernel holds until they are accepted


def named(listener: socket.socket) -> str:
    """As it would be given to --web.listen-address."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{address}"
    return f"[{address[0]}]:{address[1]}" if listener.family == socket.AF_INET6 else f"{address[0]}:{address[1]}"


class AddressError(ValueError):
    """A listen address that means nothing; says what was wanted."""


async def bound(addresses: Iterable[str]) -> list[socket.socket]:
    """`:PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`, each -> what listens there.

    :raise OSError: one of them, its `filename`, cannot be bound.
    :raise AddressError: one of them is none.
    """
    listeners: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                listeners += await _bound(address)
            except (
                OSError
            ) as error:  # asyncio's own words bury the reason in a tuple; getaddrinfo has numbers of its own
                why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
                raise OSError(error.errno, why, f"cannot listen on {address}") from error
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


async def _bound(address: str) -> list[socket.socket]:
    """More than one for a host that has several addresses."""
    if address.startswith("unix:/"):
        return [_unix(address.removeprefix("unix:"))]
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"{address!r}: wanted :PORT, HOST:PORT, [IPV6]:PORT or unix:/path")
    host = match["six"] or match["host"] or None
    # asyncio knows how to bind to all that a host means; accepting is another matter.
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host, int(match["port"]), start_serving=False
    )
    listeners = [listener.dup() for listener in server.sockets]
    server.close()
    for listener in listeners:
        listener.listen(BACKLOG)
    return listeners


def _unix(path: str) -> socket.socket:
    make_way(Path(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener
