"""Starts the server: home, database, token, then uvicorn, in one process."""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from sfbatch.jobs import first_start, logs, tokens
from sfbatch.jobs.database import Database
from sfbatch.jobs.problem import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sfbatch.jobs.settings import Settings

BACKLOG = 1024  # connections that wait to be taken; a burst of submitters is not refused
log = logging.getLogger(__name__)


def run(settings: Settings, log_level: str = "info") -> None:
    """Serve until SIGINT or SIGTERM; jobs run on, and the next server goes on with them.

    Raises ServerError SFBATCH_SERVER_REFUSED (no authentication off loopback, another server of this home runs),
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
    with _alone(settings.directory):
        database = Database(settings.url)
        prepare(settings, database)
        _serve(settings, database)


def prepare(settings: Settings, database: Database) -> None:
    """Bring the database up to date, and make what a first start needs."""
    try:
        database.migrate()
        first_start.fill(database)
        if settings.auth:
            log.info(
                "the token of the first start is in a file",
                extra={"file": str(tokens.first_token(database, settings.directory))},
            )
        else:
            log.warning("NO AUTHENTICATION: every process of this machine may submit jobs as you (--no-auth)")
    except DBAPIError as error:
        raise ServerError("SFBATCH_DATABASE_FAILED", f"the database cannot be used: {error.orig}") from error


def _serve(settings: Settings, database: Database) -> None:
    import uvicorn

    from sfbatch.jobs.app import create_app

    app = create_app(settings, database, server_id(settings.directory))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `links.base_url` reads them
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()


def server_id(directory: Path) -> str:
    """Name this home's server, the same after every restart: the jobs it claimed are its own again."""
    path = directory / "server-id"
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(str(uuid.uuid4()))
        part.rename(path)
    return path.read_text().strip()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two servers must not share a home: each would start and watch the other's jobs."""
    descriptor = os.open(directory / "server.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = f"another server runs with {directory}: stop it, or set another SFBATCH_HOME."
        raise ServerError("SFBATCH_SERVER_REFUSED", message) from None
    try:
        yield
    finally:
        os.close(descriptor)
