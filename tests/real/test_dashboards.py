"""A page that has every metric, and a real Prometheus -> rows for each query of the dashboards."""

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path

import pytest
from aiohttp import web

from prometheus import Prometheus, scraping
from qmp_exporter.catalog import CATALOG
from qmp_exporter.core.family import Family
from qmp_exporter.daemon.selfstats import Selfstats

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("prometheus_server")]

BOARDS = sorted((Path(__file__).parents[2] / "deploy" / "grafana").glob("*.json"))
CHOSEN = {"$job": "qmp-exporter", "$instance": ".*", "$vm": "web01"}
VALUES = {"device": "sda", "storage": "rbd:pool"}  # the same in all metrics, as labels that are joined must be


class Page:
    """Every metric of the catalog, with every value of its closed labels; counters grow from one scrape to the next."""

    def __init__(self) -> None:
        self.scrapes = 0
        self._stats = Selfstats()
        self._stats.count_targets(lambda: ("connected", "missing"))
        self._stats.watch_web_process(os.getpid())
        self._stats.scanned("discover /run/qmp/*.sock", 1.0, {"name": 1})
        self._stats.tell_source("discover /run/qmp/*.sock", works=True)

    async def answer(self, _request: web.Request) -> web.Response:
        self.scrapes += 1
        self._stats.command_seconds.labels("query-status").observe(0.001)
        self._stats.command_errors.labels("query-status", "timeout").inc()
        lines = [line for family in CATALOG.families for line in self._lines(family)]
        own = self._stats.text(openmetrics=False).decode()
        return web.Response(text="\n".join([*lines, own]))

    def _lines(self, family: Family) -> Iterator[str]:
        yield f"# TYPE {family.name} {family.kind}"
        names = ("vm", *(label.name for label in family.labels))
        for values in product(
            ("web01",), *(label.values[:8] or (VALUES.get(label.name, "x0"),) for label in family.labels)
        ):
            labels = ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
            value = self.scrapes if family.kind == "counter" else 0 if family.name == "qemu_up" else 1
            yield f"{family.sample_name}{{{labels}}} {value}"


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus that has scraped it a few times."""
    app = web.Application()
    page = Page()
    app.router.add_get("/metrics", page.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with scraping(tmp_path, f"127.0.0.1:{runner.addresses[0][1]}", alertmanager="127.0.0.1:1") as server:
            await server.finds('ALERTS{alertname="QEMUVMStoppedOnIOError",alertstate="firing"}')
            await server.finds("increase(qemu_vm_stops_total[5m]) > 1")
            yield server
    finally:
        await runner.cleanup()


async def test_no_panel_is_empty(busy: Prometheus, figure):
    rows, empty = {}, []
    for board in BOARDS:
        for panel in json.loads(board.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query = re.sub(r"\$(?:job|instance|vm)", lambda name: CHOSEN[name[0]], target["expr"])
                found = await busy.query(query)
                rows[board.stem] = rows.get(board.stem, 0) + len(found)
                empty += [] if found else [f"{board.stem}: {panel['title']}: {query}"]
    assert empty == []
    figure(f"rows of all queries by dashboard: {rows}")
