"""Reads a job's log while it is written: each call brings what is new, and never the same byte twice."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from sfbatch.jobs.api import JobServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sfbatch.jobs.api import Api

STREAMS = ("stdout", "stderr")
_NOTHING_YET = {HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.NOT_FOUND}


class Log:
    """One stream of one job, `stdout` or `stderr`, from the beginning or from byte `read` on."""

    def __init__(self, api: Api, job_id: str, stream: str, read: int = 0) -> None:
        self._api, self._job_id, self.stream, self.read = api, job_id, stream, read

    def new(self) -> Iterator[bytes]:
        """The bytes that came since the last call. A connection that breaks is taken up by the next call.

        Raises JobServerError.
        """
        path, headers = ("jobs", self._job_id, "output", self.stream), {"Range": f"bytes={self.read}-"}
        try:
            with self._api.stream("GET", *path, headers={**headers, "Accept-Encoding": "identity"}) as answer:
                skip = 0 if answer.status_code == HTTPStatus.PARTIAL_CONTENT else self.read
                for chunk in answer.iter_bytes():
                    part, skip = chunk[skip:], max(skip - len(chunk), 0)
                    if part:
                        self.read += len(part)
                        yield part
        except JobServerError as error:
            if error.status not in _NOTHING_YET:
                raise
