"""Stands before every route: who asks, from which page, by which name, and how much; it lets pass or answers itself.

Any web page can make a browser send requests to a loopback port, and DNS can make any name point there. So a name that
is not ours is refused (`Host`), and so is a request that a page of another origin sent (`Origin`, `Sec-Fetch-Site`).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse

from sfbatch.jobs.answer import problem_answer
from sfbatch.jobs.links import prefix
from sfbatch.jobs.problem import Problem, forbidden, too_large
from sfbatch.jobs.tokens import ADMIN, Principal
from sfbatch.jobs.web import session

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sfbatch.jobs.settings import Settings
    from sfbatch.jobs.tokens import Authority

# For load balancers, and what a browser needs before it knows a token; none of it tells anything about jobs.
OPEN = {"/actuator/health", "/actuator/info", session.LOGIN, session.LOGOUT, *session.STATIC}
READS = session.READS
_JOBS = re.compile(r"/api/v3/jobs(/[^/]+(/rerun)?)?/?|/jobs/[^/]+/(kill|rerun)")


class Guard:
    """ASGI middleware. Puts the Principal into `request.state.principal`."""

    def __init__(self, app: ASGIApp, settings: Settings, authority: Authority) -> None:
        self._app, self._settings, self._authority = app, settings, authority
        names = {"localhost", socket.gethostname(), socket.getfqdn(), settings.host}
        self._names = {name.lower() for name in names} | {name.lower() for name in settings.allowed_hosts}
        self._anybody = Principal("anonymous", ADMIN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(headers, scope["method"])
            limit = self._limit(headers)
            principal = await self._identify(headers, scope["method"])
            if principal is None and scope["path"] not in OPEN:
                await _stranger(scope, headers)(scope, receive, send)
                return
            self._check_role(principal, scope)
        except Problem as problem:
            await problem_answer(problem, scope["path"])(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        if "/output" not in scope["path"]:  # as Spring, which takes `/jobs/` for `/jobs`
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self._app(scope, _limited(receive, limit), send)

    def _check_host(self, headers: Headers) -> None:
        """An address is always ours: only a name can be made to point here by somebody else's DNS."""
        host = _host_of(headers.get("host", ""))
        if not (_is_address(host) or host in self._names):
            raise forbidden(f"This server is not called '{host}': start it with --allowed-host {host} if it is")

    def _check_origin(self, headers: Headers, method: str) -> None:
        origin = headers.get("origin")
        if origin is None:
            if method not in READS and headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
                raise forbidden("A page of another site may not do this")
            return
        sent_to = headers.get("x-forwarded-host", headers.get("host", "")).lower()
        refused = forbidden(f"A page of {origin} may not use this server")
        try:
            parts = urlsplit(origin.lower())
        except ValueError:
            raise refused from None
        same = parts.netloc in {sent_to, headers.get("host", "").lower()}
        known = same and (_is_address(_host_of(parts.netloc)) or _host_of(parts.netloc) in self._names)
        if parts.scheme not in {"http", "https"} or not known:
            raise refused

    def _limit(self, headers: Headers) -> int:
        multipart = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self._settings.max_upload_bytes if multipart else self._settings.max_json_bytes
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise too_large(limit)
        return limit

    async def _identify(self, headers: Headers, method: str) -> Principal | None:
        if not self._settings.auth:
            return self._anybody
        authorization = headers.get("authorization") or session.authorization(headers, method)
        if not authorization:
            return None
        return self._authority.recall(authorization) or await run_in_threadpool(self._authority.identify, authorization)

    def _check_role(self, principal: Principal | None, scope: Scope) -> None:
        """Reading is for all; jobs for submitters; everything else for admins. Whose job it is, the route checks."""
        if principal is None or scope["method"] in READS or principal.is_admin or scope["path"] in OPEN:
            return
        if not (principal.may_submit and _JOBS.fullmatch(scope["path"])):
            raise forbidden(f"The role of {principal.user} is {principal.role}: it does not allow this")


def _stranger(scope: Scope, headers: Headers) -> Any:
    """The answer without a token: a person is asked for it, a program is told."""
    if scope["method"] in READS and session.is_page(scope["path"], headers):
        query = scope.get("query_string", b"").decode("latin-1")
        where = session.login_address(prefix(Request(scope)), scope["path"], query)
        return RedirectResponse(where, HTTPStatus.SEE_OTHER)
    message = "A token is needed: Authorization: Bearer TOKEN, or Basic with the token as password"
    challenge = {"WWW-Authenticate": 'Basic realm="sfbatch", charset="UTF-8"'}
    problem = Problem(HTTPStatus.UNAUTHORIZED, "SFBATCH_UNAUTHORIZED", message, challenge)
    return problem_answer(problem, scope["path"])


def _host_of(host: str) -> str:
    """The host without its port and brackets."""
    name = host.strip().lower()
    return name[1 : name.index("]")] if name.startswith("[") and "]" in name else name.partition(":")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _limited(receive: Receive, limit: int) -> Any:
    """Count the bytes that come, whatever Content-Length said."""
    got = 0

    async def count() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > limit:
            raise too_large(limit)
        return message

    return count
