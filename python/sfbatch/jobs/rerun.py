"""Runs a job again as it was asked for, from the files that came with it; never with files that it changed since."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from sfbatch.jobs import jobs, output
from sfbatch.jobs.accept import ATTACHMENTS, CHUNK_BYTES, Attachment, accept
from sfbatch.jobs.problem import Problem, precondition
from sfbatch.jobs.requests import JobRequest

if TYPE_CHECKING:
    from pathlib import Path

    from sfbatch.jobs.accept import Sender
    from sfbatch.jobs.context import Server


def rerun(server: Server, job_id: str, sender: Sender) -> str:
    """Submit the job again, in the name of who asks, and return the new id. It names the old one in its metadata.

    Raises Problem 404, 412 when its files are gone or changed, and all that `accept` raises.
    """
    server.dispatcher.check()
    with server.database.read() as connection:
        row = jobs.get(connection, job_id)
    asked = _asked(row, sender)
    with ExitStack() as files:
        attachments = [
            _unchanged(files, server.settings.directory / row.directory, job_id, file) for file in _recorded(row)
        ]
        return accept(server.database, server.settings, server.dispatcher.server_id, asked, attachments, sender)


def _asked(row: Any, sender: Sender) -> JobRequest:
    principal, metadata = sender.principal, row.request["metadata"]
    if metadata is None or isinstance(metadata, dict):
        metadata = {**(metadata or {}), "sfbatch": {"rerunOf": row.id}}
    return JobRequest.model_validate(
        {
            **row.request,
            "id": None,
            "user": principal.user if sender.is_known else row.user,
            "priority": row.priority if principal.is_admin else min(row.priority, 0),
            "metadata": metadata,
        }
    )


def _recorded(row: Any) -> list[dict[str, Any]]:
    recorded: list[dict[str, Any]] = row.request.get(ATTACHMENTS, [])
    if len(recorded) != row.attachments:
        raise precondition(f"Job {row.id} came before its files were recorded: submit it anew")
    return recorded


def _unchanged(files: ExitStack, directory: Path, job_id: str, recorded: dict[str, Any]) -> Attachment:
    name = recorded["name"]
    try:
        opened = output.open_inside(directory, name)
    except Problem:
        raise precondition(f"Job {job_id} cannot run again: its file {name} is gone. Submit it anew") from None
    file = files.enter_context(os.fdopen(opened.descriptor, "rb"))
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest() != recorded["sha256"]:
        raise precondition(f"Job {job_id} cannot run again: it changed its file {name}. Submit it anew")
    file.seek(0)
    return Attachment(name, file)
