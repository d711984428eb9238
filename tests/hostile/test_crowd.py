"""Five hundred connections of every kind that keeps a server waiting -> scrapes that are answered all the same."""

import asyncio
import contextlib
import json
import re
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from certificates import Authority
from exporter import Vm, exporting, free_port
from qmp_exporter.demo.qemu import dying_with_us

SIZE = 500
SCRAPES = 200
WITHIN = 0.1  # seconds
DEADLINE = 60.0  # seconds until all have connected; a TLS handshake costs both ends 2 ms
CROWD = Path(__file__).with_name("crowd.py")
LABELS = {f"label{number}": "x" * 100 for number in range(200)}
# Targets that there are not, with labels that make the page larger than what the kernel takes for who does not read.
PHASE = re.compile(r'^qmp_exporter_http_connections\{phase="(\w+)"\} (\S+)$', re.MULTILINE)
VMS = [Vm(f"vm{number}", f"/nothing/{number}.sock", LABELS) for number in range(20)]


@contextlib.asynccontextmanager
async def crowd(port: int, ca: Path) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(), sys.executable, CROWD, str(port), ca, str(SIZE), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def held(told: asyncio.StreamReader) -> Counter[str]:
    return Counter(json.loads(await told.readline()))


async def scrape(client: aiohttp.ClientSession) -> tuple[float, str]:
    began = time.perf_counter()
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return time.perf_counter() - began, text


def phases(page: str) -> dict[str, int]:
    """What the connections were at, by the page itself."""
    return {phase: int(float(number)) for phase, number in PHASE.findall(page)}


def at_all_of_it(found: dict[str, int]) -> bool:
    """Whether so many keep the server waiting for each of these things as the crowd means to."""
    if not found:
        return False
    return found["request"] >= 0.8 * SIZE - 1 and found["answer"] > 0.02 * SIZE and found["idle"] > 0.1 * SIZE


def cut_off(page: str) -> float:
    """Because their time for a request was over."""
    return value(page, 'qmp_exporter_http_connections_closed_total{reason="request"}')


def resident(page: str) -> float:
    """Bytes of the process that has all these connections."""
    return value(page, "qmp_exporter_web_process_resident_memory_bytes")


def value(page: str, series: str) -> float:
    (number,) = re.findall(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(number)


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.0f} ms (at most {max(seconds) * 1e3:.0f})"


async def test_scrapes_are_answered_among_500_that_keep_the_exporter_waiting(directory: Path, figure) -> None:
    authority = Authority("test")
    authority.issue("127.0.0.1").write(directory, "server")
    ca = directory / "ca.pem"
    ca.write_bytes(authority.cert)
    (directory / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    trust = ssl.create_default_context(cafile=str(ca))
    port = free_port()

    def client(address: str = f"127.0.0.1:{port}") -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"https://{address}", connector=aiohttp.TCPConnector(ssl=trust, limit=1))

    async def newcomer() -> float:
        async with client() as session:
            return (await scrape(session))[0]

    arguments = [f"--web.config.file={directory}/web.yml"]
    async with (
        exporting(directory, *VMS, address=f"127.0.0.1:{port}", arguments=arguments, ask=client),
        client() as prometheus,
    ):
        before = [await scrape(prometheus) for _ in range(20)]
        async with crowd(port, ca) as told:
            first = ""
            async with asyncio.timeout(DEADLINE):
                while (await held(told)).total() < SIZE or not at_all_of_it(phases(first)):
                    _, first = await scrape(prometheus)
            among, newcomers = [], []
            page = first
            while cut_off(page) - cut_off(first) < SIZE / 2:  # until so many have been replaced
                seconds, page = await scrape(prometheus)
                among.append(seconds)
                newcomers.append(await newcomer())
    grown = resident(page) - resident(before[-1][1])
    alone = [seconds for seconds, _ in before]
    figure(f"a scrape {shown(among)}, by a newcomer {shown(newcomers)}, without the crowd {shown(alone)}")
    figure(f"{len(among)} scrapes; connections at first {phases(first)}, at last {phases(page)}")
    figure(f"{grown / SIZE / 1024:.0f} KiB more memory for each connection, with {len(page) >> 10} KiB pages among it")
    assert statistics.median(among) < WITHIN
    assert statistics.median(newcomers) < WITHIN
