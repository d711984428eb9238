"""HTTP requests -> the answers of every endpoint."""

from aiohttp import web

from qmp_exporter.channel.messages import BlackBox, Healthy, Overview, Page, Question, Ready, Reload
from qmp_exporter.core.negotiate import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from qmp_exporter.web import ui
from qmp_exporter.web.endpoints import METRICS, Handler, add_routes
from qmp_exporter.web.shared_answers import SharedAnswers
from qmp_exporter.web.ui import NO_STORE
from qmp_exporter.web.watcher import NoAnswer, Watcher


def application(watcher: Watcher, telemetry_path: str) -> web.Application:
    asking = _Asking(watcher)
    handlers: dict[str, Handler] = {
        METRICS: asking.metrics,
        "/-/healthy": asking.healthy,
        "/-/ready": asking.ready,
        "/-/reload": asking.reload,
        "/api/v1/targets": asking.targets,
        "/api/v1/black-box": asking.black_box,
        **ui.handlers(telemetry_path),
    }
    app = web.Application()
    add_routes(app, {path: _or_503(handler) for path, handler in handlers.items()}, telemetry_path)
    return app


class _Asking:
    """What the watcher has to be asked for."""

    def __init__(self, watcher: Watcher) -> None:
        # What may take long is asked beside what must not wait for it.
        self._large, self._small, self._reloads = (SharedAnswers(watcher) for _ in range(3))

    async def metrics(self, request: web.Request) -> web.Response:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        collect, exclude = (tuple(request.query.getall(name, ())) for name in ("collect[]", "exclude[]"))
        response = await self._large_answer(request, Page(openmetrics, _wants_gzip(request), collect, exclude))
        if response.status == 200:
            response.headers["Content-Type"] = OPENMETRICS if openmetrics else TEXT
            response.headers["Vary"] = "Accept, Accept-Encoding"
        return response

    async def targets(self, request: web.Request) -> web.Response:
        response = await self._large_answer(request, Overview(_wants_gzip(request)))
        response.content_type = "application/json"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    async def black_box(self, request: web.Request) -> web.Response:
        response = await self._text(self._small, BlackBox(request.query.get("vm", "")))
        if response.status == 200:
            response.content_type = "application/jsonl"
            response.headers["Content-Disposition"] = "attachment; filename=black-box.jsonl"
        return response

    async def healthy(self, _request: web.Request) -> web.Response:
        return await self._text(self._small, Healthy())

    async def ready(self, _request: web.Request) -> web.Response:
        return await self._text(self._small, Ready())

    async def reload(self, request: web.Request) -> web.Response:
        if _is_of_another_site(request):
            return web.Response(status=403, text="a page of another site may not ask for this\n", headers=NO_STORE)
        return await self._text(self._reloads, Reload())

    async def _large_answer(self, request: web.Request, question: Page | Overview) -> web.Response:
        head, body = await self._large.to(question, lambda: request.transport is None)
        headers = {"Content-Encoding": "gzip", **NO_STORE} if head.compressed else NO_STORE
        return web.Response(status=head.status, body=body, headers=headers, content_type="text/plain")

    async def _text(self, answers: SharedAnswers, question: Question) -> web.Response:
        head, body = await answers.to(question)
        return web.Response(status=head.status, text=body.decode(), headers=NO_STORE)


def _wants_gzip(request: web.Request) -> bool:
    return wants_gzip(request.headers.get("Accept-Encoding", ""))


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
