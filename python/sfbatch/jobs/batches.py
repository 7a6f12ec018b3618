"""What a job published, as its writer told its log: `sfbatch-published {...}` lines, on any back end.

A log is read from where the last look ended; what was found stays beside it, in the attempt's directory. A job can lie
in its own log, about itself alone: the tables' journals are the truth, and name the job too.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from sfbatch.jobs import output
from sfbatch.jobs.backends.wrapper import write_whole
from sfbatch.jobs.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = b"sfbatch-published "
STREAMS = ("stderr", "stdout", "driver/stderr", "driver/stdout")  # the driver's own: YARN's cluster mode
KEPT = "genie/published.json"
MOST_KEPT_BYTES = 64 * 1024 * 1024
MOST_PARTITIONS = 20_000  # a version's journal names them all
LONGEST_LINE_BYTES = 256 * 1024
Seen = dict[str, Any]


def batches(directory: Path, job_id: str) -> list[dict[str, Any]]:
    """The versions that the job published so far, oldest first.

    `{"table": "db.t", "version": 3, "operation": "write", "partitions": {"day=20161001": "20161002002334"}}`; a
    partition's value is its batch ID, a location that is no batch of ours, or None when it was dropped.
    """
    numbered = [path for path in (directory / "attempts").glob("*") if path.name.isdecimal()]
    earlier = sorted(numbered, key=lambda path: int(path.name))
    published: list[dict[str, Any]] = []
    for attempt in (*earlier, directory):
        for told in _attempt(attempt, job_id):
            _merge(told, published)
    return published


def _attempt(directory: Path, job_id: str) -> list[dict[str, Any]]:
    seen = _load(directory)
    before = json.dumps(seen["read"])
    for stream in STREAMS:
        _look(directory, stream, job_id, seen)
    if json.dumps(seen["read"]) != before and (directory / KEPT).parent.is_dir():
        write_whole(str(directory / KEPT), seen)
    published: list[dict[str, Any]] = seen["published"]
    return published


def _load(directory: Path) -> Seen:
    """What the last look found; nothing when that cannot be read: then everything is read again."""
    try:
        opened = output.open_inside(directory, KEPT)
        with os.fdopen(opened.descriptor, "rb") as file:
            seen: Seen = json.loads(file.read(MOST_KEPT_BYTES))
        places = [int(number) for stream in STREAMS for number in seen["read"][stream]]
        if len(places) == 2 * len(STREAMS) and all(_told(line) for line in seen["published"]):
            return seen
    except (Problem, OSError, ValueError, KeyError, TypeError):
        pass
    return {"read": {stream: [0, 0] for stream in STREAMS}, "published": []}


def _look(directory: Path, stream: str, job_id: str, seen: Seen) -> None:
    try:
        opened = output.open_inside(directory, stream)
    except Problem:  # not written yet
        return
    with os.fdopen(opened.descriptor, "rb") as file:
        file_number, begin = os.fstat(file.fileno()).st_ino, seen["read"][stream][1]
        if file_number != seen["read"][stream][0] or begin > opened.size_bytes:  # it was brought anew, or is another
            begin = 0
        file.seek(begin)
        for line in _whole_lines(file, opened.size_bytes - begin):
            begin += len(line)
            _, found, told = line.partition(PREFIX)  # not always first: what a job prints may lack its end of line
            if found:
                _add(told, job_id, seen["published"])
        seen["read"][stream] = [file_number, begin]


def _whole_lines(file: Any, size_bytes: int) -> Iterator[bytes]:
    """Lines that have ended, of those bytes that are there now. A longer one than any of ours comes in pieces."""
    while size_bytes > 0:
        line: bytes = file.readline(min(size_bytes, LONGEST_LINE_BYTES))
        if not line or (not line.endswith(b"\n") and len(line) < LONGEST_LINE_BYTES):
            return
        size_bytes -= len(line)
        yield line


def _add(line: bytes, job_id: str, published: list[dict[str, Any]]) -> None:
    try:
        told = json.loads(line)
    except ValueError:
        return
    if not _told(told) or told.pop("job", None) != job_id:  # another job's log, shown in this one's
        return
    room = MOST_PARTITIONS - sum(len(version["partitions"]) for version in published)
    told["partitions"] = dict(list(told["partitions"].items())[: max(room, 0)])
    _merge(told, published)


def _merge(told: dict[str, Any], published: list[dict[str, Any]]) -> None:
    """One version takes several lines when it has many partitions, and may be told twice."""
    for version in published:
        if (version["table"], version["version"]) == (told["table"], told["version"]):
            version["partitions"].update(told["partitions"])
            return
    published.append({name: told[name] for name in ("table", "version", "operation", "partitions")})


def _told(told: Any) -> bool:
    return (
        isinstance(told, dict)
        and isinstance(told.get("table"), str)
        and isinstance(told.get("version"), int)
        and isinstance(told.get("operation"), str)
        and isinstance(told.get("partitions"), dict)
        and all(value is None or isinstance(value, str) for value in told["partitions"].values())
    )
