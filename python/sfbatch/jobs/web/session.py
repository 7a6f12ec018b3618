"""Who a browser is: the token in a cookie that no script reads and no other site's request carries.

A request that changes something must besides come from a page of ours: browsers say so (`Origin`, `Sec-Fetch-Site`),
and the guard refuses every other origin before it looks at the cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import cookie_parser

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response

COOKIE = "sfbatch_token"
LOGIN, LOGOUT = "/login", "/logout"
STATIC = ("/static/page.css", "/static/page.js", "/static/page.svg")
READS = {"GET", "HEAD", "OPTIONS"}


def authorization(headers: Headers, method: str) -> str:
    """The `Authorization` that the cookie stands for; empty when there is none, or when it must not count."""
    from_our_page = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"
    if method not in READS and not from_our_page:
        return ""
    token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return f"Bearer {token}" if token else ""


def is_page(path: str, headers: Headers) -> bool:
    """Whether a person at a browser asks, who is better shown a page than JSON."""
    return "text/html" in headers.get("accept", "") and not path.startswith(("/api/", "/actuator/", "/metrics"))


def remember(answer: Response, token: str, secure: bool) -> None:
    """Until the browser closes."""
    answer.set_cookie(COOKIE, token, path="/", secure=secure, httponly=True, samesite="strict")


def forget(answer: Response) -> None:
    """Sign out."""
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def login_address(prefix: str, path: str, query: str) -> str:
    """Where to sign in, and come back from."""
    there = f"{path}?{query}" if query else path
    return f"{prefix}{LOGIN}?next={quote(there, safe='/')}"


def local(address: str) -> str:
    r"""The address if it leads to a page of this server, else the first page.

    >>> [local(a) for a in ("/jobs/a?x=1", "//evil.example", "https://evil.example", "/\\evil.example", "")]
    ['/jobs/a?x=1', '/', '/', '/', '/']
    """
    plain = address.isprintable() and "\\" not in address
    return address if plain and address.startswith("/") and not address.startswith("//") else "/"
