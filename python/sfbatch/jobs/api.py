"""Talks to a running job server over its REST interface; needs nothing but the standard library."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from sfbatch.errors import SfBatchError
from sfbatch.local_metastore import default_home

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 30.0


class JobServerError(SfBatchError):
    """The server's answer was an error, with its code; or SFBATCH_SERVER_DOWN: there was no answer."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(code, message)
        self.status = status


class Api:
    """One server: the given one, else SFBATCH_JOBS_URL, else this machine's.

    The token is the given one, else SFBATCH_JOBS_TOKEN, else that of the first start in SFBATCH_HOME.
    """

    def __init__(self, url: str = "", token: str = "") -> None:
        self.url = (url or os.environ.get("SFBATCH_JOBS_URL", "") or DEFAULT_URL).rstrip("/")
        self._token = token or os.environ.get("SFBATCH_JOBS_TOKEN", "") or _own_token()

    def call(self, method: str, *path: str, body: Any = None, query: str = "") -> Any:
        """One request; the answer's JSON, None when it has none. `path` is below /api/v3, each part is quoted.

        Raises JobServerError.
        """
        where = "/".join((f"{self.url}/api/v3", *(quote(part, safe=":") for part in path))) + query
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(where, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise _told(error) from None
        except OSError as error:
            message = (
                f"no job server answers at {self.url} ({error}): start it (sfbatch server), or set SFBATCH_JOBS_URL."
            )
            raise JobServerError("SFBATCH_SERVER_DOWN", message) from None
        return json.loads(content) if content else None

    def find(self, *path: str) -> Any:
        """What is there, None when nothing is. Raises JobServerError."""
        try:
            return self.call("GET", *path)
        except JobServerError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def every(self, kind: str) -> list[dict[str, Any]]:
        """All resources of a kind, e.g. `clusters`."""
        found: list[dict[str, Any]] = []
        number, pages = 0, 1
        while number < pages:
            page = self.call("GET", kind, query=f"?page={number}&size=500&sort=id,asc")
            found += next(iter(page.get("_embedded", {}).values()), [])
            number, pages = number + 1, page["page"]["totalPages"]
        return found


def _own_token() -> str:
    path = default_home() / "jobs/token"
    return path.read_text().strip() if path.exists() else ""


def _told(error: urllib.error.HTTPError) -> JobServerError:
    try:
        document = json.loads(error.read())
        return JobServerError(document["code"], document["message"], error.code)
    except (ValueError, KeyError, TypeError):
        return JobServerError("SFBATCH_SERVER_ERROR", f"the answer was {error.code} {error.reason}", error.code)
