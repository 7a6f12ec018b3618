"""A job's files under every address by which Genie's clients ask for them, read while the job writes them."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse

from sfbatch.jobs import jobs, output
from sfbatch.jobs.answer import Json
from sfbatch.jobs.context import server_of
from sfbatch.jobs.links import api_url
from sfbatch.jobs.problem import Problem
from sfbatch.jobs.states import UNFINISHED

routes = APIRouter(tags=["output"])
STREAMS = ("stdout", "stderr")
# What a job wrote is never run by a browser: not as a script of ours, nor as a page that could use the viewer's rights.
HARMLESS = {"Content-Security-Policy": "default-src 'none'; sandbox; style-src 'unsafe-inline'"}


@routes.get("/api/v3/jobs/{job_id}/output", name="get a job's output")
@routes.get("/api/v3/jobs/{job_id}/output/{path:path}", name="get a file of a job")
@routes.get("/output/{job_id}/output", include_in_schema=False)
@routes.get("/output/{job_id}/output/{path:path}", include_in_schema=False)
def get(request: Request, job_id: str, path: str = "") -> Response:
    """A directory as JSON (or HTML, for a browser), or a file, or the part of it that `Range` asks for."""
    server = server_of(request)
    with server.database.read() as connection:
        row = jobs.get(connection, job_id)
    directory = server.settings.directory / row.directory
    if row.backend in server.backends:
        server.backends[row.backend].logs(job_id, directory)
    try:
        opened = output.open_inside(directory, path)
    except Problem:
        # A job that has not begun has written nothing, which is not the same as having no such file.
        if path not in STREAMS or row.status not in UNFINISHED:
            raise
        output.byte_range(request.headers.get("range"), 0)
        return Response(headers={"Accept-Ranges": "bytes", **HARMLESS}, media_type="text/plain;charset=UTF-8")
    if opened.is_directory:
        found = output.listing(opened, api_url(request, "jobs", job_id, "output"))
        if "text/html" in request.headers.get("accept", ""):
            page = output.page(f"{job_id}/{opened.path}".rstrip("/"), found)
            return Response(page, headers=HARMLESS, media_type="text/html;charset=UTF-8")
        return Json(found, media_type="application/json;charset=UTF-8")
    headers = {"Accept-Ranges": "bytes", "Last-Modified": output.http_date(opened), **HARMLESS}
    try:
        part = output.byte_range(request.headers.get("range"), opened.size_bytes)
    except Exception:
        output.close(opened)
        raise
    begin, end = part or (0, opened.size_bytes - 1)
    if part:
        headers["Content-Range"] = f"bytes {begin}-{end}/{opened.size_bytes}"
    headers["Content-Length"] = str(end - begin + 1)
    status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
    return StreamingResponse(output.content(opened, begin, end), status, headers, media_type="text/plain;charset=UTF-8")


@routes.get("/file/{job_id}/{path:path}", include_in_schema=False)
def forwarded(request: Request, job_id: str, path: str) -> Response:
    """Netflix's server answers here what it has under `/api/v3/jobs/`."""
    return RedirectResponse(f"{api_url(request, 'jobs', job_id)}/{quote(path)}", HTTPStatus.TEMPORARY_REDIRECT)
