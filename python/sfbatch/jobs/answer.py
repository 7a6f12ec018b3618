"""Answers as Netflix's server writes them: HAL, plain JSON, errors; every one is ASCII, whatever the text in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from sfbatch.jobs.problem import Problem


class Json(Response):
    """application/json."""

    media_type = "application/json;charset=UTF-8"

    def render(self, content: Any) -> bytes:
        """ASCII, so that text that is no valid Unicode (a lone surrogate in metadata) cannot break an answer."""
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


class Hal(Json):
    """application/hal+json, as pages, single resources and, with Netflix's server, bare lists are."""

    media_type = "application/hal+json;charset=UTF-8"


def done(status: int, location: str | None = None) -> Response:
    """An answer without a body."""
    return Response(status_code=status, headers={"Location": location} if location else None)


def problem_answer(problem: Problem, path: str) -> Response:
    """An error body."""
    return Json(problem.body(path), status_code=problem.status.value, headers=dict(problem.headers or {}))
