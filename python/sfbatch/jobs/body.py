"""Reads a request's body and says what is wrong with it the way Netflix's server does: 415, 400 or 412."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from sfbatch.jobs.problem import Problem, bad_request, precondition
from sfbatch.jobs.requests import References, Tags

if TYPE_CHECKING:
    from starlette.requests import Request

M = TypeVar("M", bound=BaseModel)
_BROKEN_RULE = {  # pydantic's names for a value of the right type that breaks a rule; all others mean a wrong type
    "missing",
    "string_too_short",
    "string_too_long",
    "too_short",
    "too_long",
    "greater_than_equal",
    "less_than_equal",
    "value_error",
}
_MESSAGES = {  # Genie's own sentences
    "name": "A name is required and must be at most 255 characters",
    "user": "A user is required and must be at most 255 characters",
    "version": "A version is required and must be at most 255 characters.",
    "executable": "An executable is required",
    "checkDelay": "The delay between checks must be at least 1 millisecond. Probably should be much more than that",
    "clusterCriterias": "At least one cluster criteria is required in order to run a job",
    "commandCriteria": "At least one valid (e.g. non-blank) command criteria is required",
    "email": "Must be a valid email address",
    "status": "A valid status is required",
}
IDS: TypeAdapter[list[str]] = TypeAdapter(References)
TAGS: TypeAdapter[list[str]] = TypeAdapter(Tags)


async def read_json(request: Request) -> Any:
    """The body as JSON. Raises Problem 415 for another content type, 400 for what is no JSON."""
    kind = content_type(request)
    if kind != "application/json" and not kind.endswith("+json"):
        raise unsupported(kind)
    return parse(await request.body())


def content_type(request: Request) -> str:
    """What the client says the body is, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(kind: str) -> Problem:
    """415."""
    message = f"Content type '{kind}' not supported"
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "SFBATCH_BAD_REQUEST", message)


def parse(text: bytes | str) -> Any:
    """JSON as sent. Raises Problem 400."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"JSON parse error: {error}") from None


def validate(model: type[M], document: Any) -> M:
    """The document as a `model`. Raises Problem 400 or 412, with every fault in the message."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise problem_of(error, model.__name__) from None


def validate_list(adapter: TypeAdapter[list[str]], document: Any) -> list[str]:
    """A list of strings. Raises Problem 400 or 412."""
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise problem_of(error, "list") from None


def problem_of(error: ValidationError, name: str) -> Problem:
    """One problem that tells all that pydantic found."""
    faults, wrong, messages = [], [], []
    for found in error.errors(include_url=False):
        field, text = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
        sentence = f"{field}: {text}" if field else text
        faults.append({"objectName": name, "field": field, "code": found["type"], "defaultMessage": text})
        messages.append(_MESSAGES.get(field, sentence))
        left_out = bool(field) and found["input"] is None  # null is as good as nothing
        if found["type"] not in _BROKEN_RULE and not left_out:
            wrong.append(sentence)
    if wrong:
        return bad_request("JSON parse error: " + "; ".join(wrong))
    return precondition("\n".join(dict.fromkeys(messages)), errors=faults)
