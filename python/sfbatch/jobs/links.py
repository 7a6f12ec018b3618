"""Addresses in answers: as the client reached us, through whatever proxy, since Netflix's client calls them back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from starlette.requests import Request

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def base_url(request: Request) -> str:
    """Scheme, host and prefix, e.g. `https://jobs.example.com/genie`; X-Forwarded-* come first when well-formed.

    A forged X-Forwarded-Host can mislead only its own sender: no answer is cached or stored with it.
    """
    headers = request.headers
    forwarded = headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    scheme = forwarded if forwarded in _DEFAULT_PORTS else request.url.scheme
    host = headers.get("x-forwarded-host", "").split(",")[0].strip()
    if not _HOST.fullmatch(host):
        host = headers.get("host", "")
    port = headers.get("x-forwarded-port", "").split(",")[0].strip()
    if port.isdigit() and not re.search(r":\d+$", host) and port != _DEFAULT_PORTS[scheme]:
        host = f"{host}:{port}"
    return f"{scheme}://{host}{prefix(request)}"


def prefix(request: Request) -> str:
    """Where a proxy has put us, e.g. `/genie`; empty at the top. For links within pages."""
    given = request.headers.get("x-forwarded-prefix", "").split(",")[0].strip()
    return given.rstrip("/") if _PREFIX.fullmatch(given) else ""


def api_url(request: Request, *path: str) -> str:
    """An address of the API; each part is quoted.

    >>> api_url(request, "jobs", "a b")  # doctest: +SKIP
    'http://127.0.0.1:8080/api/v3/jobs/a%20b'
    """
    return "/".join((f"{base_url(request)}/api/v3", *(quote(part, safe=":@,+=~$!*'()") for part in path)))


def hal(document: dict[str, Any], links: list[tuple[str, str]]) -> dict[str, Any]:
    """The document with `_links`, as a single answer or an item of a page has them."""
    written = {
        relation: {"href": href, "templated": True} if "{" in href else {"href": href} for relation, href in links
    }
    return {**document, "_links": written}


def listed(document: dict[str, Any], links: list[tuple[str, str]]) -> dict[str, Any]:
    """The document with `links`, as an item of a bare list has them."""
    return {**document, "links": [{"rel": relation, "href": href} for relation, href in links]}
