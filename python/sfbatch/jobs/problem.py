"""What goes wrong, as clients see it: Spring's error body, which Genie's clients read, with our code in it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sfbatch.errors import SfBatchError
from sfbatch.jobs.clock import now_ms, spring

if TYPE_CHECKING:
    from collections.abc import Mapping

_NETFLIX = "com.netflix.genie.common.exceptions."
_SPRING = "org.springframework."
# What Netflix's server names in `exception`; some clients switch on it.
_EXCEPTIONS = {
    HTTPStatus.BAD_REQUEST: _SPRING + "http.converter.HttpMessageNotReadableException",
    HTTPStatus.NOT_FOUND: _NETFLIX + "GenieNotFoundException",
    HTTPStatus.METHOD_NOT_ALLOWED: _SPRING + "web.HttpRequestMethodNotSupportedException",
    HTTPStatus.CONFLICT: _NETFLIX + "GenieConflictException",
    HTTPStatus.PRECONDITION_FAILED: _NETFLIX + "GeniePreconditionException",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: _SPRING + "web.HttpMediaTypeNotSupportedException",
    HTTPStatus.INTERNAL_SERVER_ERROR: _NETFLIX + "GenieServerException",
    HTTPStatus.SERVICE_UNAVAILABLE: _NETFLIX + "GenieServerUnavailableException",
}


class ServerError(SfBatchError):
    """The server cannot start or go on: SFBATCH_DATABASE_FAILED, SFBATCH_SERVER_REFUSED."""


class Problem(SfBatchError):  # noqa: N818 - it is an answer; the errors of the server itself are ServerErrors
    """A request that is answered with an error. The message is Genie's own where Genie has one."""

    def __init__(
        self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(code, message)
        self.status, self.message, self.headers, self.more = status, message, headers, more

    def body(self, path: str) -> dict[str, Any]:
        """The answer's body for a request to `path`."""
        named = {"exception": _EXCEPTIONS[self.status]} if self.status in _EXCEPTIONS else {}
        return {
            "timestamp": spring(now_ms()),
            "status": self.status.value,
            "error": self.status.phrase,
            **named,
            **self.more,
            "message": self.message,
            "path": path,
            "code": self.code,
        }


def bad_request(message: str) -> Problem:
    """400: not JSON, a wrong type, a bad parameter."""
    return Problem(HTTPStatus.BAD_REQUEST, "SFBATCH_BAD_REQUEST", message)


def forbidden(message: str) -> Problem:
    """403: known, but not allowed to."""
    return Problem(HTTPStatus.FORBIDDEN, "SFBATCH_FORBIDDEN", message)


def not_found(message: str) -> Problem:
    """404."""
    return Problem(HTTPStatus.NOT_FOUND, "SFBATCH_NOT_FOUND", message)


def conflict(message: str) -> Problem:
    """409: the id is taken."""
    return Problem(HTTPStatus.CONFLICT, "SFBATCH_ID_TAKEN", message)


def precondition(message: str, **more: Any) -> Problem:
    """412: well-formed, but against the rules."""
    return Problem(HTTPStatus.PRECONDITION_FAILED, "SFBATCH_INVALID", message, **more)


def too_large(limit_bytes: int) -> Problem:
    """413."""
    message = f"The request is larger than {limit_bytes} bytes"
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SFBATCH_TOO_LARGE", message, {"Connection": "close"})
