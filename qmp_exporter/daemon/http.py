"""HTTP requests -> /metrics, a landing page, health; GET and HEAD only."""

import html
import re
from collections import Counter

from aiohttp import web

from qmp_exporter import __version__
from qmp_exporter.core.negotiate import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from qmp_exporter.daemon.exposition import Exposition
from qmp_exporter.daemon.fleet import Fleet

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
SHUTDOWN_GRACE = 2.0  # seconds for answers under way


class AddressError(ValueError):
    """A listen address that means nothing; says what was wanted."""


def application(fleet: Fleet, exposition: Exposition, telemetry_path: str) -> web.Application:
    async def metrics(request: web.Request) -> web.Response:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        compressed = wants_gzip(request.headers.get("Accept-Encoding", ""))
        body = await exposition.page(openmetrics=openmetrics, compressed=compressed)
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding", **NO_STORE}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def landing(_request: web.Request) -> web.Response:
        return web.Response(
            text=_landing_page(fleet, telemetry_path),
            content_type="text/html",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", **NO_STORE},
        )

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="healthy\n", headers=NO_STORE)

    async def ready(_request: web.Request) -> web.Response:
        if fleet.ready:
            return web.Response(text="ready\n", headers=NO_STORE)
        return web.Response(status=503, text="not every target was tried yet\n", headers=NO_STORE)

    app = web.Application()
    app.router.add_get(telemetry_path, metrics)
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", ready)
    if telemetry_path != "/":
        app.router.add_get("/", landing)
    return app


async def listen(app: web.Application, addresses: list[str]) -> web.AppRunner:
    """Serve on all of these addresses; the caller cleans the runner up.

    :raise OSError: one of them cannot be bound.
    :raise AddressError: one of them is none.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_GRACE)
    await runner.setup()
    try:
        for address in addresses:
            await _site(runner, address).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def _site(runner: web.AppRunner, address: str) -> web.BaseSite:
    """`:PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`."""
    if address.startswith("unix:/"):
        return web.UnixSite(runner, address.removeprefix("unix:"))
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]/]*)):(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise AddressError(f"{address!r}: wanted :PORT, HOST:PORT, [IPV6]:PORT or unix:/path")
    return web.TCPSite(runner, match["six"] or match["host"] or None, int(match["port"]))


_LANDING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>qmp-exporter</title>
<style>body {{ font-family: system-ui, sans-serif; margin: 2rem; }} td {{ padding-right: 1rem; }}</style>
<h1>qmp-exporter {version}</h1>
<p>Events and state of QEMU virtual machines as Prometheus metrics.
<ul>
<li><a href="{metrics}">Metrics</a>
<li><a href="-/healthy">Healthy</a>
<li><a href="-/ready">Ready</a>
</ul>
<h2>Monitors by state</h2>
<table>{rows}</table>
</html>
"""


def _landing_page(fleet: Fleet, telemetry_path: str) -> str:
    rows = "".join(f"<tr><td>{state}<td>{number}" for state, number in sorted(Counter(fleet.states()).items()))
    return _LANDING.format(version=__version__, metrics=html.escape(telemetry_path), rows=rows)
