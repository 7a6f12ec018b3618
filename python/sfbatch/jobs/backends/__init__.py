"""Back ends run jobs. The server keeps nothing of theirs in memory: all it needs it asks again, also after a crash."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Launch:
    """All that a back end is told about a job; `arguments` is run as it is, never by a shell."""

    job_id: str
    directory: Path  # the job's own, absolute; attachments are in it
    arguments: Sequence[str]
    timeout_s: int
    memory_mb: int
    environment: dict[str, str]  # for the job: GENIE_*, SFBATCH_JOB_ID, SFBATCH_USER
    fetch: dict[str, str]  # path in `directory` -> address of what is to be copied there first
    cluster: Any  # the cluster's document: its `metadata` says where it is
    program: Sequence[str] = ()  # the command's own words, with which `arguments` begins
    attempt: int = 1
    spark: str | None = None  # the Spark whose jar of sfbatch the job gets: "3.5", "4.0" ..., "installed"
    requirements: Path | None = None  # the attachment that says which Python packages the job needs
    refused: str | None = None  # why the job must not be started after all; it then ends as NOT_STARTED
    check: Callable[[], None] = lambda: None  # called last before the start; raises environments.Unwanted


class Phase(Enum):
    """How far a job has come."""

    NOT_STARTED = "not started"  # submit may be called (again)
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # it ran, or may have run, and nobody can tell how it ended


class Reason(Enum):
    """Why a job ended."""

    EXITED = "exited"
    KILLED = "killed"
    TIMEOUT = "timeout"
    STDOUT = "stdout"  # wrote more than it may
    STDERR = "stderr"
    CANCELLED = "cancelled"  # on its cluster, by somebody else
    INTERRUPTED = "interrupted"  # its cluster ended first
    NOT_STARTED = "not started"  # the executable or a dependency is missing; initFailureDetails.txt says which


@dataclass(frozen=True)
class Report:
    """What a back end knows about a job now."""

    phase: Phase
    process_id: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    exit_code: int | None = None
    reason: Reason | None = None
    message: str | None = None  # what the cluster says about a failure


class Backend(Protocol):
    """Every method may be called again at any time, also by the server's successor after a kill -9."""

    def submit(self, launch: Launch) -> None:
        """Start the job. A second call for the same job starts nothing: the back end, not the caller, makes sure."""

    def poll(self, job_id: str, directory: Path) -> Report:
        """How the job is. Never guesses: what it reports as ended has ended."""

    def kill(self, job_id: str, directory: Path) -> None:
        """Begin to end the job, or make sure that it never starts; returns at once, `poll` tells when it is done."""

    def logs(self, job_id: str, directory: Path) -> None:
        """Bring what the job has written so far into its directory, if it is not written there in the first place."""

    def reconcile(self, unfinished: Sequence[tuple[str, Path]]) -> None:
        """After a restart, before the first poll: learn what became of the jobs (id, directory) that were started."""
