"""What Genie has not: who asks, where a job would go, a job run again, and the batches that a job published."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from sfbatch.jobs import jobs
from sfbatch.jobs.accept import ATTACHMENTS, Sender
from sfbatch.jobs.answer import Json, done
from sfbatch.jobs.batches import batches
from sfbatch.jobs.body import read_json, validate
from sfbatch.jobs.context import Server, principal_of, server_of
from sfbatch.jobs.links import api_url
from sfbatch.jobs.problem import precondition
from sfbatch.jobs.queue import Load
from sfbatch.jobs.requests import JobRequest
from sfbatch.jobs.rerun import rerun
from sfbatch.jobs.routes import schema
from sfbatch.jobs.selection import choices, least_loaded, no_match

routes = APIRouter(tags=["jobs"])


@routes.get("/api/v3/me", name="who asks")
def me(request: Request) -> Response:
    """Whose token it is; `authenticated` is false where the server asks for none."""
    principal = principal_of(request)
    return Json({"user": principal.user, "role": principal.role, "authenticated": server_of(request).settings.auth})


@routes.post("/api/v3/jobs/dry-run", openapi_extra=schema.body(schema.of(JobRequest)), name="see where a job would go")
async def dry_run(request: Request) -> Response:
    """The cluster and the command that would take the job now, and the others that may; nothing is stored."""
    asked = validate(JobRequest, await read_json(request))
    return Json(await run_in_threadpool(_routed, server_of(request), asked))


def _routed(server: Server, asked: JobRequest) -> dict[str, Any]:
    with server.database.read() as connection:
        criteria = [criterion.tags for criterion in asked.clusterCriterias]
        candidates = choices(connection, criteria, asked.commandCriteria)
        running = Load.count(connection, server.dispatcher.server_id).by_cluster
        first = least_loaded(candidates, running)
        if first is None:
            raise precondition(no_match(connection, criteria, asked.commandCriteria))
    shown = [
        {
            "clusterId": choice.cluster_id,
            "clusterName": choice.cluster_name,
            "commandId": choice.command_id,
            "commandName": choice.command_name,
            "runningJobs": running.get(choice.cluster_id, 0),
            "maxRunningJobs": choice.limits.running or None,
        }
        for choice in sorted(candidates, key=lambda choice: choice is not first)
    ]
    return {"choice": shown[0], "others": shown[1:], "arguments": asked.arguments()}


@routes.post("/api/v3/jobs/{job_id}/rerun", status_code=HTTPStatus.ACCEPTED, name="run a job again")
def again(request: Request, job_id: str) -> Response:
    """A new job like this one, in the name of who asks, from the files it came with. `Location` is the new job."""
    new_id = rerun(server_of(request), job_id, sender_of(request))
    server_of(request).dispatcher.wake()
    return done(HTTPStatus.ACCEPTED, api_url(request, "jobs", new_id))


@routes.get("/api/v3/jobs/{job_id}/attachments", name="get what came with a job")
def attached(request: Request, job_id: str) -> Response:
    """Name, size and SHA-256 of each file, as it was sent."""
    with server_of(request).database.read() as connection:
        return Json(jobs.get(connection, job_id).request.get(ATTACHMENTS, []))


@routes.get("/api/v3/jobs/{job_id}/batches", name="get what a job published")
def published(request: Request, job_id: str) -> Response:
    """Tables, versions, partitions and batches, as the job's writer told its log so far; oldest first."""
    return Json(batches_of(server_of(request), job_id))


def batches_of(server: Server, job_id: str) -> list[dict[str, Any]]:
    """The job's batches, from a log that is up to date. Raises Problem 404."""
    with server.database.read() as connection:
        row = jobs.get(connection, job_id)
    directory = server.settings.directory / row.directory
    if row.backend in server.backends:
        server.backends[row.backend].logs(job_id, directory)
    return batches(directory, job_id)


def sender_of(request: Request) -> Sender:
    """Who sent this request, and from where."""
    client = request.client.host if request.client else None
    known = server_of(request).settings.auth
    return Sender(principal_of(request), client, request.headers.get("user-agent"), known)
