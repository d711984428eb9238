"""The addresses that are served."""

from pathlib import Path

import aiohttp
import pytest

from qmp_exporter.config import Target
from qmp_exporter.daemon.exposition import Exposition
from qmp_exporter.daemon.fleet import Fleet
from qmp_exporter.daemon.http import application
from qmp_exporter.daemon.listen import AddressError, listen
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.sources import STATIC


async def test_it_listens_on_several_addresses_at_once(directory: Path) -> None:
    stats = Selfstats()
    fleet = Fleet(stats)
    fleet.want(STATIC, (Target("web01", "/run/nothing.sock"),))
    unix = str(directory / "metrics.sock")
    app = application(fleet, Exposition(fleet, stats), "/metrics")
    runner = await listen(app, ["127.0.0.1:0", "[::1]:0", f"unix:{unix}"])
    try:
        ports = [address[1] for address in runner.addresses if isinstance(address, tuple)]
        urls = [f"http://127.0.0.1:{ports[0]}/-/healthy", f"http://[::1]:{ports[1]}/-/healthy"]
        async with aiohttp.ClientSession() as session:
            for url in urls:
                async with session.get(url) as response:
                    assert response.status == 200
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(unix)) as session,
            session.get("http://exporter/metrics") as response,
        ):
            assert "qemu_up" in await response.text()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("address", ["", "10065", "host", "host:99999", "::1:80", "[::1]", "unix:relative", "a/b:80"])
async def test_an_address_that_is_none_is_told(address: str) -> None:
    stats = Selfstats()
    fleet = Fleet(stats)
    with pytest.raises(AddressError, match="wanted :PORT, HOST:PORT"):
        await listen(application(fleet, Exposition(fleet, stats), "/metrics"), [address])
