"""The addresses that are served."""

import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from qmp_exporter.config import Target
from qmp_exporter.daemon.connections import Plain
from qmp_exporter.daemon.exposition import Exposition
from qmp_exporter.daemon.fleet import Fleet
from qmp_exporter.daemon.http import application
from qmp_exporter.daemon.listen import AddressError, listening
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.sources import STATIC


def an_application() -> tuple[web.Application, Selfstats]:
    stats = Selfstats()
    fleet = Fleet(stats)
    fleet.want(STATIC, (Target("web01", "/run/nothing.sock"),))
    return application(fleet, Exposition(fleet, stats), "/metrics"), stats


async def test_it_listens_on_several_addresses_at_once(directory: Path) -> None:
    unix = str(directory / "metrics.sock")
    app, stats = an_application()
    async with listening(app, ["127.0.0.1:0", "[::1]:0", f"unix:{unix}"], Plain(), stats) as (four, six, path):
        assert path == unix
        async with aiohttp.ClientSession() as session:
            for url in (f"http://127.0.0.1:{four[1]}/-/healthy", f"http://[::1]:{six[1]}/-/healthy"):
                async with session.get(url) as response:
                    assert response.status == 200
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(unix)) as session,
            session.get("http://exporter/metrics") as response,
        ):
            assert "qemu_up" in await response.text()


async def test_a_port_alone_means_every_address() -> None:
    app, stats = an_application()
    async with listening(app, [":0"], Plain(), stats) as addresses, aiohttp.ClientSession() as session:
        for host, port, *_ in addresses:
            url = f"http://[::1]:{port}/-/healthy" if host == "::" else f"http://127.0.0.1:{port}/-/healthy"
            async with session.get(url) as response:
                assert response.status == 200
        assert {host for host, *_ in addresses} == {"0.0.0.0", "::"}  # noqa: S104  what it is about


async def test_a_unix_socket_that_was_left_behind_is_taken_over_but_never_a_file(directory: Path) -> None:
    path = directory / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    app, stats = an_application()
    async with listening(app, [f"unix:{path}"], Plain(), stats):
        assert path.is_socket()
    (directory / "file").touch()
    app, stats = an_application()
    with pytest.raises(OSError, match="in use"):
        async with listening(app, [f"unix:{directory}/file"], Plain(), stats):
            pass
    assert (directory / "file").is_file()


@pytest.mark.parametrize("address", ["", "10065", "host", "host:99999", "::1:80", "[::1]", "unix:relative", "a/b:80"])
async def test_an_address_that_is_none_is_told(address: str) -> None:
    app, stats = an_application()
    with pytest.raises(AddressError, match="wanted :PORT, HOST:PORT"):
        async with listening(app, [address], Plain(), stats):
            pass
