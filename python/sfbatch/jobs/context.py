"""What the routes share: one server's rooms, found through the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfbatch.jobs import queue
from sfbatch.jobs.states import ACCEPTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection
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

    def waits_for(self, connection: Connection, job: Any) -> str | None:
        """What a waiting job waits for; of another server's nothing is known."""
        if job.status != ACCEPTED or job.server_id != self.dispatcher.server_id:
            return None
        settings = self.settings
        allowed = queue.Allowed(settings.memory_mb, settings.max_running_per_user, frozenset(self.backends))
        return queue.waits_for(connection, job, allowed)


def server_of(request: Request) -> Server:
    """The server that answers this request."""
    server: Server = request.app.state.server
    return server


def principal_of(request: Request) -> Principal:
    """Who sent this request; the guard has put it there."""
    principal: Principal = request.state.principal
    return principal
