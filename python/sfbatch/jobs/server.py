"""Starts the server: home, database, token, then uvicorn, in one process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from sfbatch.jobs import first_start, home, logs, tokens
from sfbatch.jobs.database import Database
from sfbatch.jobs.lease import Lease
from sfbatch.jobs.problem import ServerError

if TYPE_CHECKING:
    from sfbatch.jobs.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings, log_level: str = "info") -> None:
    """Serve until SIGINT or SIGTERM; jobs run on, and the next server goes on with them.

    Raises ServerError SFBATCH_SERVER_REFUSED (no authentication off loopback, another server of this home or id runs),
    SFBATCH_DATABASE_FAILED.
    """
    if not settings.auth and not settings.is_loopback:
        message = (
            f"without authentication only this machine may reach the server, not {settings.host}: leave --no-auth out."
        )
        raise ServerError("SFBATCH_SERVER_REFUSED", message)
    settings.directory.mkdir(parents=True, exist_ok=True)
    settings.directory.chmod(0o700)
    logs.set_up(settings.directory / "audit.jsonl", log_level)
    with home.alone(settings.directory):
        database = Database(settings.url)
        try:
            prepare(settings, database)
            lease = Lease(database, home.server_id(settings.directory), settings.directory)
            lease.inherit()
            lease.take()
        except DBAPIError as error:
            raise ServerError("SFBATCH_DATABASE_FAILED", f"the database cannot be used: {error.orig}") from error
        _serve(settings, database, lease)


def prepare(settings: Settings, database: Database) -> None:
    """Bring the database up to date, and make what a first start needs."""
    database.migrate()
    first_start.fill(database)
    if settings.auth:
        log.info(
            "the token of the first start is in a file",
            extra={"file": str(tokens.first_token(database, settings.directory))},
        )
    else:
        log.warning("NO AUTHENTICATION: every process of this machine may submit jobs as you (--no-auth)")


def _serve(settings: Settings, database: Database, lease: Lease) -> None:
    import uvicorn

    from sfbatch.jobs.app import create_app
    from sfbatch.jobs.connections import Impatient, backlog, raise_limit
    from sfbatch.jobs.listening import Listening

    raise_limit()
    app = create_app(settings, database, lease)
    config = uvicorn.Config(
        app,
        http=Impatient,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `links.base_url` reads them
        server_header=False,
        backlog=backlog(),
        timeout_graceful_shutdown=5,
    )
    Listening(config, settings.directory).run()
