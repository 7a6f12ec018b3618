"""A job's end as a back end writes it to disk, `genie/genie.done`: once, whole, and never changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sfbatch.jobs.backends import Phase, Reason, Report, wrapper

if TYPE_CHECKING:
    from pathlib import Path


def ended(directory: Path) -> Report | None:
    """The end, if there is one; a file the job itself put there is no such thing, and the wrapper will replace it."""
    try:
        done = read(directory / wrapper.DONE)
        return (
            None
            if done is None
            else Report(
                Phase.ENDED,
                process_id=done.get("processId"),
                started_ms=done.get("startedMs"),
                finished_ms=done["finishedMs"],
                exit_code=None if done["exitCode"] is None else int(done["exitCode"]),
                reason=Reason(done["reason"]),
                message=done.get("message"),
            )
        )
    except (KeyError, TypeError, ValueError):
        return None


def write_end(directory: Path, report: Report) -> None:
    """The end of a job that no wrapper watches."""
    assert report.reason is not None
    document = {
        "exitCode": report.exit_code,
        "reason": report.reason.value,
        "startedMs": report.started_ms,
        "finishedMs": report.finished_ms,
        "message": report.message,
    }
    wrapper.write_whole(str(directory / wrapper.DONE), document)


def read(path: Path) -> dict[str, Any] | None:
    """A JSON object, None when there is none or it is none."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
