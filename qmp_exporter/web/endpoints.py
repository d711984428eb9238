"""What can be asked over HTTP: one row for each path, from which the routes and the table in docs/api.md are made."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
READ = ("GET", "HEAD")
METRICS, PAGE = "/metrics", "/"


class Endpoint(NamedTuple):
    """`path` as it is unless --web.telemetry-path says otherwise."""

    path: str
    methods: tuple[str, ...]
    help: str


ENDPOINTS = (
    Endpoint(
        METRICS,
        READ,
        "The metrics, in Prometheus' text format or in OpenMetrics; `--web.telemetry-path` puts them elsewhere. "
        "With `?collect[]=GROUP` only those groups, with `?exclude[]=GROUP` all but those; 400 for an unknown one.",
    ),
    Endpoint(PAGE, READ, "The page for people."),
    Endpoint("/api/v1/targets", READ, "What the page shows, in JSON."),
    Endpoint(
        "/api/v1/black-box",
        READ,
        "With `?vm=NAME` what its monitor said before its last trouble began, as a recorded session that "
        "`qmp-exporter replay` takes; addresses, paths and the VM's name are cut out. 404 where nothing was kept.",
    ),
    Endpoint("/-/healthy", READ, "200 while the event loops of both processes turn; else 503."),
    Endpoint(
        "/-/ready",
        READ,
        "200 when every target was tried and every source of targets works; else 503 with the reasons.",
    ),
    Endpoint(
        "/-/reload",
        ("POST", "PUT"),
        "Reads the configuration again: 200, or 500 with every error; 403 without `--web.enable-lifecycle`, and for a "
        "browser that shows a page of another site.",
    ),
    Endpoint("/-/reference", READ, "The reference of the metrics."),
    Endpoint(
        "/-/runbooks/{alert}", READ, "The runbook of an alert, in Markdown; 404 where there is none of that name."
    ),
)


def add_routes(app: web.Application, handlers: Mapping[str, Handler], telemetry_path: str) -> None:
    """`handlers` by the path of their endpoint.  Where the metrics are at `/` there is no page."""
    for endpoint in ENDPOINTS:
        if endpoint.path == PAGE and telemetry_path == PAGE:
            continue
        path = telemetry_path if endpoint.path == METRICS else endpoint.path
        for method in endpoint.methods:
            app.router.add_route(method, path, handlers[endpoint.path])


def table() -> str:
    """The rows in Markdown."""
    rows = (f"| `{one.path}` | {' '.join(one.methods)} | {one.help} |" for one in ENDPOINTS)
    return "\n".join(("| Path | Methods | What it is |", "|---|---|---|", *rows))
