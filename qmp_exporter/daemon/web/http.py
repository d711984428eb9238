"""HTTP requests -> the answers of every endpoint."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web

from qmp_exporter.core.negotiate import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.trouble_watch import TroubleWatch
from qmp_exporter.daemon.web import ui
from qmp_exporter.daemon.web.endpoints import METRICS, Handler, add_routes
from qmp_exporter.daemon.web.exposition import Exposition, selection
from qmp_exporter.daemon.web.ui import NO_STORE

Reload = Callable[[], Awaitable[Sequence[str]]]


def application(
    fleet: Fleet, exposition: Exposition, troubles: TroubleWatch, telemetry_path: str, reload: Reload | None = None
) -> web.Application:
    """`reload` reads the configuration again and tells every error; without it nobody may ask for that."""

    async def metrics(request: web.Request) -> web.Response:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        compressed = wants_gzip(request.headers.get("Accept-Encoding", ""))
        try:
            wanted = selection(request.query.getall("collect[]", []), request.query.getall("exclude[]", []))
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n", headers=NO_STORE)
        body = await exposition.page(
            openmetrics=openmetrics, compressed=compressed, wanted=wanted, is_gone=lambda: request.transport is None
        )
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding", **NO_STORE}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="healthy\n", headers=NO_STORE)

    async def ready(_request: web.Request) -> web.Response:
        reasons = [] if fleet.ready else ["not every target was tried yet"]
        reasons += [f"{source.name}: {why}" for source, why in sorted(fleet.failures.items())]
        if not reasons:
            return web.Response(text="ready\n", headers=NO_STORE)
        return web.Response(status=503, text="".join(f"{reason}\n" for reason in reasons), headers=NO_STORE)

    app = web.Application()
    handlers: dict[str, Handler] = {
        METRICS: metrics,
        "/-/healthy": healthy,
        "/-/ready": ready,
        "/-/reload": partial(_reload, reload),
        **ui.handlers(fleet, troubles, telemetry_path),
    }
    add_routes(app, handlers, telemetry_path)
    return app


async def _reload(reload: Reload | None, request: web.Request) -> web.Response:
    if reload is None:
        return web.Response(status=403, text="wanted --web.enable-lifecycle\n", headers=NO_STORE)
    if _is_of_another_site(request):
        return web.Response(status=403, text="a page of another site may not ask for this\n", headers=NO_STORE)
    if errors := await reload():
        text = "".join(f"{error}\n" for error in ("the configuration is wrong; the one before holds:", *errors))
        return web.Response(status=500, text=text, headers=NO_STORE)
    return web.Response(text="reloaded\n", headers=NO_STORE)


def _is_of_another_site(request: web.Request) -> bool:
    """A browser says so (Fetch Metadata), older ones by Origin alone; other clients say nothing."""
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host
