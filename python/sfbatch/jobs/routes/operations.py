"""For operators: health, metrics, what this is, and the page of the API."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse

import sfbatch
from sfbatch.jobs.answer import Hal, Json
from sfbatch.jobs.context import server_of
from sfbatch.jobs.health import health
from sfbatch.jobs.kinds import KINDS
from sfbatch.jobs.links import api_url

routes = APIRouter(tags=["operations"])


@routes.get("/api/v3", name="the API's root")
def root(request: Request) -> Response:
    """Where everything is."""
    names = [kind.name for kind in KINDS] + ["jobs"]
    links = {"self": {"href": api_url(request)}, **{name: {"href": api_url(request, name)} for name in names}}
    return Hal({"content": {"description": "Genie V3 API"}, "_links": links})


@routes.get("/actuator/health", name="health")
def get_health(request: Request) -> Response:
    """200 when database, disk and dispatcher work, 503 otherwise; what is wrong is told to those who have a token."""
    found = health(server_of(request))
    status = HTTPStatus.OK if found["status"] == "UP" else HTTPStatus.SERVICE_UNAVAILABLE
    told = found if request.state.principal else {"status": found["status"]}
    return Json(told, status)


@routes.get("/actuator/info", name="info")
def info() -> Response:
    """Which server this is, and whose contract it serves."""
    return Json({"genie": {"version": "3.3.20"}, "sfbatch": {"version": sfbatch.__version__}})


@routes.get("/metrics", name="metrics")
@routes.get("/actuator/prometheus", include_in_schema=False)
def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(server_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


@routes.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """The OpenAPI document as a page; nothing of it comes from another host."""
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['summary'])}</td><td>{escape(operation.get('description', ''))}</td></tr>"
        for path, methods in request.app.openapi()["paths"].items()
        for method, operation in methods.items()
    ]
    title = f"sfbatch {sfbatch.__version__}: the job server's interface"
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>"
        '<p>Genie v3. The whole description, for tools: <a href="openapi.json">openapi.json</a></p>'
        f"<table>{''.join(rows)}</table></body></html>"
    )
    return HTMLResponse(text, headers={"Content-Security-Policy": "default-src 'none'"})
