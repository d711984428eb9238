"""HTTP requests -> /metrics, a landing page, health, by GET and HEAD only; a reload by POST or PUT."""

import html
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web

from qmp_exporter import __version__
from qmp_exporter.core.negotiate import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from qmp_exporter.daemon.exposition import Exposition
from qmp_exporter.daemon.fleet import Fleet

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


Reload = Callable[[], Awaitable[Sequence[str]]]


def application(
    fleet: Fleet, exposition: Exposition, telemetry_path: str, reload: Reload | None = None
) -> web.Application:
    """`reload` reads the configuration anew and tells every error; without it nobody may ask for that."""

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
    for method in ("POST", "PUT"):
        app.router.add_route(method, "/-/reload", partial(_reload, reload))
    if telemetry_path != "/":
        app.router.add_get("/", landing)
    return app


async def _reload(reload: Reload | None, _request: web.Request) -> web.Response:
    if reload is None:
        return web.Response(status=403, text="wanted --web.enable-lifecycle\n", headers=NO_STORE)
    if errors := await reload():
        text = "".join(f"{error}\n" for error in ("the configuration is wrong; the one before holds:", *errors))
        return web.Response(status=500, text=text, headers=NO_STORE)
    return web.Response(text="reloaded\n", headers=NO_STORE)


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
