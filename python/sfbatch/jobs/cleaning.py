"""Forgets jobs that ended long ago, and deletes their files; never a job that is not finished, nor another server's.

A job's row goes first and its directory after it, so a crash in between leaves a directory that no row names: that is
what a submission leaves which was cut short, too, and the next clean-up deletes both.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from sfbatch.jobs import environments
from sfbatch.jobs.backends.local import launched
from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.home import server_id
from sfbatch.jobs.problem import precondition
from sfbatch.jobs.states import FINAL, UNFINISHED
from sfbatch.jobs.tables import job_tags, jobs

if TYPE_CHECKING:
    from pathlib import Path

    from sfbatch.jobs.database import Database
    from sfbatch.jobs.settings import Settings

AT_ONCE = 200  # jobs in a transaction: submissions wait no longer than for one of these
CUT_SHORT_S = 24 * 3600  # a submission takes no longer
_UNITS_S = {"m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


@dataclass(frozen=True)
class Found:
    """What a clean-up deletes. Directories are below the server's own."""

    jobs: list[tuple[str, str]]  # id, directory
    leftovers: list[str]  # directories that no job has
    environments: list[str]
    size_bytes: int


def seconds(text: str) -> int:
    """An age.

    >>> seconds("30d"), seconds("12h")
    (2592000, 43200)

    Raises Problem SFBATCH_INVALID.
    """
    match = re.fullmatch(r"(\d+)([mhdw])", text.strip())
    if not match:
        raise precondition(f"'{text}' is no age: give a number and m, h, d or w, e.g. 30d")
    return int(match[1]) * _UNITS_S[match[2]]


def find(database: Database, settings: Settings, older_than_s: int) -> Found:
    """What ended, or was last used, longer ago than that; changes nothing."""
    top = settings.directory
    before_ms = now_ms() - older_than_s * 1000
    lying = [path for path in (top / "files").glob("*/*") if path.is_dir()]  # before the rows: a new one has its row
    mine = jobs.c.server_id == server_id(top)
    with database.read() as connection:
        old = select(jobs.c.id, jobs.c.directory).where(mine, jobs.c.status.in_(FINAL), jobs.c.finished_ms < before_ms)
        ended = [(row.id, row.directory) for row in connection.execute(old.order_by(jobs.c.finished_ms))]
        named = set(connection.scalars(select(jobs.c.directory).where(mine)))
        oldest_ms = connection.scalar(select(func.min(jobs.c.created_ms)).where(mine, jobs.c.status.in_(UNFINISHED)))
    leftovers = [str(path.relative_to(top)) for path in lying if str(path.relative_to(top)) not in named]
    leftovers = [name for name in leftovers if (top / name).stat().st_mtime < time.time() - CUT_SHORT_S]
    unused_ms = min(before_ms, oldest_ms or before_ms)  # a job that runs may use any that is older than itself
    unused = environments.unused(top / "environments", unused_ms / 1000)
    names = [name for _, name in ended] + leftovers + [f"environments/{name}" for name in unused]
    return Found(ended, leftovers, unused, sum(_size(top / name) for name in names))


def clean(database: Database, settings: Settings, found: Found) -> None:
    """Delete what `find` found. Can be cut short and begun again."""
    top = settings.directory
    for at in range(0, len(found.jobs), AT_ONCE):
        some = found.jobs[at : at + AT_ONCE]
        ids = [job_id for job_id, _ in some]
        with database.write() as connection:
            connection.execute(delete(job_tags).where(job_tags.c.job_id.in_(ids)))
            connection.execute(delete(jobs).where(jobs.c.id.in_(ids), jobs.c.status.in_(FINAL)))
        for _, directory in some:
            _remove(top / directory)
    for directory in found.leftovers:
        _remove(top / directory)
    for day in (top / "files").glob("*"):
        try:
            day.rmdir()
        except OSError:  # not empty
            continue
    environments.remove(top / "environments", found.environments)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    launched(directory).unlink(missing_ok=True)


def _size(path: Path) -> int:
    entries = path.rglob("*") if path.is_dir() else [path]
    return sum(entry.lstat().st_size for entry in entries if not entry.is_dir() or entry.is_symlink())
