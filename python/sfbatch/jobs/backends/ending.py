"""A job's end as a back end writes it to disk, `genie/genie.done`: once, whole, and never changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sfbatch.jobs.backends import Phase, Reason, Report, wrapper
from sfbatch.jobs.backends.plain import NotPlainError, open_plain

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 64 * 1024
LARGEST_ID = 2**31 - 1
LATEST_MS = 253_402_300_799_000  # the year 9999


def ended(directory: Path) -> Report | None:
    """The end, if there is one; a file the job itself put there is no such thing, and the wrapper will replace it."""
    try:
        done = read(directory / wrapper.DONE)
        if done is None:
            return None
        exit_code, message = done["exitCode"], done.get("message")
        return Report(
            Phase.ENDED,
            process_id=number(done.get("processId"), LARGEST_ID),
            started_ms=number(done.get("startedMs"), LATEST_MS),
            finished_ms=number(done["finishedMs"], LATEST_MS),
            exit_code=None if exit_code is None else number(int(exit_code), LARGEST_ID),
            reason=Reason(done["reason"]),
            message=None if message is None else str(message),
        )
    except (KeyError, TypeError, ValueError):
        return None


def number(value: Any, most: int) -> int | None:
    """A number as the wrapper writes it, or None. Raises ValueError for any other: a job can write these files too."""
    if value is None:
        return None
    if not isinstance(value, int) or abs(value) > most:
        raise ValueError(value)
    return value


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
        with open_plain(path) as file:
            document = json.loads(file.read(MOST_BYTES))
    except (FileNotFoundError, NotPlainError, ValueError):
        return None
    return document if isinstance(document, dict) else None
