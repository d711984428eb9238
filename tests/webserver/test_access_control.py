"""Clients with and without certificates and passwords -> who is answered, also when the files change meanwhile."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import bcrypt
import pytest
from aiohttp import web

from certificates import Authority, Pair
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.webserver.access_control import AccessControl
from qmp_exporter.webserver.addresses import bound
from qmp_exporter.webserver.connections import LIMITS, Limits
from qmp_exporter.webserver.listen import listening
from qmp_exporter.webserver.policy import rules
from qmp_exporter.webserver.tls import alternative_names
from watching import eventually

USERS = f"basic_auth_users:\n  prometheus: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
REFUSED = (aiohttp.ClientError, OSError)


def password(user: str, word: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()}


class Site:
    """A server with a web configuration in a directory."""

    def __init__(self, directory: Path, access: AccessControl, stats: Selfstats) -> None:
        self.access = access
        self.asked = 0
        self.url = ""
        self._directory = directory
        self._stats = stats

    def write(self, text: str) -> None:
        (self._directory / "web.yml").write_text(text)

    async def settle(self) -> None:
        """The files are looked at twice, as is done before a change counts."""
        await self.access.check()
        await self.access.check()

    async def get(self, client: ssl.SSLContext | None = None, path: str = "/", **how: object) -> aiohttp.ClientResponse:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, ssl=client or False, **how) as response,
        ):
            await response.read()
            return response

    async def refuses(self, client: ssl.SSLContext | None) -> None:
        asked = self.asked
        with pytest.raises(REFUSED):
            await (await self.get(client)).read()
        assert self.asked == asked

    def own(self, sample: str) -> float:
        lines = self._stats.text(openmetrics=False).decode().splitlines()
        return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(sample + " ")))


@contextlib.asynccontextmanager
async def site(directory: Path, text: str, limits: Limits = LIMITS) -> AsyncIterator[Site]:
    (directory / "web.yml").write_text(text)
    stats = Selfstats()
    access = AccessControl(rules(directory / "web.yml"), stats)
    served = Site(directory, access, stats)

    async def answer(_request: web.Request) -> web.Response:
        served.asked += 1
        return web.Response(text="answer", headers={"X-Frame-Options": "sameorigin"})

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(8 << 20))

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/large", large)
    (listener,) = await bound(["127.0.0.1:0"])
    served.url = f"http{'s' if access.context else ''}://127.0.0.1:{listener.getsockname()[1]}"
    async with listening(app, [listener], access, stats, limits):
        yield served


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture
def at(tmp_path: Path, authority: Authority) -> Path:
    """A directory with the authority's certificate and the server's."""
    (tmp_path / "ca.pem").write_bytes(authority.cert)
    authority.issue("127.0.0.1").write(tmp_path, "server")
    return tmp_path


def client(at: Path, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(at / "ca.pem"))
    if pair:
        pair.write(at, "client")
        context.load_cert_chain(at / "client.pem", at / "client.key")
    return context


async def test_a_server_with_a_certificate_speaks_nothing_but_tls(at: Path) -> None:
    async with site(at, TLS) as served:
        assert (await served.get(client(at))).status == 200
        served.url = served.url.replace("https", "http")
        asked = served.asked
        assert (await served.get()).status == 400
        assert served.asked == asked


async def test_certificates_may_be_written_into_the_file(at: Path, authority: Authority) -> None:
    pair = authority.issue("127.0.0.1")
    indented = [pem.decode().replace("\n", "\n    ") for pem in pair]
    async with site(at, f"tls_server_config:\n  cert: |\n    {indented[0]}\n  key: |\n    {indented[1]}\n") as served:
        assert (await served.get(client(at))).status == 200


async def test_only_certificates_of_the_clients_authority_are_let_in(at: Path, authority: Authority) -> None:
    async with site(at, MUTUAL) as served:
        assert (await served.get(client(at, authority.issue("a", client=True)))).status == 200
        await served.refuses(client(at))
        await served.refuses(client(at, Authority("ours").issue("a", client=True)))
        await served.refuses(client(at, authority.issue("a")))  # made for a server


@pytest.mark.parametrize(
    "name", ["prometheus.example.org", "::1", "192.0.2.1", "spiffe://example.org/p", "p@example.org"]
)
async def test_only_clients_with_an_allowed_name_are_let_in(at: Path, authority: Authority, name: str) -> None:
    async with site(at, MUTUAL + f'  client_allowed_sans: ["x", "{name}"]\n') as served:
        assert (await served.get(client(at, authority.issue("other", name, client=True)))).status == 200
        await served.refuses(client(at, authority.issue("other", "x.example.org", client=True)))
        await eventually(lambda: served.own('qmp_exporter_http_connections_closed_total{reason="handshake"}') >= 1)


async def test_a_request_that_comes_with_the_end_of_a_handshake_is_not_answered_either(
    at: Path, authority: Authority
) -> None:
    async with site(at, MUTUAL + "  client_allowed_sans: [x]\n") as served:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client(at, authority.issue("other", client=True)).wrap_bio(
            incoming, outgoing, server_hostname="127.0.0.1"
        )
        reader, writer = await asyncio.open_connection(*served.url.removeprefix("https://").split(":"))
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(1 << 16))
        tls.write(b"GET / HTTP/1.1\r\nHost: exporter\r\n\r\n")
        writer.write(outgoing.read())  # in one piece
        await eventually(lambda: served.own('qmp_exporter_http_connections_closed_total{reason="handshake"}') == 1)
        assert served.asked == 0
        writer.transport.abort()


async def test_a_client_certificate_can_be_left_to_the_client_but_not_a_bad_one(at: Path, authority: Authority) -> None:
    async with site(at, MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")) as served:
        assert (await served.get(client(at))).status == 200
        assert (await served.get(client(at, authority.issue("a", client=True)))).status == 200
        await served.refuses(client(at, Authority("ours").issue("a", client=True)))


@pytest.mark.parametrize(
    ("more", "version", "agreed"),
    [
        ("", ssl.TLSVersion.TLSv1_2, True),
        ("", ssl.TLSVersion.TLSv1_3, True),
        ("  min_version: TLS13\n", ssl.TLSVersion.TLSv1_2, False),
        ("  max_version: TLS12\n", ssl.TLSVersion.TLSv1_3, False),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_2, False),
        ("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_2, True),
        ("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n", ssl.TLSVersion.TLSv1_2, False),
    ],
)
async def test_versions_and_suites_are_those_of_the_file(
    at: Path, more: str, version: ssl.TLSVersion, *, agreed: bool
) -> None:
    async with site(at, TLS + more) as served:
        context = client(at)
        context.minimum_version = context.maximum_version = version
        if agreed:
            assert (await served.get(context)).status == 200
        else:
            await served.refuses(context)


async def test_a_curve_is_that_of_the_file(at: Path) -> None:
    async with site(at, TLS + "  curve_preferences: [CurveP384]\n") as served:
        assert (await served.get(client(at))).status == 200
        context = client(at)
        context.set_ecdh_curve("prime256v1")
        await served.refuses(context)


async def test_nothing_is_answered_without_the_password(at: Path) -> None:
    async with site(at, USERS) as served:
        for path in ("/", "/nothing"):
            response = await served.get(path=path)
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic ")
        for user, guess in (("prometheus", "wrong"), ("nobody", "secret"), ("", ""), ("prometheus", "")):
            assert (await served.get(headers=password(user, guess))).status == 401
        for nonsense in ("Basic", "Basic !", "Basic c2VjcmV0", "Bearer cHJvbWV0aGV1czpzZWNyZXQ=", "Basic \xff"):
            assert (await served.get(headers={"Authorization": nonsense})).status == 401
        assert served.asked == 0
        for _ in range(2):
            assert (await served.get(headers=password("prometheus", "secret"))).status == 200
        assert served.own('qmp_exporter_http_requests_refused_total{reason="password"}') == 11


async def test_headers_are_on_every_answer_and_yield_to_a_pages_own(at: Path) -> None:
    headers = "http_server_config:\n  headers: {X-XSS-Protection: '0', X-Frame-Options: deny}\n"
    async with site(at, USERS + headers) as served:
        good = password("prometheus", "secret")
        for response in (
            await served.get(),
            await served.get(path="/nothing", headers=good),
            await served.get(data=b"x"),
        ):
            assert response.status in {401, 404, 413}
            assert response.headers["X-XSS-Protection"] == "0"
            assert response.headers["X-Frame-Options"] == "deny"
        assert (await served.get(headers=good)).headers["X-Frame-Options"] == "sameorigin"


async def test_more_than_the_rate_is_refused(at: Path) -> None:
    async with site(at, "rate_limit: {interval: 1h, burst: 3}\n") as served:
        assert [(await served.get()).status for _ in range(4)] == [200, 200, 200, 429]
        served.write("rate_limit: {interval: 1ms, burst: 1}\n")
        await served.access.check()
        while (await served.get()).status != 200:
            pass


async def test_a_renewed_certificate_is_used_for_the_next_connection(at: Path, authority: Authority) -> None:
    async with site(at, TLS) as served:
        open_still = aiohttp.ClientSession()
        async with open_still:
            async with open_still.get(served.url, ssl=client(at)) as response:
                assert response.status == 200
            authority.issue("renewed.example.org", "127.0.0.1").write(at, "server")
            await served.settle()
            _, writer = await asyncio.open_connection(*served.url.removeprefix("https://").split(":"), ssl=client(at))
            assert ("DNS", "renewed.example.org") in writer.get_extra_info("peercert")["subjectAltName"]
            writer.transport.abort()
            async with open_still.get(served.url, ssl=client(at)) as response:
                assert response.status == 200


async def test_what_has_become_bad_changes_nothing_and_is_told_once(at: Path, authority: Authority, capfd) -> None:
    async with site(at, TLS + USERS) as served:
        authority.issue("127.0.0.1").write(at, "half")
        (at / "server.pem").write_bytes((at / "half.pem").read_bytes())  # the key is still to come
        for _ in range(3):
            await served.access.check()
        assert (await served.get(client(at), headers=password("prometheus", "secret"))).status == 200
        assert served.own("qmp_exporter_web_config_last_reload_successful") == 0
        said = "".join(capfd.readouterr())
        assert said.count("belongs to another certificate") == 1
        (at / "server.key").write_bytes((at / "half.key").read_bytes())
        await served.settle()
        assert served.own("qmp_exporter_web_config_last_reload_successful") == 1
        assert (await served.get(client(at))).status == 401


@pytest.mark.parametrize("text", ["", "{}", "basic_auth_users: {prometheus: secret}", TLS.replace("server.pem", "x")])
async def test_no_accident_switches_passwords_off(at: Path, text: str) -> None:
    async with site(at, TLS + USERS) as served:
        served.write(text)
        await served.settle()
        assert (await served.get(client(at))).status == 401
        assert served.own("qmp_exporter_web_config_last_reload_successful") == 0


async def test_while_the_file_is_written_the_one_before_holds(at: Path) -> None:
    """Half of it is a good file without a password: TLS comes first."""
    whole = TLS + USERS
    async with site(at, whole) as served:
        for end in range(1, len(whole)):
            served.write(whole[:end])
            await served.access.check()
            assert (await served.get(client(at))).status == 401
        served.write(whole)
        await served.settle()
        assert served.own("qmp_exporter_web_config_last_reload_successful") == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TLS + USERS, TLS),
        (MUTUAL, TLS),
        (USERS, TLS + USERS),
        (TLS + USERS, USERS),
    ],
    ids=["users", "authority of clients", "TLS on", "TLS off"],
)
async def test_a_change_to_less_takes_a_restart(at: Path, before: str, after: str) -> None:
    async with site(at, before) as served:
        served.write(after)
        await served.settle()
        assert served.own("qmp_exporter_web_config_last_reload_successful") == 0
        served.write(before)
        await served.settle()
        assert served.own("qmp_exporter_web_config_last_reload_successful") == 1


async def test_a_user_that_is_removed_is_refused_on_the_connection_that_it_has(at: Path) -> None:
    both = USERS + USERS.splitlines()[1].replace("prometheus", "other") + "\n"
    async with site(at, both) as served, aiohttp.ClientSession(headers=password("other", "secret")) as session:
        async with session.get(served.url) as response:
            assert response.status == 200
        served.write(USERS)
        await served.settle()
        async with session.get(served.url) as response:
            assert response.status == 401


async def test_who_does_not_read_its_answer_is_cut_off_behind_tls_too(at: Path) -> None:
    """asyncio's TLS takes whatever it is given, and says that it is full only when it is given the next piece."""
    async with site(at, TLS, replace(LIMITS, answer=0.3)) as served:
        host, port = served.url.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, port, ssl=client(at))
        writer.write(b"GET /large HTTP/1.1\r\nHost: exporter\r\n\r\n")
        await eventually(lambda: served.own('qmp_exporter_http_connections_closed_total{reason="answer"}') == 1)
        with contextlib.suppress(OSError):
            assert len(await reader.read(-1)) < 8 << 20
        writer.transport.abort()


async def test_a_handshake_that_is_not_finished_is_cut_off(at: Path) -> None:
    async with site(at, TLS, replace(LIMITS, request=0.1)) as served:
        host, port = served.url.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(bytes.fromhex("16030102000100"))
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        await eventually(lambda: served.own('qmp_exporter_http_connections_closed_total{reason="request"}') == 1)
        writer.transport.abort()


async def test_a_connection_with_tls_has_a_small_buffer(at: Path) -> None:
    """An attribute of asyncio that is not documented: another name for it would cost 256 KiB for each connection."""
    async with site(at, TLS) as served:
        _, writer = await asyncio.open_connection(*served.url.removeprefix("https://").split(":"), ssl=client(at))
        assert len(writer.transport._ssl_protocol._ssl_buffer) <= 16 << 10
        writer.transport.abort()


def test_an_address_in_a_certificate_that_is_none_is_no_name_of_it() -> None:
    names = (("IP Address", "<invalid>"), ("IP Address", "192.0.2.1"), ("DNS", "prometheus.example"))
    assert alternative_names({"subjectAltName": names}) == {"192.0.2.1", "prometheus.example"}
