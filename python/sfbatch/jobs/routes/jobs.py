"""Jobs: submit, look, search, kill; a job's cluster, command, applications, and all that Genie tells about it."""

from __future__ import annotations

import shlex
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from sfbatch.jobs import catalog, jobs, queue
from sfbatch.jobs.accept import Sender, accept
from sfbatch.jobs.answer import Hal, Json, done
from sfbatch.jobs.clock import duration, iso, now_ms, spring
from sfbatch.jobs.context import principal_of, server_of
from sfbatch.jobs.kinds import APPLICATIONS, CLUSTERS, COMMANDS, Kind
from sfbatch.jobs.links import api_url, hal
from sfbatch.jobs.pages import Page, epoch_ms
from sfbatch.jobs.problem import not_found
from sfbatch.jobs.routes import schema
from sfbatch.jobs.routes.resources import in_list, shown
from sfbatch.jobs.routes.submission import OPENAPI, read_submission
from sfbatch.jobs.states import ACCEPTED
from sfbatch.jobs.tables import resources

routes = APIRouter(prefix="/api/v3/jobs", tags=["jobs"])
ASPECTS = ("output", "request", "execution", "metadata", "status", "cluster", "command", "applications")
PAGE_SIZE = 10


@routes.post("", status_code=HTTPStatus.ACCEPTED, openapi_extra=OPENAPI, name="submit a job")
async def submit(request: Request) -> Response:
    """Store the job, and answer; it runs when its turn comes. 409: the id is taken, and that job goes on."""
    server = server_of(request)
    client = request.client.host if request.client else None
    sender = Sender(principal_of(request), client, request.headers.get("user-agent"))
    asked, attachments = await read_submission(request)
    server.dispatcher.check()
    with server.dispatcher.rush.submission():
        job_id = await run_in_threadpool(
            accept, server.database, server.settings, server.dispatcher.server_id, asked, attachments, sender
        )
    server.dispatcher.wake()
    return done(HTTPStatus.ACCEPTED, api_url(request, "jobs", job_id))


@routes.get("", openapi_extra=schema.query(jobs.FILTERS), name="search jobs")
def search(request: Request) -> Response:
    """A page of the jobs that meet every filter. States are alternatives, all tags must be there, `%` is anything."""
    query = request.query_params
    page = Page.of(query, PAGE_SIZE, "created", jobs.SORTS)
    times = {name: epoch_ms(query, name) for name in ("minStarted", "maxStarted", "minFinished", "maxFinished")}
    with server_of(request).database.read() as connection:
        rows, total = jobs.search(connection, query, times, page)
    items = [
        hal(
            {
                "id": row.id,
                "name": row.name,
                "user": row.user,
                "status": row.status,
                **_times(row),
                "clusterName": row.cluster_name,
                "commandName": row.command_name,
                "runtime": _runtime(row),
            },
            [("self", api_url(request, "jobs", row.id))],
        )
        for row in rows
    ]
    return Hal(page.document(api_url(request, "jobs"), query, jobs.FILTERS, "jobSearchResultList", items, total))


@routes.get("/{job_id}", name="get a job")
def get(request: Request, job_id: str) -> Response:
    """One job; while it waits, `queuePosition` says how many are to go before it, itself included, `waitsFor` why."""
    server = server_of(request)
    with server.database.read() as connection:
        row = jobs.get(connection, job_id)
        position = queue.position(connection, job_id) if row.status == ACCEPTED else None
        waits_for = server.waits_for(connection, row)
    document = {
        **_common(row, row.request),
        "status": row.status,
        "statusMsg": row.status_msg,
        **_times(row),
        "archiveLocation": None,
        "clusterName": row.cluster_name,
        "commandName": row.command_name,
        "runtime": _runtime(row),
        "commandArgs": _arguments(row.request),
        "grouping": row.grouping,
        "groupingInstance": row.grouping_instance,
        "clusterId": row.cluster_id,
        "queuePosition": position,
        "waitsFor": waits_for,
        "attempt": row.attempt,
    }
    return Hal(hal(document, _links(request, job_id, "", ASPECTS)))


@routes.delete("/{job_id}", status_code=HTTPStatus.ACCEPTED, name="kill a job")
def kill(request: Request, job_id: str) -> Response:
    """Ask for its end; a finished job stays as it is."""
    server = server_of(request)
    with server.database.write() as connection:
        jobs.kill(connection, job_id, principal_of(request))
    server.dispatcher.wake()
    return done(HTTPStatus.ACCEPTED)


@routes.get("/{job_id}/status", name="get a job's status")
def status(request: Request, job_id: str) -> Response:
    """The state alone, which clients poll."""
    with server_of(request).database.read() as connection:
        return Json({"status": jobs.status(connection, job_id)})


@routes.get("/{job_id}/request", name="get a job's request")
def asked(request: Request, job_id: str) -> Response:
    """The job as it was asked for."""
    row = _row(request, job_id)
    names = (
        "configs", "dependencies", "setupFile", "clusterCriterias", "commandCriteria", "group",
        "disableLogArchival", "email", "cpu", "memory", "timeout", "applications", "grouping", "groupingInstance",
    )  # fmt: skip
    document = {
        **_common(row, row.request),
        "commandArgs": _arguments(row.request),
        **{name: row.request[name] for name in names},
    }
    aspects = ("execution", "output", "status", "metadata")
    return Hal(hal(document, _links(request, job_id, "request", aspects)))


@routes.get("/{job_id}/execution", name="get a job's execution")
def execution(request: Request, job_id: str) -> Response:
    """Where and how it runs; exit code 999 was killed, 666 is lost."""
    row = _row(request, job_id)
    document = {
        "id": row.id,
        "created": iso(row.created_ms),
        "updated": iso(row.updated_ms),
        "hostName": row.host_name,
        "processId": row.process_id,
        "checkDelay": row.check_delay_ms,
        "timeout": spring(row.started_ms + row.timeout_s * 1000) if row.started_ms else None,
        "exitCode": row.exit_code,
        "memory": row.memory_mb,
    }
    aspects = ("request", "output", "status", "metadata")
    return Hal(hal(document, _links(request, job_id, "execution", aspects)))


@routes.get("/{job_id}/metadata", name="get a job's metadata")
def metadata(request: Request, job_id: str) -> Response:
    """Who sent it, and sizes in bytes."""
    row = _row(request, job_id)
    directory = server_of(request).settings.directory / row.directory
    sizes = {
        name: path.stat().st_size if (path := directory / name).is_file() else None for name in ("stdout", "stderr")
    }
    document = {
        "id": row.id,
        "created": iso(row.created_ms),
        "updated": iso(row.updated_ms),
        "clientHost": row.client_host,
        "userAgent": row.user_agent,
        "numAttachments": row.attachments,
        "totalSizeOfAttachments": row.attachments_bytes,
        "stdOutSize": sizes["stdout"],
        "stdErrSize": sizes["stderr"],
    }
    aspects = ("request", "output", "status", "execution")
    return Hal(hal(document, _links(request, job_id, "metadata", aspects)))


@routes.get("/{job_id}/cluster", name="get a job's cluster")
def cluster(request: Request, job_id: str) -> Response:
    """404 while none is chosen."""
    return _chosen(request, job_id, CLUSTERS, "cluster_id")


@routes.get("/{job_id}/command", name="get a job's command")
def command(request: Request, job_id: str) -> Response:
    """404 while none is chosen."""
    return _chosen(request, job_id, COMMANDS, "command_id")


@routes.get("/{job_id}/applications", name="get a job's applications")
def applications(request: Request, job_id: str) -> Response:
    """In order; those of the request, else the command's."""
    with server_of(request).database.read() as connection:
        row = jobs.get(connection, job_id)
        known = select(resources).where(resources.c.kind == APPLICATIONS.name, resources.c.id.in_(row.applications))
        found = {each["id"]: each for each in catalog.with_tags(connection, APPLICATIONS, connection.execute(known))}
    return Hal([in_list(request, APPLICATIONS, found[each]) for each in row.applications if each in found])


def _chosen(request: Request, job_id: str, kind: Kind, column: str) -> Response:
    with server_of(request).database.read() as connection:
        chosen = getattr(jobs.get(connection, job_id), column)
        if chosen is None:
            raise not_found(f"Job {job_id} doesn't have a {kind.one} associated with it")
        return Hal(shown(request, kind, catalog.get(connection, kind, chosen)))


def _row(request: Request, job_id: str) -> Any:
    with server_of(request).database.read() as connection:
        return jobs.get(connection, job_id)


def _common(row: Any, asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "created": iso(row.created_ms),
        "updated": iso(row.updated_ms),
        "version": row.version,
        "user": row.user,
        "name": row.name,
        "description": asked["description"],
        "metadata": asked["metadata"],
        "tags": asked["tags"],
    }


def _arguments(asked: dict[str, Any]) -> str | None:
    """The arguments as one line, also of a job that gave them as a list."""
    line: str | None = asked["commandArgs"]
    return line if asked.get("commandArguments") is None else shlex.join(asked["commandArguments"])


def _times(row: Any) -> dict[str, str | None]:
    return {"started": iso(row.started_ms), "finished": iso(row.finished_ms)}


def _runtime(row: Any) -> str:
    if row.started_ms is None:
        return duration(0)
    return duration((row.finished_ms or now_ms()) - row.started_ms)


def _links(request: Request, job_id: str, here: str, aspects: tuple[str, ...]) -> list[tuple[str, str]]:
    job = api_url(request, "jobs", job_id)
    own = [("self", f"{job}/{here}"), ("job", job)] if here else [("self", job)]
    return [*own, *((aspect, f"{job}/{aspect}") for aspect in aspects)]
