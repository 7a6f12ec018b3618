"""The pages' addresses. Each page works without a script; the script only keeps it fresh."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, RedirectResponse

import sfbatch
from sfbatch.jobs import jobs
from sfbatch.jobs.body import content_type, unsupported
from sfbatch.jobs.context import principal_of, server_of
from sfbatch.jobs.links import base_url, prefix
from sfbatch.jobs.pages import Page
from sfbatch.jobs.problem import Problem, not_found
from sfbatch.jobs.rerun import rerun
from sfbatch.jobs.routes.ours import batches_of, sender_of
from sfbatch.jobs.states import FINAL, UNFINISHED
from sfbatch.jobs.tokens import FILE
from sfbatch.jobs.web import session, show

if TYPE_CHECKING:
    from starlette.datastructures import FormData

routes = APIRouter(include_in_schema=False)
PAGE_SIZE = 50
FILTERS = ("name", "user", "status", "tag", "clusterName")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin", "Cache-Control": "no-store"}
_HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_STATIC = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir()) if path.suffix in _TYPES}
_EDITION = hashlib.sha256(b"".join(_STATIC.values())).hexdigest()[:12]
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_templates.globals = {"version": sfbatch.__version__, "edition": _EDITION, "when": show.when, "span": show.span}
_templates.filters["part"] = lambda text: quote(str(text), safe="")


@routes.get("/")
def all_jobs(request: Request) -> Response:
    """The jobs, newest first, with filters; a name is found anywhere in a job's name."""
    server, query = server_of(request), request.query_params
    used = [(key, value) for key in FILTERS for value in query.getlist(key) if value]
    asked = QueryParams([(k, f"%{v}%" if k == "name" and "%" not in v else v) for k, v in used])
    page = Page.of(query, PAGE_SIZE, "created", jobs.SORTS)
    no_times = dict.fromkeys(("minStarted", "maxStarted", "minFinished", "maxFinished"))
    with server.database.read() as connection:
        rows, total = jobs.search(connection, asked, no_times, page)
        counts = jobs.counts(connection)
    shown: dict[str, Any] = {key: query.get(key, "") for key in FILTERS} | {"status": query.getlist("status")}
    return _page(
        request,
        "jobs.html",
        rows=rows,
        runtime=show.runtime,
        total=total,
        counts=counts,
        states=(*UNFINISHED, *FINAL),
        shown=shown,
        number=page.number,
        pages=-(-total // page.size),
        at=lambda number: f"?{urlencode([*used, ('page', number)])}",
    )


@routes.get("/jobs")
def where_clients_point(request: Request, id: str = "") -> Response:  # noqa: A002 - the name is Genie's
    """Where Netflix's client sends people who want to look at a job."""
    return RedirectResponse(
        f"{prefix(request)}/jobs/{quote(id)}" if id else f"{prefix(request)}/", HTTPStatus.SEE_OTHER
    )


@routes.get("/jobs/{job_id}")
def one_job(request: Request, job_id: str) -> Response:
    """One job: timeline, cluster and command, batches, the end of its log."""
    server, principal = server_of(request), principal_of(request)
    with server.database.read() as connection:
        row = jobs.get(connection, job_id)
        found = show.job(connection, row) | {"waits_for": server.waits_for(connection, row)}
    published = batches_of(server, job_id)  # after its state: of a job that has ended, all
    logs = [show.tail(server.settings.directory / row.directory, stream) for stream in ("stdout", "stderr")]
    may_kill = principal.may_change(row.user) and not found["is_final"]
    return _page(
        request, "job.html", **found, published=published, logs=logs, may_kill=may_kill, may_rerun=principal.may_submit
    )


@routes.post("/jobs/{job_id}/kill")
def kill(request: Request, job_id: str) -> Response:
    """The button."""
    server = server_of(request)
    with server.database.write() as connection:
        jobs.kill(connection, job_id, principal_of(request))
    server.dispatcher.wake()
    return _to(request, f"/jobs/{quote(job_id)}")


@routes.post("/jobs/{job_id}/rerun")
def again(request: Request, job_id: str) -> Response:
    """The button; shows the new job."""
    new_id = rerun(server_of(request), job_id, sender_of(request))
    server_of(request).dispatcher.wake()
    return _to(request, f"/jobs/{quote(new_id)}")


@routes.get("/clusters")
def clusters(request: Request) -> Response:
    """The clusters by name, and how they replaced each other."""
    with server_of(request).database.read() as connection:
        return _page(request, "clusters.html", names=show.clusters(connection))


@routes.get(session.LOGIN)
def login(request: Request) -> Response:
    """Ask for the token."""
    return _login(request, session.local(request.query_params.get("next", "")), wrong=False)


@routes.post(session.LOGIN)
async def check_token(request: Request) -> Response:
    """Remember a good token."""
    kind = content_type(request)
    if kind != "application/x-www-form-urlencoded":
        raise unsupported(kind)
    form: FormData = await request.form(max_files=0, max_fields=4)
    token, there = str(form.get("token", "")).strip(), session.local(str(form.get("next", "")))
    if await run_in_threadpool(server_of(request).authority.identify, f"Bearer {token}") is None:
        answer = _login(request, there, wrong=True)
        answer.status_code = HTTPStatus.FORBIDDEN
        return answer
    answer = _to(request, there)
    session.remember(answer, token, base_url(request).startswith("https:"))
    return answer


@routes.post(session.LOGOUT)
def logout(request: Request) -> Response:
    """Forget it."""
    answer = _to(request, session.LOGIN)
    session.forget(answer)
    return answer


@routes.get("/static/{name}")
def static(name: str) -> Response:
    """The style and the script."""
    if name not in _STATIC:
        raise not_found("No message available")
    kind = _TYPES[Path(name).suffix]
    return Response(_STATIC[name], media_type=kind, headers={"Cache-Control": "public, max-age=86400"})


def problem_page(request: Request, problem: Problem) -> Response:
    """An error for people."""
    answer = _page(request, "problem.html", problem=problem)
    answer.status_code = problem.status
    return answer


def _login(request: Request, there: str, wrong: bool) -> Response:
    """Where the first token lies is told on this machine alone, not through a proxy: the path may name a user."""
    settings = server_of(request).settings
    forwarded = any(name == "forwarded" or name.startswith("x-forwarded-") for name in request.headers)
    where = settings.directory if settings.is_loopback and not forwarded else "SFBATCH_HOME/jobs"
    return _page(request, "login.html", next=there, wrong=wrong, token_file=f"{where}/{FILE}")


def _page(request: Request, template: str, **values: Any) -> Response:
    server = server_of(request)
    text = _templates.get_template(template).render(
        prefix=prefix(request), principal=principal_of(request), auth=server.settings.auth, **values
    )
    # A lone surrogate, which JSON lets through, has no UTF-8.
    return HTMLResponse(text.encode(errors="replace"), headers=HEADERS)


def _to(request: Request, path: str) -> Response:
    return RedirectResponse(f"{prefix(request)}{path}", HTTPStatus.SEE_OTHER)
