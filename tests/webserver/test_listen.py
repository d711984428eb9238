"""The addresses that are served."""

import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.addresses import AddressError, bound, named
from qmp_exporter.webserver.listen import listening
from qmp_exporter.webserver.policy import ALLOW_ALL


def an_application() -> tuple[web.Application, Selfstats]:
    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="healthy")

    app = web.Application()
    app.router.add_get("/-/healthy", healthy)
    return app, Selfstats()


async def test_it_listens_on_several_addresses_at_once(directory: Path) -> None:
    unix = str(directory / "metrics.sock")
    app, stats = an_application()
    listeners = await bound(["127.0.0.1:0", "[::1]:0", f"unix:{unix}"])
    four, six, path = map(named, listeners)
    assert path == f"unix:{unix}"
    async with listening(app, listeners, AccessControl(ALLOW_ALL, stats), stats):
        async with aiohttp.ClientSession() as session:
            for address in (four, six):
                async with session.get(f"http://{address}/-/healthy") as response:
                    assert response.status == 200
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(unix)) as session,
            session.get("http://exporter/-/healthy") as response,
        ):
            assert await response.text() == "healthy"


async def test_a_port_alone_means_every_address() -> None:
    app, stats = an_application()
    listeners = await bound([":0"])
    everywhere = named(listeners[0]), named(listeners[1])
    addresses = [address.replace("0.0.0.0", "127.0.0.1").replace("::", "::1") for address in everywhere]  # noqa: S104
    async with listening(app, listeners, AccessControl(ALLOW_ALL, stats), stats), aiohttp.ClientSession() as session:
        for address in addresses:
            async with session.get(f"http://{address}/-/healthy") as response:
                assert response.status == 200
    assert len(addresses) == 2


async def test_a_unix_socket_that_was_left_behind_is_taken_over_but_never_a_file(directory: Path) -> None:
    path = directory / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    app, stats = an_application()
    async with listening(app, await bound([f"unix:{path}"]), AccessControl(ALLOW_ALL, stats), stats):
        assert path.is_socket()
    (directory / "file").touch()
    with pytest.raises(OSError, match="File exists"):
        await bound([f"unix:{directory}/file"])
    assert (directory / "file").is_file()


async def test_a_unix_socket_that_somebody_listens_to_is_left_alone_and_not_connected_to(directory: Path) -> None:
    path = directory / "web01.sock"
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.bind(str(path))
        monitor.listen()
        monitor.setblocking(False)  # noqa: FBT003  the standard library's way
        with pytest.raises(OSError, match="in use"):
            await bound([f"unix:{path}"])
        with pytest.raises(BlockingIOError):
            monitor.accept()
    assert path.is_socket()


@pytest.mark.parametrize("address", ["", "10065", "host", "host:99999", "::1:80", "[::1]", "unix:relative", "a/b:80"])
async def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(AddressError, match="wanted :PORT, HOST:PORT"):
        await bound(["127.0.0.1:0", address])
