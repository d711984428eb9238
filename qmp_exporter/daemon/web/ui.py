"""The fleet -> a page for people, the JSON behind it, the reference of the metrics, the runbooks."""

import base64
import hashlib
import html
import re
from importlib import resources

from aiohttp import web

from qmp_exporter import __version__
from qmp_exporter.alerting.runbook import runbook
from qmp_exporter.catalog.reference import reference
from qmp_exporter.core.negotiate import wants_gzip
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.trouble_watch import TroubleWatch
from qmp_exporter.daemon.web.api import Overview
from qmp_exporter.daemon.web.endpoints import PAGE, Handler

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def handlers(fleet: Fleet, troubles: TroubleWatch, telemetry_path: str) -> dict[str, Handler]:
    """By the paths of their endpoints."""
    overview = Overview(fleet, troubles)
    page, policy = _page(telemetry_path)
    words = reference()

    async def look(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", **NO_STORE}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def targets(request: web.Request) -> web.Response:
        compressed = wants_gzip(request.headers.get("Accept-Encoding", ""))
        encoding = {"Content-Encoding": "gzip"} if compressed else {}
        headers = {"Vary": "Accept-Encoding", **encoding, **NO_STORE}
        body = await overview.body(compressed=compressed)
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=words, content_type="text/plain", headers=NO_STORE)

    async def runbooks(request: web.Request) -> web.Response:
        try:
            text = runbook(request.match_info["alert"])
        except KeyError:
            raise web.HTTPNotFound from None
        return web.Response(text=text, content_type="text/plain", headers=NO_STORE)

    return {
        PAGE: look,
        "/api/v1/targets": targets,
        "/-/reference": metrics,
        "/-/runbooks/{alert}": runbooks,
    }


def _page(telemetry_path: str) -> tuple[str, str]:
    """The page, and the policy that lets a browser run nothing but its own script, whatever a VM is called.

    The links are relative: behind a reverse proxy the exporter may live below any path.
    """
    text = resources.files("qmp_exporter.daemon.web").joinpath("page.html").read_text("utf-8")
    script, style = (_digest(text, element) for element in ("script", "style"))
    policy = (
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
        f"script-src {script}; style-src {style}"
    )
    metrics = html.escape(telemetry_path.lstrip("/"))
    return text.replace("%METRICS%", metrics).replace("%VERSION%", html.escape(__version__)), policy


def _digest(text: str, element: str) -> str:
    """What allows the page's one script or style in its policy."""
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
