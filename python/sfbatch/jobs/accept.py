"""Takes a job in: its attachments and its row are on disk before the client hears 202.

A job that no cluster can run is stored too, as FAILED, before the error is answered: Netflix's client answers an error
by sending the job again, without the bytes of its attachments, and learns what happened only by the 409 it then gets.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import uuid
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from sfbatch.jobs import environments, home
from sfbatch.jobs.backends.files import TAKEN, base_name, fetch
from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.database import is_away
from sfbatch.jobs.kinds import APPLICATIONS, COMMANDS
from sfbatch.jobs.problem import Problem, ServerError, conflict, forbidden, not_found, precondition
from sfbatch.jobs.requests import DEFAULT_TIMEOUT_S, JobRequest
from sfbatch.jobs.selection import DEFAULT_BACKEND, Choice, choices, least_loaded, no_match
from sfbatch.jobs.states import ACCEPTED, FAILED, INVALID, MSG_QUEUED
from sfbatch.jobs.tables import job_tags, jobs, links, resources

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sfbatch.jobs.database import Database
    from sfbatch.jobs.settings import Settings
    from sfbatch.jobs.tokens import Principal

DEFAULT_MEMORY_MB = 1024
LONGEST_NAME_BYTES = 200
CHUNK_BYTES = 1024 * 1024
# Made once: to make a statement takes longer than to run it.
_KNOWN = select(jobs.c.id).where(jobs.c.id == bindparam("job"))
_APPLICATIONS = (
    select(links.c.child_id)
    .where(links.c.kind == COMMANDS.name, links.c.parent_id == bindparam("command"))
    .order_by(links.c.position)
)
_INSERT = insert(jobs)
ATTACHMENTS = "attachments"  # in the stored request: name, size and sha256 of each


@dataclass(frozen=True)
class Attachment:
    """A file that came with the job; `name` is where it will lie in the job's directory."""

    name: str
    content: IO[bytes]


@dataclass(frozen=True)
class Sender:
    """Who sent the job, and from where."""

    principal: Principal
    host: str | None
    user_agent: str | None
    is_known: bool = True  # false where no token is asked for


def accept(
    database: Database,
    settings: Settings,
    server_id: str,
    asked: JobRequest,
    attachments: Sequence[Attachment],
    sender: Sender,
) -> str:
    """Store the job and return its id, made up when none was given.

    Raises Problem 403 for another user's name, 409 when the id is taken, 412 for a bad attachment or requirements that
    cannot be taken, and, with the job stored as FAILED or INVALID, 412 when nothing matches or it wants too much
    memory, 404 for an unknown application. Raises ServerError when this server's directory is gone.
    """
    _check_rights(asked, sender.principal)
    _check_names(asked, attachments)
    home.check(settings.directory, server_id)
    job_id = asked.id or str(uuid.uuid4())
    if _exists(database, job_id):
        raise conflict(f"A job with id {job_id} already exists")
    directory = _new_directory(settings.directory, job_id)
    try:
        stored = [_store(attachment, settings.directory / directory) for attachment in attachments]
        if asked.pythonEnvironment:
            _check_environment(settings.directory / directory, asked.pythonEnvironment, attachments)
        _copy_files(database, settings, asked, settings.directory / directory)
        plain = _plain(asked, job_id, sender)
        row = {
            **plain,
            "request": {**plain["request"], ATTACHMENTS: stored},
            "server_id": server_id,
            "directory": directory,
            "attachments": len(stored),
            "attachments_bytes": sum(file["size"] for file in stored),
        }
        empty = [file["name"] for file in stored if not file["size"] and file["name"] in asked.arguments()]
        problem = database.patiently(lambda: _insert(database, settings, asked, row, empty))
    except BaseException as error:
        if not (isinstance(error, DBAPIError) and is_away(error)):  # then the job may be stored after all
            shutil.rmtree(settings.directory / directory, ignore_errors=True)
        raise
    if problem:
        raise Problem(problem.status, problem.code, f"{problem.message.rstrip('.')}. It is kept as job {job_id}.")
    return job_id


def _insert(
    database: Database, settings: Settings, asked: JobRequest, row: dict[str, Any], empty: Sequence[str]
) -> Problem | None:
    """One transaction: choose, and store what was chosen or why nothing was."""
    try:
        with database.write() as connection:
            choice, applications, problem = _match(connection, asked, empty)
            memory_mb = asked.memory or (choice.command_memory_mb if choice else None) or DEFAULT_MEMORY_MB
            status, message = ACCEPTED, MSG_QUEUED
            if problem:
                status, message = FAILED, problem.message
            elif memory_mb > settings.memory_mb:
                status = INVALID
                message = (
                    f"The job wants {memory_mb} MB of memory, the most a job may have here is {settings.memory_mb} MB"
                )
                problem = precondition(message)
            ended = row["created_ms"] if problem else None
            values = {"status": status, "status_msg": message, "finished_ms": ended, "memory_mb": memory_mb}
            connection.execute(_INSERT, {**row, **values, "applications": applications})
            if asked.tags:
                connection.execute(insert(job_tags), [{"job_id": row["id"], "tag": tag} for tag in asked.tags])
    except IntegrityError:
        if _holds(database, row):  # a commit whose answer was lost when the database restarted
            return None
        raise conflict(f"A job with id {row['id']} already exists") from None
    return problem


def _match(
    connection: Connection, asked: JobRequest, empty: Sequence[str]
) -> tuple[Choice | None, list[str], Problem | None]:
    """What would run the job now, or why it never can. The cluster is chosen for good when its turn comes."""
    criteria = [criterion.tags for criterion in asked.clusterCriterias]
    choice = least_loaded(choices(connection, criteria, asked.commandCriteria), {})
    if choice is None:
        return None, [], precondition(no_match(connection, criteria, asked.commandCriteria))
    if empty:
        message = (
            f"The attachment {empty[0]} arrived empty although the arguments name it. A client that repeats a request "
            "sends its attachments empty: submit the job again, with a new id."
        )
        return choice, [], precondition(message)
    if not asked.applications:
        return choice, list(connection.scalars(_APPLICATIONS, {"command": choice.command_id})), None
    known = select(resources.c.id).where(resources.c.kind == APPLICATIONS.name, resources.c.id.in_(asked.applications))
    found = set(connection.scalars(known))
    for application in asked.applications:
        if application not in found:
            return choice, [], not_found(f"No application with id {application}")
    return choice, asked.applications, None


def _plain(asked: JobRequest, job_id: str, sender: Sender) -> dict[str, Any]:
    """The columns that follow from the request alone."""
    request = asked.model_dump()
    route = [request["clusterCriterias"], request["commandCriteria"], asked.memory]
    created = now_ms()
    return {
        "id": job_id,
        "name": asked.name,
        "user": asked.user,
        "version": asked.version,
        "created_ms": created,
        "updated_ms": created,
        "grouping": asked.grouping,
        "grouping_instance": asked.groupingInstance,
        "request": request,
        "priority": asked.priority,
        "route": hashlib.sha256(json.dumps(route).encode()).hexdigest(),
        "timeout_s": asked.timeout or DEFAULT_TIMEOUT_S,
        "client_host": sender.host,
        "user_agent": (sender.user_agent or "")[:1024] or None,
    }


def _check_rights(asked: JobRequest, principal: Principal) -> None:
    if not principal.is_admin and asked.user != principal.user:
        raise forbidden(f"This token is {principal.user}'s: it cannot submit jobs of user {asked.user}")
    if not principal.is_admin and asked.priority > 0:
        raise forbidden("Only an admin may ask for a priority above 0")


def _check_names(asked: JobRequest, attachments: Sequence[Attachment]) -> None:
    names = [attachment.name for attachment in attachments]
    for name in names:
        if (
            not name.strip()
            or name in {".", ".."}
            or name in TAKEN
            or any(c in "/\\" or not c.isprintable() for c in name)
            or len(name.encode()) > LONGEST_NAME_BYTES
        ):
            message = f"The attachment name {name!r} is not allowed: give a plain file name that is not {_reserved()}"
            raise precondition(message)
    if len({name.casefold() for name in names}) < len(names):
        raise precondition("Two attachments have the same name")
    for name in asked.pythonPath:
        if name not in names or ":" in name:
            raise precondition(f"pythonPath: there is no attachment {name!r}, or it has a colon")
    for address in (*asked.dependencies, *asked.configs):
        if base_name(address) in names:
            message = f"{address} would take the place of the attachment {base_name(address)}: rename one of the two"
            raise precondition(message)


def _copy_files(database: Database, settings: Settings, asked: JobRequest, directory: Path) -> None:
    """Copy this machine's own files that the job names, so that a later change of them does not reach it.

    Only for a job that would run here: it could read them anyway, and one of a cluster elsewhere could not. What is
    missing is told when the job is started.
    """
    here = [address for address in (*asked.dependencies, *asked.configs) if address.startswith(("file:", "/"))]
    if not here:
        return
    criteria = [criterion.tags for criterion in asked.clusterCriterias]
    with database.read() as connection:
        choice = least_loaded(choices(connection, criteria, asked.commandCriteria), {})
    if choice is None or choice.limits.backend != DEFAULT_BACKEND:
        return
    for address in here:
        with contextlib.suppress(OSError):
            fetch(address, directory / base_name(address), settings)


def _check_environment(directory: Path, name: str, attachments: Sequence[Attachment]) -> None:
    """Raises Problem 412."""
    if name not in {attachment.name for attachment in attachments}:
        raise precondition(f"pythonEnvironment: there is no attachment {name!r}")
    if name != environments.LOCK_FILE and not name.endswith(".txt"):
        raise precondition(f"pythonEnvironment is a requirements.txt or a {environments.LOCK_FILE}, not {name!r}")
    try:
        environments.check(directory / name)
    except ServerError as error:
        raise precondition(str(error)) from None


def _reserved() -> str:
    return ", ".join(sorted(TAKEN))


def _exists(database: Database, job_id: str) -> bool:
    def look() -> bool:
        with database.read() as connection:
            return connection.execute(_KNOWN, {"job": job_id}).first() is not None

    return database.patiently(look)


def _holds(database: Database, row: dict[str, Any]) -> bool:
    """Whether the stored job is this very submission: its directory's name is random."""
    with database.read() as connection:
        stored = connection.scalar(select(jobs.c.directory).where(jobs.c.id == row["id"]))
    return bool(stored == row["directory"])


def _new_directory(top: Path, job_id: str) -> str:
    """A directory that no other job has or will have, e.g. `files/20161001/etl-3f2a9c1d0b7e`; its row names it."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", job_id).strip(".-")[:100]
    name = f"files/{time.strftime('%Y%m%d', time.gmtime())}/{readable}-{secrets.token_hex(6)}"
    (top / name).mkdir(parents=True, mode=0o700)
    return name


def _store(attachment: Attachment, directory: Path) -> dict[str, Any]:
    """Copy to disk, and return what was copied: a job can change its files, and must not be run again with those."""
    digest = hashlib.sha256()
    with (directory / attachment.name).open("xb") as file:
        while chunk := attachment.content.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        return {"name": attachment.name, "size": file.tell(), "sha256": digest.hexdigest()}
