"""The exporter behind certificates and passwords, a real Prometheus -> who may scrape, also when they are renewed."""

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from certificates import Authority
from exporter import Vm, exporting, free_port
from prometheus import scraping
from qmp_exporter.demo.machine import Machine

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]

USER, PASSWORD = "prometheus", "correct horse battery staple"
NAME = "prometheus.example.org"  # of the client that is let in
RENEWED = "renewed.example.org"  # of the server, from its second certificate on
WEB_CONFIG = f"""\
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [{NAME}]
basic_auth_users:
  {USER}: HASH
"""


@pytest.fixture
def authority(short_path: Path) -> Authority:
    """Who signs; the files of the exporter and of the good clients are in the directory."""
    authority = Authority("ours")
    (short_path / "ca.pem").write_bytes(authority.cert)
    authority.issue("127.0.0.1").write(short_path, "server")
    authority.issue(NAME, client=True).write(short_path, "client")
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (short_path / "web.yml").write_text(WEB_CONFIG.replace("HASH", hashed))
    return authority


def job(directory: Path, client: str = "client", password: str = PASSWORD, **tls: str) -> dict[str, Any]:
    files = {"cert_file": f"{directory}/{client}.pem", "key_file": f"{directory}/{client}.key"} if client else {}
    return {
        "scheme": "https",
        "tls_config": {"ca_file": f"{directory}/ca.pem", **files, **tls},
        "basic_auth": {"username": USER, "password": password},
    }


async def test_prometheus_scrapes_with_certificate_and_password_and_nobody_without(
    boot, short_path: Path, authority: Authority
) -> None:
    authority.issue("other.example.org", client=True).write(short_path, "other")
    Authority("ours").issue(NAME, client=True).write(short_path, "forged")
    # What each is told, if anything: asyncio hangs up on a bad certificate without the alert that OpenSSL has for it.
    refused: Mapping[str, tuple[dict[str, Any], str]] = {
        "no certificate": (job(short_path, client=""), ""),
        "forged certificate": (job(short_path, client="forged"), ""),
        "certificate of another": (job(short_path, client="other"), ""),
        "wrong password": (job(short_path, password=PASSWORD[:-1]), "401 Unauthorized"),
        "no password": ({**job(short_path), "basic_auth": {"username": USER}}, "401 Unauthorized"),
        "plain HTTP": ({}, ""),
        "other server": (job(short_path, server_name=RENEWED), RENEWED),
    }
    jobs = {"good": job(short_path), **{name: settings for name, (settings, _) in refused.items()}}
    qemu = await boot(Machine())
    address = f"127.0.0.1:{free_port()}"

    def ask(address: str) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=str(short_path / "ca.pem"))
        context.load_cert_chain(short_path / "client.pem", short_path / "client.key")
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return aiohttp.ClientSession(
            f"https://{address}",
            connector=aiohttp.TCPConnector(ssl=context),
            headers={"Authorization": f"Basic {basic}"},
        )

    arguments = [f"--web.config.file={short_path}/web.yml"]
    async with (
        exporting(short_path, Vm("web01", qemu.monitor), address=address, arguments=arguments, ask=ask) as exporter,
        scraping(short_path, address, jobs) as prometheus,
    ):
        await exporter.says("qemu_up 1")
        await prometheus.finds('qemu_up{job="good"} == 1')
        for name, (_, told) in refused.items():
            await prometheus.finds(f'up{{job="{name}"}} == 0')
            await prometheus.is_told(name, told)
        assert await prometheus.query('{__name__=~"qemu_.+",job!="good"}') == []
        # The server's certificate is renewed, as certbot does it: the old connection goes on, a new one sees it.
        authority.issue(RENEWED, "127.0.0.1").write(short_path, "server")
        await prometheus.finds('up{job="other server"} == 1')
        ever_up = await prometheus.query("max_over_time(up[5m]) == 1")
        assert {labels["job"] for labels, _ in ever_up} == {"good", "other server"}
        ((_, least),) = await prometheus.query('min_over_time(up{job="good"}[5m])')
        assert least == 1
        # The client's is renewed, too, and the password changes: Prometheus' old one is refused within a second.
        (short_path / "web.yml").write_text((short_path / "web.yml").read_text().replace(USER, "somebody"))
        await prometheus.finds('up{job="good"} == 0')
