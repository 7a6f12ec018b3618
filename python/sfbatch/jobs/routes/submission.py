"""Reads a job as it is sent: JSON, or multipart with a part `request` and any number of parts `attachment`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from sfbatch.jobs.accept import Attachment
from sfbatch.jobs.body import content_type, parse, read_json, unsupported, validate
from sfbatch.jobs.context import server_of
from sfbatch.jobs.problem import bad_request, precondition, too_large
from sfbatch.jobs.requests import JobRequest
from sfbatch.jobs.routes import schema

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_ATTACHMENTS = 1000
_REQUEST = schema.of(JobRequest)
OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["request"],
                    "properties": {
                        "request": _REQUEST,
                        "attachment": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                },
                "encoding": {"request": {"contentType": "application/json"}},
            },
        },
    }
}


async def read_submission(request: Request) -> tuple[JobRequest, list[Attachment]]:
    """The job and its files; the files are closed with the request. Raises Problem 400, 412, 413, 415."""
    kind = content_type(request)
    if kind == "application/json":
        return validate(JobRequest, await read_json(request)), []
    if kind != "multipart/form-data":
        raise unsupported(kind)
    try:
        form = await request.form(
            max_files=MOST_ATTACHMENTS + 1, max_fields=MOST_ATTACHMENTS, max_part_size=1024 * 1024
        )
    except (HTTPException, MultipartParseError, LookupError, UnicodeError) as error:
        raise bad_request(f"The multipart body cannot be read: {getattr(error, 'detail', error)}") from None
    part = form.get("request")
    if part is None:
        raise precondition("A part 'request' with the job as JSON is needed")
    # Netflix's client gives this part an (empty) file name, which makes it a file; curl gives it none.
    most_bytes = server_of(request).settings.max_json_bytes
    if isinstance(part, UploadFile) and (part.size or 0) > most_bytes:
        raise too_large(most_bytes)
    text = await part.read() if isinstance(part, UploadFile) else part
    job = validate(JobRequest, parse(text))
    files = [part for part in form.getlist("attachment") if isinstance(part, UploadFile)]
    if len(files) < len(form.getlist("attachment")):
        raise precondition("An attachment needs a file name")
    return job, [Attachment(file.filename or "", file.file) for file in files]
