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
    """One stream of one job, `stdout` or `stderr`, from the beginning; through all its attempts."""

    def __init__(self, api: Api, job_id: str, stream: str) -> None:
        self._api, self._job_id, self.stream, self._read, self._attempt = api, job_id, stream, 0, 1

    def new(self, attempt: int = 1) -> Iterator[bytes]:
        """The bytes that came since the last call, of the attempts up to this one.

        A connection that breaks is taken up by the next call. Raises JobServerError.
        """
        while self._attempt < attempt:  # their files were set aside when they failed
            yield from self._new("attempts", str(self._attempt), self.stream)
            self._attempt, self._read = self._attempt + 1, 0
        yield from self._new(self.stream)

    def _new(self, *name: str) -> Iterator[bytes]:
        path, headers = ("jobs", self._job_id, "output", *name), {"Range": f"bytes={self._read}-"}
        try:
            with self._api.stream("GET", *path, headers={**headers, "Accept-Encoding": "identity"}) as answer:
                skip = 0 if answer.status_code == HTTPStatus.PARTIAL_CONTENT else self._read
                for chunk in answer.iter_bytes():
                    part, skip = chunk[skip:], max(skip - len(chunk), 0)
                    if part:
                        self._read += len(part)
                        yield part
        except JobServerError as error:
            if error.status not in _NOTHING_YET:
                raise
