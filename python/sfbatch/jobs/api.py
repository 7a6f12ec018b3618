"""Talks to a running job server over its REST interface; every failure is a JobServerError with the server's code."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from sfbatch.errors import SfBatchError
from sfbatch.local_metastore import default_home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 30.0
LONGEST_PAUSE_S = 5.0
COMES_UP_S = 5.0  # how long a server that was started just now is waited for
DOWN, AWAY = "SFBATCH_SERVER_DOWN", {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class JobServerError(SfBatchError):
    """The server's answer was an error, with its code; or SFBATCH_SERVER_DOWN: there was no answer."""

    def __init__(self, code: str, message: str, status: int = 0, was_sent: bool = True) -> None:
        super().__init__(code, message)
        self.status, self.was_sent = status, was_sent  # not sent: there was nobody to connect to

    @property
    def may_pass(self) -> bool:
        """Whether the same request may succeed in a moment: the server restarts, or its database is away."""
        return self.code == DOWN or self.status in AWAY


class Api:
    """One server: the given one, else SFBATCH_JOBS_URL, else the one that was started with this SFBATCH_HOME.

    The token is the given one, else SFBATCH_JOBS_TOKEN, else, for this machine's server, that of its first start.
    """

    def __init__(self, url: str = "", token: str = "") -> None:
        import httpx

        given = url or os.environ.get("SFBATCH_JOBS_URL", "")
        self._is_given = bool(given)
        self.url = (given or _running() or DEFAULT_URL).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"'{self.url}' is no address of a job server: expected e.g. {DEFAULT_URL} (SFBATCH_JOBS_URL)."
            raise JobServerError("SFBATCH_BAD_REQUEST", message)
        self._is_here = bool(not given and _running()) or parts.hostname in {"127.0.0.1", "localhost", "::1"}
        self._token = token or os.environ.get("SFBATCH_JOBS_TOKEN", "")
        self._nobody_until_s = time.monotonic() + COMES_UP_S
        # A proxy of the environment cannot reach this machine's loopback.
        self._http = httpx.Client(
            headers={"Accept": "application/json"}, timeout=TIMEOUT_S, trust_env=not self._is_here
        )
        self._know_server()

    def call(self, method: str, *path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """One request; the answer's JSON, None when it has none. `path` is below /api/v3, each part is quoted.

        Raises JobServerError.
        """
        given = {} if body is None else {"json": body}
        content = self.send(method, *path, params=query, **given).content
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise JobServerError(
                "SFBATCH_SERVER_ERROR", f"{self.url} is no job server: its answer is no JSON"
            ) from None

    def send(self, method: str, *path: str, **options: Any) -> httpx.Response:
        """One request, with httpx's options; the whole answer. Raises JobServerError."""
        with self.stream(method, *path, **options) as answer:
            answer.read()
            return answer

    @contextmanager
    def stream(self, method: str, *path: str, **options: Any) -> Iterator[httpx.Response]:
        """One request; the answer, to be read within. Raises JobServerError.

        Where nobody listens yet, it is waited for a few seconds: `sfbatch server` may have been started just now.
        """
        import httpx

        while True:
            where = "/".join((f"{self.url}/api/v3", *(quote(part, safe=":") for part in path)))
            try:
                with self._http.stream(method, where, **options) as answer:
                    self._nobody_until_s = 0.0
                    if answer.is_success:
                        yield answer
                        return
                    answer.read()
                    raise self._told(answer)
            except httpx.HTTPError as error:
                was_sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if was_sent or time.monotonic() > self._nobody_until_s:
                    raise JobServerError(DOWN, self._down(error), was_sent=was_sent) from None
            time.sleep(COMES_UP_S / 20)
            self._know_server()

    def _know_server(self) -> None:
        """Address and token: the given ones; else, for this machine's server, what it may have left only now."""
        if not self._is_given:
            self.url = _running() or self.url
        token = self._token or (_left("token") if self._is_here else "")
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def patiently(self, method: str, *path: str, for_s: float, **options: Any) -> Any:
        """`call`, again and again while the server is away; only for requests that may be made twice."""
        give_up, pause_s = time.monotonic() + for_s, 0.2
        while True:
            try:
                return self.call(method, *path, **options)
            except JobServerError as error:
                if not error.may_pass or time.monotonic() > give_up:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

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
            page = self.call("GET", kind, query={"page": number, "size": 500, "sort": "id,asc"})
            found += next(iter(page.get("_embedded", {}).values()), [])
            number, pages = number + 1, page["page"]["totalPages"]
        return found

    def _down(self, error: Exception) -> str:
        start = "Start one: `sfbatch server` (pip install 'sfbatch[server]')" if self._is_here else "Is it up?"
        return (
            f"no job server answers at {self.url} ({error or type(error).__name__}). {start}; or set SFBATCH_JOBS_URL."
        )

    def _told(self, answer: httpx.Response) -> JobServerError:
        status = answer.status_code
        try:
            document = answer.json()
            code, message = str(document["code"]), str(document["message"])
        except (ValueError, KeyError, TypeError):
            message = f"the answer of {self.url} was {status} {answer.reason_phrase}: is it a job server's address?"
            code = "SFBATCH_SERVER_ERROR"
        if status == HTTPStatus.UNAUTHORIZED:
            sent = "Authorization" in self._http.headers
            message += f". {self.url} knows no such token" if sent else f". No token was sent to {self.url}"
            message += ": set SFBATCH_JOBS_TOKEN (sfbatch tokens add makes one)"
        return JobServerError(code, message, status)


def _running() -> str:
    """The address of the server that works in this SFBATCH_HOME now; of one that has ended another may have it."""
    from sfbatch.jobs import home

    return _left("url") if home.is_held(default_home() / "jobs") else ""


def _left(name: str) -> str:
    """What the server of this SFBATCH_HOME left for clients: its `url`, the `token` of its first start."""
    try:
        return (default_home() / "jobs" / name).read_text().strip()
    except OSError:  # no server was started here, or it is another user's
        return ""
