"""What is the same for everybody -> a page for people, the reference of the metrics, the runbooks."""

import base64
import hashlib
import html
import re
from importlib import resources

from aiohttp import web

from qmp_exporter import __version__
from qmp_exporter.web.endpoints import PAGE, Handler

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def handlers(telemetry_path: str) -> dict[str, Handler]:
    """By the paths of their endpoints."""
    page, policy = _page(telemetry_path)

    async def show(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", **NO_STORE}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def metrics(_request: web.Request) -> web.Response:
        from qmp_exporter.catalog.reference import reference  # noqa: PLC0415  the catalog: who does not ask needs none

        return web.Response(text=reference(), content_type="text/plain", headers=NO_STORE)

    async def runbooks(request: web.Request) -> web.Response:
        from qmp_exporter.alerting.runbook import runbook  # noqa: PLC0415  as above

        try:
            text = runbook(request.match_info["alert"])
        except KeyError:
            raise web.HTTPNotFound from None
        return web.Response(text=text, content_type="text/plain", headers=NO_STORE)

    return {
        PAGE: show,
        "/-/reference": metrics,
        "/-/runbooks/{alert}": runbooks,
    }


def _page(telemetry_path: str) -> tuple[str, str]:
    """The page, and the policy that lets a browser run nothing but its own script, whatever a VM is called.

    The links are relative: behind a reverse proxy the exporter may live below any path.
    """
    text = resources.files("qmp_exporter.web").joinpath("page.html").read_text("utf-8")
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
