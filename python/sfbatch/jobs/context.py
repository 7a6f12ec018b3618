"""What the routes share: one server's rooms, found through the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from sfbatch.jobs.backends import Backend
    from sfbatch.jobs.database import Database
    from sfbatch.jobs.dispatcher import Dispatcher
    from sfbatch.jobs.metrics import Metrics
    from sfbatch.jobs.settings import Settings
    from sfbatch.jobs.tokens import Authority, Principal


@dataclass(frozen=True)
class Server:
    """One running server."""

    settings: Settings
    database: Database
    backends: Mapping[str, Backend]
    dispatcher: Dispatcher
    metrics: Metrics
    authority: Authority


def server_of(request: Request) -> Server:
    """The server that answers this request."""
    server: Server = request.app.state.server
    return server


def principal_of(request: Request) -> Principal:
    """Who sent this request; the guard has put it there."""
    principal: Principal = request.state.principal
    return principal
