"""The address of an exporter -> Debian's Prometheus scraping it, and answers of its HTTP API."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import yaml

from exporter import free_port
from qmp_exporter.demo.qemu import dying_with_us
from waiting import awaited

BINARY = "prometheus"
JOB = "qmp-exporter"  # as in deploy/, where the rules call it so
DEADLINE = 30.0  # seconds
OFTEN = "250ms"
DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
# Flags of a Prometheus that has the console pages of deploy/.
CONSOLES = tuple(f"--web.console.{what}={DEPLOY / 'consoles'}" for what in ("templates", "libraries"))


class Prometheus:
    def __init__(self, client: aiohttp.ClientSession, address: str = "") -> None:
        self.address = address
        self._client = client

    async def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """-> the labels and the value of each series, now"""
        async with self._client.get("/api/v1/query", params={"query": expression}) as answer:
            body = await answer.json()
            assert body["status"] == "success", body
            return [(result["metric"], float(result["value"][1])) for result in body["data"]["result"]]

    async def finds(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """-> the first answer that is not empty"""

        async def ask() -> list[tuple[dict[str, str], float]] | None:
            return await self.query(expression) or None

        return await awaited(ask, lambda: f"{expression} finds nothing", DEADLINE)

    async def is_told(self, job: str, words: str) -> None:
        """-> when its last scrape of this job failed, for that reason; on a busy machine another may come first"""
        said = ""

        async def ask() -> bool | None:
            nonlocal said
            (target,) = [one for one in await self.targets() if one["labels"]["job"] == job]
            said = target["lastError"]
            return (target["health"] == "down" and words in said) or None

        await awaited(ask, lambda: f"{job} is told {said!r}, wanted {words!r}", DEADLINE)

    async def targets(self) -> list[dict[str, Any]]:
        """-> what it says of its scrapes"""
        async with self._client.get("/api/v1/targets") as answer:
            found: list[dict[str, Any]] = (await answer.json())["data"]["activeTargets"]
            return found


@contextlib.asynccontextmanager
async def scraping(
    directory: Path,
    target: str,
    jobs: Mapping[str, Mapping[str, Any]] = MappingProxyType({JOB: {}}),
    *,
    alertmanager: str = "",
    flags: tuple[str, ...] = (),
    rules: Path | None = None,
) -> AsyncIterator[Prometheus]:
    """With the scrape job and the rules of deploy/, but for this target and more often.

    `jobs`: the same job under other names, each with settings of its own.
    `alertmanager`: the address where alerts go, or "" for nowhere.  `flags`: more of its command line.
    `rules`: other rules than those of deploy/.
    """
    config = directory / "prometheus.yml"
    settings = _deployed(target, jobs)
    if rules is not None:
        settings["rule_files"] = [str(rules)]
    if alertmanager:
        settings["global"] = {"evaluation_interval": OFTEN}
        settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    config.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port()}"
    log = directory / "prometheus.log"
    command = (BINARY, f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}", *flags)
    async with started(*command, address=address, log=log) as client:
        yield Prometheus(client, address)


@contextlib.asynccontextmanager
async def started(*command: str, address: str, log: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A server of the Prometheus project that listens there -> a client of it, once it is ready"""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(), *command, f"--web.listen-address={address}", stdout=output, stderr=output
        )
        try:
            async with aiohttp.ClientSession(f"http://{address}") as client:
                await _ready(client, log)
                yield client
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _deployed(target: str, jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "scrape.yml").read_text())
    (job,) = config["scrape_configs"]
    (targets,) = job["static_configs"]
    targets["targets"] = [target]
    job |= {"scrape_interval": OFTEN, "scrape_timeout": OFTEN}
    config["scrape_configs"] = [{**job, "job_name": name, **settings} for name, settings in jobs.items()]
    config["rule_files"] = [str(DEPLOY / name) for name in config["rule_files"]]
    return config


async def _ready(client: aiohttp.ClientSession, log: Path) -> None:
    async def ask() -> bool | None:
        try:
            async with client.get("/-/ready") as answer:
                return answer.status == 200 or None
        except aiohttp.ClientConnectionError:
            return None

    await awaited(ask, log.read_text, DEADLINE)


def promtool_says(page: str) -> tuple[int, str]:
    """A page in the text format -> the exit status of `promtool check metrics`, and its complaints"""
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    return result.returncode, result.stdout + result.stderr
