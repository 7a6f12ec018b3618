"""The queue's order, one definition for who is next and for the position that is shown.

The higher priority goes first, whoever asks (only an admin may ask for more than 0). Among equals users take turns: a
user's n-th waiting job has the turn n + (that user's running jobs), and the smaller turn goes first; then the older.
So a user with 500 waiting jobs delays another user's first job by one job, not by 500.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, or_, select

from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.selection import Choice, choices, least_loaded
from sfbatch.jobs.states import ACCEPTED, CLAIMED
from sfbatch.jobs.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_AHEAD = 32  # waiting jobs of one user and route that one round looks at


@dataclass
class Load:
    """How many jobs run, counted in every way that a limit needs; kept up to date while a round claims jobs."""

    by_cluster: dict[str, int]
    by_user: dict[str, int]
    by_user_and_cluster: dict[tuple[str, str], int]
    memory_mb: int  # of this server's local jobs

    @classmethod
    def count(cls, connection: Connection, server_id: str) -> Load:
        """Count in the database."""
        load = cls({}, {}, {}, 0)
        query = select(jobs.c.cluster_id, jobs.c.user, func.count()).where(jobs.c.status.in_(CLAIMED))
        for cluster_id, user, number in connection.execute(query.group_by(jobs.c.cluster_id, jobs.c.user)):
            load._add(cluster_id, user, number)
        here = (jobs.c.status.in_(CLAIMED), jobs.c.claimed_by == server_id, jobs.c.backend == "local")
        load.memory_mb = connection.scalar(select(func.coalesce(func.sum(jobs.c.memory_mb), 0)).where(*here)) or 0
        return load

    def take(self, choice: Choice, user: str, memory_mb: int) -> None:
        """Count one more."""
        self._add(choice.cluster_id, user, 1)
        self.memory_mb += memory_mb if choice.limits.backend == "local" else 0

    def _add(self, cluster_id: str, user: str, number: int) -> None:
        both = (user, cluster_id)
        self.by_cluster[cluster_id] = self.by_cluster.get(cluster_id, 0) + number
        self.by_user[user] = self.by_user.get(user, 0) + number
        self.by_user_and_cluster[both] = self.by_user_and_cluster.get(both, 0) + number


@dataclass(frozen=True)
class Allowed:
    """What one server may have running at most; 0 is no limit."""

    memory_mb: int
    per_user: int
    backends: frozenset[str] = frozenset({"local"})  # a job for any other waits for a server that has it


def ready(connection: Connection, server_id: str, allowed: Allowed) -> Iterator[tuple[Any, Choice]]:
    """The waiting jobs of this server that may start now, in order, each with the cluster it should have.

    The rows have id, user, route, memory_mb. A job whose clusters are full, or of which none is UP, is passed over, and
    so is a retry that is not due yet.
    """
    load = Load.count(connection, server_id)
    routes: dict[str, list[Choice]] = {}
    due = or_(jobs.c.not_before_ms.is_(None), jobs.c.not_before_ms <= now_ms())
    line = _line().where(jobs.c.server_id == server_id, due).subquery()
    query = (
        select(jobs.c.id, jobs.c.user, jobs.c.route, jobs.c.memory_mb)
        .join(line, line.c.id == jobs.c.id)
        .where(line.c.in_route <= LOOK_AHEAD)
        .order_by(line.c.priority.desc(), line.c.turn, line.c.created_ms, line.c.id)
    )
    for row in connection.execute(query).all():
        if row.route not in routes:
            request = connection.execute(select(jobs.c.request).where(jobs.c.id == row.id)).scalar_one()
            criteria = [criterion["tags"] for criterion in request["clusterCriterias"]]
            routes[row.route] = choices(connection, criteria, request["commandCriteria"])

        def free(choice: Choice, row: Any = row) -> bool:
            return _hindrance(choice, row, load, allowed) is None

        choice = least_loaded(routes[row.route], load.by_cluster, free)
        if choice:
            load.take(choice, row.user, row.memory_mb)
            yield row, choice


def waits_for(connection: Connection, job: Any, allowed: Allowed) -> str | None:
    """What a waiting job of this server waits for, for people; None when it may start, or is a retry not yet due."""
    if job.not_before_ms is not None and job.not_before_ms > now_ms():
        return None
    criteria = [criterion["tags"] for criterion in job.request["clusterCriterias"]]
    found = choices(connection, criteria, job.request["commandCriteria"])
    if not found:
        return "no cluster with its tags and a command for it is UP"
    load = Load.count(connection, job.server_id)
    reasons = [_hindrance(choice, job, load, allowed) for choice in found]
    return None if None in reasons else "; ".join(dict.fromkeys(filter(None, reasons)))


def _hindrance(choice: Choice, job: Any, load: Load, allowed: Allowed) -> str | None:
    """Why the job cannot start on this cluster now; None when it can."""
    here, limits = choice.cluster_id, choice.limits
    if limits.backend not in allowed.backends:
        return f"cluster {here} needs the back end {limits.backend}, which this server has not"
    if not _room(running := load.by_cluster.get(here, 0), limits.running):
        return f"cluster {here} is full ({running} running)"
    if not _room(running := load.by_user_and_cluster.get((job.user, here), 0), limits.running_per_user):
        return f"{job.user} has no more room on cluster {here} ({running} running)"
    if not _room(running := load.by_user.get(job.user, 0), allowed.per_user):
        return f"{job.user} has no more room on this server ({running} running)"
    if limits.backend == "local" and load.memory_mb + job.memory_mb > allowed.memory_mb:
        return f"{job.memory_mb} MB of memory: {load.memory_mb} of {allowed.memory_mb} MB are in use"
    return None


def position(connection: Connection, job_id: str) -> int | None:
    """Where the job stands in the queue, 1 is next, None when it does not wait."""
    line = _line().subquery()
    order = func.row_number().over(order_by=(line.c.priority.desc(), line.c.turn, line.c.created_ms, line.c.id))
    ranked = select(line.c.id, order.label("position")).subquery()
    found: int | None = connection.scalar(select(ranked.c.position).where(ranked.c.id == job_id))
    return found


def _line() -> Any:
    """Every waiting job with what the order needs."""
    running = (
        select(jobs.c.user, func.count().label("number")).where(jobs.c.status.in_(CLAIMED)).group_by(jobs.c.user)
    ).subquery()
    age = (jobs.c.created_ms, jobs.c.id)
    own = func.row_number().over(partition_by=(jobs.c.user, jobs.c.priority), order_by=age)
    in_route = func.row_number().over(partition_by=(jobs.c.user, jobs.c.route), order_by=(jobs.c.priority.desc(), *age))
    turn = (own + func.coalesce(running.c.number, 0)).label("turn")
    columns = (jobs.c.id, jobs.c.priority, jobs.c.created_ms, turn, in_route.label("in_route"))
    return select(*columns).outerjoin(running, running.c.user == jobs.c.user).where(jobs.c.status == ACCEPTED)


def _room(used: int, limit: int) -> bool:
    return not limit or used < limit
