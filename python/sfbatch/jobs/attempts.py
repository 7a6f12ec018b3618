"""A job that failed runs again when its policy says so; what an attempt left is set aside before the next begins.

An attempt's files go to `attempts/N`; `genie` goes late, since a back end tells by it how the attempt ended. So an
attempt that is being set aside when the server dies is set aside by the next, and is never taken for the one after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfbatch.jobs import states
from sfbatch.jobs.backends import Phase, Reason, Report
from sfbatch.jobs.backends.local import launched
from sfbatch.jobs.clock import now_ms

if TYPE_CHECKING:
    from pathlib import Path

MOVED = (
    "stdout",
    "stderr",
    "driver",
    "initFailureDetails.txt",
    "genie",
)
LONGEST_DELAY_S = 600
_AGAIN = {Reason.EXITED, Reason.INTERRUPTED}


def may_run_again(report: Report) -> bool:
    """Whether another attempt makes sense: it failed by itself, was lost, or its cluster ended.

    Not when it succeeded, was killed, took too long, wrote too much, or could not be started at all.
    """
    return report.phase is Phase.LOST or (report.reason in _AGAIN and report.exit_code != 0)


def next_attempt(attempt: int, retries: int, delay_s: int, why: str) -> dict[str, Any] | None:
    """The columns that send a job back to the queue, None when it has had all its attempts.

    The delay doubles with every attempt. The job keeps its id.
    """
    if attempt > retries:
        return None
    wait_s = delay_s if delay_s > LONGEST_DELAY_S else min(delay_s * 2 ** (attempt - 1), LONGEST_DELAY_S)
    emptied = ("claimed_by", "backend", "cluster_id", "cluster_name", "command_id", "command_name", "host_name")
    return {
        **dict.fromkeys((*emptied, "started_ms", "finished_ms", "process_id", "exit_code")),
        "status": states.ACCEPTED,
        "status_msg": states.MSG_RETRY.format(attempt, retries + 1, why, wait_s),
        "attempt": attempt + 1,
        "not_before_ms": now_ms() + wait_s * 1000,
    }


def is_set_aside(directory: Path, attempt: int) -> bool:
    """Whether an attempt's end was moved away. What the job itself may call `attempts` says nothing about that."""
    moved = (_part(directory, attempt), _done(directory, attempt))
    there = (directory / "genie").exists() or launched(directory).exists()
    return not there and any((place / "genie").exists() for place in moved)


def set_aside(directory: Path, attempt: int) -> None:
    """Move an attempt's files to `attempts/N`. May be called again until it has returned once. Raises OSError."""
    done, part = _done(directory, attempt), _part(directory, attempt)
    if (done / "genie").exists():
        return
    part.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in MOVED:
        if (directory / name).exists() and not (part / name).exists():
            (directory / name).rename(part / name)
    launched(directory).unlink(missing_ok=True)  # last: while it is there, nobody starts the next attempt
    if done.exists():  # the job's own
        done.rename(part / "attempts")
    part.rename(done)


def _done(directory: Path, attempt: int) -> Path:
    return directory / "attempts" / str(attempt)


def _part(directory: Path, attempt: int) -> Path:
    return directory / "attempts" / f".{attempt}.part"
