"""Sends a packed job to the server, once, whatever becomes of the answer; a job that is another one is told apart."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
import uuid
from contextlib import ExitStack
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any

from sfbatch.jobs.api import JobServerError

if TYPE_CHECKING:
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.parcel import Parcel

TRIES_S = 60.0  # how long a submission is tried again while the server is away


def send(parcel: Parcel, api: Api) -> str:
    """Submit a packed job, once, and return its id: it is chosen here, so that a lost answer can be asked for again.

    Raises JobServerError, SFBATCH_ID_TAKEN when another job has the id.
    """
    given = parcel.request.get("id")
    request = {**parcel.request, "id": given or str(uuid.uuid4())}
    give_up, tried = time.monotonic() + TRIES_S, False
    while True:
        try:
            _post(request, parcel, api)
        except JobServerError as error:
            if error.status == HTTPStatus.CONFLICT:  # our own, whose answer was lost, or an earlier one for this job
                if given and (differs := _differences(request, parcel, api)):
                    message = f"job {given} is there already, and is another: {'; '.join(differs)}. Give another id."
                    raise JobServerError(error.code, message, error.status) from None
                if given or tried:
                    break
            # Where nobody was from the first, waiting would only hide that.
            if not error.may_pass or not (error.was_sent or tried) or time.monotonic() > give_up:
                raise
            tried = True
            time.sleep(1)
        else:
            break
    sent: str = request["id"]
    return sent


def _post(request: dict[str, Any], parcel: Parcel, api: Api) -> None:
    with ExitStack() as opened:
        files = [(name, opened.enter_context(file)) for name, file in parcel.open()]
        if not files:
            api.send("POST", "jobs", json=request)
            return
        parts: list[tuple[str, Any]] = [("request", (None, json.dumps(request), "application/json"))]
        parts += [("attachment", (name, file, "application/octet-stream")) for name, file in files]
        api.send("POST", "jobs", files=parts)


def _differences(request: dict[str, Any], parcel: Parcel, api: Api) -> list[str]:
    """In what the job that has this id already is another one, files by their content; empty when it is this one."""
    there = api.call("GET", "jobs", request["id"], "request")
    names = {"name": "name", "user": "user", "clusterCriterias": "cluster tags", "commandCriteria": "command tags"}
    differs = [
        f"its {word} is {there[key]}, not {request[key]}" for key, word in names.items() if there[key] != request[key]
    ]
    arguments = shlex.join(request["commandArguments"])
    if there["commandArgs"] != arguments:
        differs.append(f"its arguments are {there['commandArgs']}, not {arguments}")
    before = {file["name"]: file["sha256"] for file in api.call("GET", "jobs", request["id"], "attachments")}
    with ExitStack() as opened:
        now = {name: _digest(opened.enter_context(file)) for name, file in parcel.open()}
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            how = "has changed" if name in before and name in now else "is new" if name in now else "is no longer sent"
            differs.append(f"the file {name} {how}")
    return differs


def _digest(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    for chunk in iter(lambda: file.read(1024 * 1024), b""):
        found.update(chunk)
    return found.hexdigest()
