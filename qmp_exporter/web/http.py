"""HTTP requests -> the answers of every endpoint."""

from aiohttp import web

from qmp_exporter.channel.messages import Healthy, Overview, Page, Question, Ready, Reload
from qmp_exporter.core.negotiate import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from qmp_exporter.web import ui
from qmp_exporter.web.bodies import Bodies, Wish
from qmp_exporter.web.counted import Counted
from qmp_exporter.web.endpoints import METRICS, Handler, add_routes
from qmp_exporter.web.ui import NO_STORE
from qmp_exporter.web.watcher import NoAnswer, Watcher


def application(watcher: Watcher, counted: Counted, telemetry_path: str) -> web.Application:
    """`counted` is told to the watcher before it is asked for a page, which has these numbers then."""
    bodies = Bodies(watcher)

    async def metrics(request: web.Request) -> web.Response:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        page = Page(
            openmetrics,
            tuple(request.query.getall("collect[]", ())),
            tuple(request.query.getall("exclude[]", ())),
        )
        await watcher.tell(counted.numbers())
        response = await _shared(request, page)
        if response.status == 200:
            response.headers["Content-Type"] = OPENMETRICS if openmetrics else TEXT
            response.headers["Vary"] = "Accept, Accept-Encoding"
        return response

    async def targets(request: web.Request) -> web.Response:
        response = await _shared(request, Overview())
        response.content_type = "application/json"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    async def _shared(request: web.Request, what: Page | Overview) -> web.Response:
        compressed = wants_gzip(request.headers.get("Accept-Encoding", ""))
        body = await bodies.body(Wish(what, compressed), lambda: request.transport is None)
        encoding = {"Content-Encoding": "gzip"} if compressed else {}
        return web.Response(status=body.status, body=body.content, headers={**encoding, **NO_STORE})

    async def asked(question: Question) -> web.Response:
        pieces: list[bytes] = []
        said = await watcher.ask(question, pieces.append)
        return web.Response(status=said.head.status, text=b"".join(pieces).decode(), headers=NO_STORE)

    async def healthy(_request: web.Request) -> web.Response:
        return await asked(Healthy())

    async def ready(_request: web.Request) -> web.Response:
        return await asked(Ready())

    async def reload(request: web.Request) -> web.Response:
        if _is_of_another_site(request):
            return web.Response(status=403, text="a page of another site may not ask for this\n", headers=NO_STORE)
        return await asked(Reload())

    handlers: dict[str, Handler] = {
        METRICS: metrics,
        "/-/healthy": healthy,
        "/-/ready": ready,
        "/-/reload": reload,
        "/api/v1/targets": targets,
        **ui.handlers(telemetry_path),
    }
    app = web.Application()
    add_routes(app, {path: _or_503(handler) for path, handler in handlers.items()}, telemetry_path)
    return app


def _or_503(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except NoAnswer as error:
            return web.Response(status=503, text=f"{error}\n", headers=NO_STORE)

    return answer


def _is_of_another_site(request: web.Request) -> bool:
    """A browser says so (Fetch Metadata), older ones by Origin alone; other clients say nothing."""
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.host
