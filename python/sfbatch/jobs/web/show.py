"""What the pages show, as Jinja gets it: plain values, and the few words and numbers that are made for people."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from sfbatch.jobs import catalog, output, queue
from sfbatch.jobs.clock import iso, now_ms
from sfbatch.jobs.kinds import CLUSTERS, COMMANDS
from sfbatch.jobs.problem import Problem
from sfbatch.jobs.selection import Limits
from sfbatch.jobs.states import ACCEPTED, FINAL
from sfbatch.jobs.tables import resources

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from sfbatch.jobs.kinds import Kind

TAIL_BYTES = 64 * 1024
BAR_WIDTH = 1000


def when(ms: int | None) -> str:
    """A time for people, UTC.

    >>> when(1475280000648)
    '2016-10-01 00:00:00'
    """
    return "" if ms is None else (iso(ms) or "")[:19].replace("T", " ")


def span(ms: int) -> str:
    """A duration for people.

    >>> [span(ms) for ms in (0, 4200, 75_000, 7_380_000, 200_000_000)]
    ['0 s', '4 s', '1 min 15 s', '2 h 3 min', '2 d 7 h']
    """
    seconds = max(ms, 0) // 1000
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // smaller} {small_unit}"
    return f"{seconds} s"


def runtime(row: Any) -> str:
    """How long it ran, or has run so far."""
    return "" if row.started_ms is None else span((row.finished_ms or now_ms()) - row.started_ms)


def job(connection: Connection, row: Any) -> dict[str, Any]:
    """One job with its cluster and command, where they still exist."""
    given = row.request["commandArguments"]
    return {
        "row": row,
        "is_final": row.status in FINAL,
        "position": queue.position(connection, row.id) if row.status == ACCEPTED else None,
        "cluster": _there(connection, CLUSTERS, row.cluster_id),
        "command": _there(connection, COMMANDS, row.command_id),
        "arguments": (row.request["commandArgs"] or "") if given is None else shlex.join(given),
        "criteria": [criterion["tags"] for criterion in row.request["clusterCriterias"]],
        "timeline": timeline(row),
    }


def timeline(row: Any) -> dict[str, Any]:
    """The job's stages, and how wide each is in a bar of BAR_WIDTH."""
    end = row.finished_ms or now_ms()
    whole = max(end - row.created_ms, 1)
    began = row.started_ms or end
    waited = BAR_WIDTH * min(max(began - row.created_ms, 0), whole) // whole
    events = [
        ("submitted", row.created_ms, ""),
        ("started", row.started_ms, _before(row)),
        ("kill asked for", row.kill_requested_ms, ""),
        ("ended", row.finished_ms, f"after {span(end - began)}" if row.started_ms else ""),
    ]
    return {"waited": waited, "ran": BAR_WIDTH - waited, "events": [event for event in events if event[1]]}


def _before(row: Any) -> str:
    """How long it waited; of a retry that is not known any more: it waited, ran, and waited again."""
    if row.attempt > 1:
        return f"for the {row.attempt}. time"
    return f"after {span((row.started_ms or 0) - row.created_ms)} in the queue"


def tail(directory: Path, stream: str) -> dict[str, Any]:
    """The end of a log, and up to which byte it was read: from there a script goes on."""
    try:
        opened = output.open_inside(directory, stream)
    except Problem:
        return {"name": stream, "text": "", "read": 0, "left_out": 0}
    with os.fdopen(opened.descriptor, "rb") as file:
        begin = max(0, opened.size_bytes - TAIL_BYTES)
        file.seek(begin)
        content = file.read(opened.size_bytes - begin)
    whole = content if begin == 0 else content[content.find(b"\n") + 1 :]
    left_out = begin + len(content) - len(whole)
    return {"name": stream, "text": whole.decode(errors="replace"), "read": begin + len(content), "left_out": left_out}


def clusters(connection: Connection) -> list[dict[str, Any]]:
    """Every name with its clusters, the newest first: that is how one followed the other."""
    rows = connection.execute(resources.select().where(resources.c.kind == CLUSTERS.name)).all()
    running = queue.Load.count(connection, "").by_cluster
    named: dict[str, list[dict[str, Any]]] = {}
    for found in catalog.with_tags(connection, CLUSTERS, rows):
        limits = Limits.of(found["metadata"])
        named.setdefault(found["name"], []).append(
            {
                **found,
                "limits": limits,
                "running": running.get(found["id"], 0),
                "commands": catalog.children(connection, CLUSTERS, found["id"]),
            }
        )
    for same in named.values():
        same.sort(key=lambda each: (each["status"] != "UP", -each["created_ms"], each["id"]))
    return [{"name": name, "clusters": named[name]} for name in sorted(named)]


def _there(connection: Connection, kind: Kind, resource_id: str | None) -> dict[str, Any] | None:
    try:
        return None if resource_id is None else catalog.get(connection, kind, resource_id)
    except Problem:
        return None
