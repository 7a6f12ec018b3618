"""What a job published, as its writer told its log: `sfbatch-published {...}` lines, on any back end.

The log is read from where the last look ended; what was found stays beside it, in the job's directory. A job can lie in
its own log, about itself alone: the tables' journals are the truth, and name the job too.
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
STREAMS = ("stderr", "stdout")
KEPT = "genie/published.json"
MOST_PARTITIONS = 20_000  # a version's journal names them all
LONGEST_LINE_BYTES = 256 * 1024
Seen = dict[str, Any]


def batches(directory: Path, job_id: str) -> list[dict[str, Any]]:
    """The versions that the job published so far, oldest first.

    `{"table": "db.t", "version": 3, "operation": "write", "partitions": {"day=20161001": "20161002002334"}}`; a
    partition's value is its batch ID, a location that is no batch of ours, or None when it was dropped.
    """
    seen = _load(directory)
    before = json.dumps(seen["read"])
    for stream in STREAMS:
        _look(directory, stream, job_id, seen)
    if json.dumps(seen["read"]) != before:
        (directory / "genie").mkdir(mode=0o700, exist_ok=True)
        write_whole(str(directory / KEPT), seen)
    published: list[dict[str, Any]] = seen["published"]
    return published


def _load(directory: Path) -> Seen:
    """What the last look found; nothing when that cannot be read: then everything is read again."""
    try:
        opened = output.open_inside(directory, KEPT)
        with os.fdopen(opened.descriptor, "rb") as file:
            seen: Seen = json.loads(file.read())
        if all(isinstance(seen["read"][stream], int) for stream in STREAMS) and all(
            _told(line) for line in seen["published"]
        ):
            return seen
    except (Problem, OSError, ValueError, KeyError, TypeError):
        pass
    return {"read": dict.fromkeys(STREAMS, 0), "published": []}


def _look(directory: Path, stream: str, job_id: str, seen: Seen) -> None:
    try:
        opened = output.open_inside(directory, stream)
    except Problem:  # not written yet
        return
    with os.fdopen(opened.descriptor, "rb") as file:
        begin = seen["read"][stream] if seen["read"][stream] <= opened.size_bytes else 0
        file.seek(begin)
        for line in _whole_lines(file, opened.size_bytes - begin):
            begin += len(line)
            _, found, told = line.partition(PREFIX)  # not always first: what a job prints may lack its end of line
            if found:
                _add(told, job_id, seen["published"])
        seen["read"][stream] = begin


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
    for version in published:  # one version takes several lines when it has many partitions
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
