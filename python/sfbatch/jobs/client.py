"""Submits jobs from Python: notebooks, Airflow, scripts. Synchronous; needs no server package and no Spark.

>>> job = submit("job.py", ["--date", "20161001"], env="dev")  # doctest: +SKIP
>>> job.wait().exit_code  # doctest: +SKIP
0
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sfbatch.errors import SfBatchError
from sfbatch.jobs.api import Api, JobServerError
from sfbatch.jobs.follow import Log
from sfbatch.jobs.parcel import pack
from sfbatch.jobs.sending import TRIES_S, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")

AWAY_S = 300.0  # how long a waiting client bears a server that restarts; the job runs on meanwhile
BRIEFLY_S = 5.0  # how long one question is asked again
MADE_UP = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # an id that nobody gave
FINAL = {"SUCCEEDED", "FAILED", "KILLED", "INVALID"}
FIRST_POLL_S, LAST_POLL_S = 0.2, 2.0


log = logging.getLogger(__name__)


class JobFailedError(SfBatchError):
    """SFBATCH_JOB_FAILED: it ended, but not well; SFBATCH_JOB_UNFINISHED: it has not ended in the time given.

    `state` is the job's, with its `exit_code`.
    """

    def __init__(self, code: str, message: str, state: JobState) -> None:
        super().__init__(code, message)
        self.state, self.exit_code = state, state.exit_code


@dataclass(frozen=True)
class JobState:
    """A job at one moment; times are ISO 8601, UTC."""

    id: str
    name: str
    user: str
    status: str  # ACCEPTED, INIT, RUNNING, SUCCEEDED, FAILED, KILLED, INVALID
    message: str | None
    exit_code: int | None  # 999: killed; 666: lost; None while it has not ended
    cluster: str | None
    cluster_id: str | None  # of several of one name
    command: str | None
    queue_position: int | None  # 1 is next; None when it does not wait
    waits_for: str | None  # why it does not start, when that is known
    attempt: int  # 2 is the first retry
    created: str
    started: str | None
    finished: str | None
    arguments: str | None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL


class Job:
    """A submitted job; it lives on the server, whatever becomes of this object."""

    def __init__(self, job_id: str, api: Api | None = None) -> None:
        self.id, self._api = job_id, api or Api()

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._api.url}/jobs/{self.id}"

    def state(self) -> JobState:
        """How it is now. Raises JobServerError, after a few seconds when no server answers."""
        found = self._get()
        ended = found["status"] in FINAL
        execution = self._get("execution") if ended else {}
        return JobState(
            id=found["id"],
            name=found["name"],
            user=found["user"],
            status=found["status"],
            message=found["statusMsg"],
            exit_code=execution.get("exitCode"),
            cluster=found["clusterName"],
            cluster_id=found.get("clusterId"),
            command=found["commandName"],
            queue_position=found.get("queuePosition"),
            waits_for=found.get("waitsFor"),
            attempt=found.get("attempt", 1),
            created=found["created"],
            started=found["started"],
            finished=found["finished"],
            arguments=found["commandArgs"],
        )

    def wait(self, timeout_s: float | None = None, check: bool = True) -> JobState:
        """Wait for the end; a server that restarts meanwhile is waited for.

        Raises JobFailedError SFBATCH_JOB_FAILED (not with check=False), SFBATCH_JOB_UNFINISHED; JobServerError.
        """
        give_up = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_POLL_S
        away = Away()
        while not ((state := away.ask(self.state)) and state.is_final):
            if state and give_up is not None and time.monotonic() > give_up:
                message = f"job {self.id} is still {state.status} after {timeout_s:g} s. It goes on; see {self.url}."
                raise JobFailedError("SFBATCH_JOB_UNFINISHED", message, state)
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LAST_POLL_S)
        if check and state.status != "SUCCEEDED":
            message = f"job {self.id} ended {state.status}: {state.message} Its log: sfbatch jobs logs {self.id}"
            raise JobFailedError("SFBATCH_JOB_FAILED", message, state)
        return state

    def log(self, stream: str = "stdout") -> str:
        """What it, or its newest attempt, has written so far. Raises JobServerError."""
        return b"".join(Log(self._api, self.id, stream).new()).decode(errors="replace")

    def batches(self) -> list[dict[str, Any]]:
        """What it published so far.

        >>> job.batches()  # doctest: +SKIP
        [{'table': 'dev.t', 'version': 2, 'operation': 'write', 'partitions': {'day=20161001': '20161002002334'}}]
        """
        found: list[dict[str, Any]] = self._get("batches")
        return found

    def files(self, folder: str = "") -> list[dict[str, Any]]:
        """What lies in its directory, or a folder of it: earlier attempts' logs in `attempts/1`.

        >>> job.files()  # doctest: +SKIP
        [{'name': 'attempts/', 'size': 0, 'modified': '2016-10-01T00:00:00.648Z'}, {'name': 'stdout', 'size': 12, ...}]
        """
        found = self._get("output", *_parts(folder))
        entries = [*found["directories"], *found["files"]]
        return [{"name": e["name"], "size": e["size"], "modified": e["lastModified"]} for e in entries]

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file of its directory. Raises JobServerError."""
        with self._api.stream("GET", "jobs", self.id, "output", *_parts(name)) as answer:
            if answer.headers["content-type"].startswith("application/json"):  # no file is sent so
                raise JobServerError(
                    "SFBATCH_BAD_REQUEST", f"{name} is a folder: name its files, or {name}/ to list it."
                )
            yield from answer.iter_bytes()

    def fetch(self, name: str, into: str | os.PathLike[str], force: bool = False) -> Path:
        """Copy such a file here, into a directory, by its whole name, and return where it lies.

        A file that is here already is written over with `force` alone. Raises JobServerError, OSError.
        """
        if not _parts(name) or name.endswith("/"):
            raise JobServerError("SFBATCH_BAD_REQUEST", f"'{name}' names no file.")
        target = Path(into, *_parts(name))
        if target.is_file() and not force:
            raise JobServerError("SFBATCH_BAD_REQUEST", f"{target} is here already: --force (force=True) replaces it.")
        part = target.with_name(f".{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.writelines(self.read(name))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def kill(self) -> None:
        """Ask for its end; `wait` tells when it has come. Raises JobServerError, e.g. SFBATCH_FORBIDDEN."""
        self._api.patiently("DELETE", "jobs", self.id, for_s=TRIES_S)

    def rerun(self) -> Job:
        """Submit it again as it was, from the files it came with, in your name. Raises JobServerError."""
        return Job(self._api.send("POST", "jobs", self.id, "rerun").headers["location"].rpartition("/")[2], self._api)

    def _get(self, *aspect: str) -> Any:
        return self._api.patiently("GET", "jobs", self.id, *aspect, for_s=BRIEFLY_S)


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in {"", ".", ".."}]


class Away:
    """Bears a server that restarts, for AWAY_S, and says so once each time it goes away."""

    def __init__(self, say: Callable[[str], None] = log.warning) -> None:
        self._say, self._since_s = say, 0.0

    def ask(self, question: Callable[[], T]) -> T | None:
        """The answer, None while there is nobody to give one. Raises JobServerError."""
        try:
            answer = question()
        except JobServerError as error:
            if not error.may_pass or (self._since_s and time.monotonic() - self._since_s > AWAY_S):
                raise
            if not self._since_s:
                self._since_s = time.monotonic()
                self._say(f"{error} Asked again for {AWAY_S / 60:g} minutes; the job runs on meanwhile.")
            return None
        self._since_s = 0.0
        return answer


def submit(
    script: str | os.PathLike[str],
    arguments: Sequence[str] = (),
    *,
    env: str = "dev",
    tags: Sequence[str] = (),
    command: str | Sequence[str] = (),
    conf: Mapping[str, str] | None = None,
    py_files: Iterable[str | os.PathLike[str]] = (),
    jars: Iterable[str | os.PathLike[str]] = (),
    files: Iterable[str | os.PathLike[str]] = (),
    requirements: str | os.PathLike[str] | None = None,
    name: str | None = None,
    user: str | None = None,
    job_id: str | None = None,
    memory_mb: int | None = None,
    timeout_s: int | None = None,
    priority: int | None = None,
    retries: int | None = None,
    job_tags: Sequence[str] = (),
    api: Api | None = None,
) -> Job:
    """Submit a job to a cluster of `env`; it is durable when this returns, and runs when its turn comes.

    `tags` are further tags its cluster must have, `command` those of the command: `spark-submit` (the default) and
    `python` stand for `type:...`, or e.g. `ver:3.x`. With a `job_id` a second call finds the first one's job and
    submits nothing: so a task that is tried again does not run twice. Files of this machine are sent along.

    Raises SfBatchError SFBATCH_BAD_SUBMISSION; JobServerError, e.g. SFBATCH_INVALID when no cluster fits.
    """
    api = api or Api()
    parcel = pack(
        str(script),
        [str(each) for each in arguments],
        env=env,
        tags=tags,
        command=[command] if isinstance(command, str) else command,
        conf=conf,
        py_files=map(str, py_files),
        jars=map(str, jars),
        files=map(str, files),
        requirements=str(requirements) if requirements else None,
        name=name,
        user=user or own_name(api),
        id=job_id,
        memory=memory_mb,
        timeout=timeout_s,
        priority=priority,
        retries=retries,
        job_tags=job_tags,
    )
    return Job(send(parcel, api), api)


def own_name(api: Api) -> str:
    """Whose jobs these are: SFBATCH_USER, else the token's user, else the system's, where no token is asked for."""
    me = api.call("GET", "me")
    return os.environ.get("SFBATCH_USER", "") or (me["user"] if me["authenticated"] else getpass.getuser())


def find(job_id: str, api: Api | None = None) -> Job:
    """The job of this id; of an id that was made up, 6 characters or more are enough when no other begins so.

    Raises JobServerError SFBATCH_NOT_FOUND.
    """
    api = api or Api()
    try:
        api.call("GET", "jobs", job_id, "status")
    except JobServerError as error:
        if error.status == HTTPStatus.NOT_FOUND and re.fullmatch("[0-9a-f]{1,5}", job_id):
            message = f"there is no job {job_id}; of an id that the server made up, 6 characters are needed"
            raise JobServerError(error.code, message, error.status) from None
        if error.status != HTTPStatus.NOT_FOUND or not re.fullmatch(r"[0-9a-f]{6}[0-9a-f-]*", job_id):
            raise
        found = [job["id"] for job in search(api, 20, id=f"{job_id}%") if re.fullmatch(MADE_UP, job["id"])]
        if not found:
            raise
        if len(found) > 1:
            message = f"{len(found)} jobs' ids begin with {job_id}: {', '.join(found)}"
            raise JobServerError(error.code, message, error.status) from None
        job_id = found[0]
    return Job(job_id, api)


def search(api: Api | None = None, limit: int = 20, **filters: Any) -> Iterator[dict[str, Any]]:
    """Jobs, newest first, as dicts with what Genie's search shows of each; `find(job["id"])` makes one a `Job`.

    `filters`: status, user, name, tag, clusterName ... (docs).

    >>> [job["id"] for job in search(status="FAILED", user="alice")]  # doctest: +SKIP
    """
    api, page, pages = api or Api(), 0, 1
    while page < pages and limit > 0:
        query = {**{k: v for k, v in filters.items() if v not in (None, "", [])}, "page": page, "size": min(limit, 500)}
        found = api.call("GET", "jobs", query=query)
        items = found.get("_embedded", {}).get("jobSearchResultList", [])[:limit]
        yield from items
        page, pages, limit = page + 1, found["page"]["totalPages"], limit - len(items)
