"""Jobs as they are stored: one job, a search, a kill; how they are shown is `routes/jobs.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, func, or_, select, update

from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.problem import forbidden, not_found, precondition
from sfbatch.jobs.states import ACCEPTED, EXIT_KILLED, FINAL, KILLED, KNOWN, MSG_KILLED
from sfbatch.jobs.tables import job_tags, jobs

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from sfbatch.jobs.pages import Page
    from sfbatch.jobs.tokens import Principal

# Query parameters that compare a column, in the order of Genie's templated links; those of LIKE understand `%`.
EXACT = {"clusterId": jobs.c.cluster_id, "commandId": jobs.c.command_id}
LIKE = {
    "id": jobs.c.id,
    "name": jobs.c.name,
    "user": jobs.c.user,
    "clusterName": jobs.c.cluster_name,
    "commandName": jobs.c.command_name,
    "grouping": jobs.c.grouping,
    "groupingInstance": jobs.c.grouping_instance,
}
FILTERS = (
    "id",
    "name",
    "user",
    "status",
    "tag",
    "clusterName",
    "clusterId",
    "commandName",
    "commandId",
    "minStarted",
    "maxStarted",
    "minFinished",
    "maxFinished",
    "grouping",
    "groupingInstance",
)
SORTS = {
    "created": jobs.c.created_ms,
    "updated": jobs.c.updated_ms,
    "started": jobs.c.started_ms,
    "finished": jobs.c.finished_ms,
    **{name: jobs.c[name] for name in ("id", "name", "user", "status", "version", "grouping")},
    "clusterName": jobs.c.cluster_name,
    "commandName": jobs.c.command_name,
    "groupingInstance": jobs.c.grouping_instance,
}
FEW, MANY = 2_000, 20_000  # jobs with a tag
_FOUND = ("id", "name", "user", "status", "started_ms", "finished_ms", "cluster_name", "command_name")


@dataclass(frozen=True)
class _Tags:
    """The tags of a search, the rarest first.

    A rare tag leads to its jobs; a common one is better looked up for each job that comes along. A database does not
    know which is which.
    """

    names: list[str]
    rarest: int  # the number of jobs that have names[0], MANY if there are more

    @classmethod
    def of(cls, connection: Connection, names: list[str]) -> _Tags:
        """Count each, up to a point."""

        def number(tag: str) -> int:
            some = select(job_tags.c.job_id).where(job_tags.c.tag == tag).limit(MANY)
            return connection.scalar(select(func.count()).select_from(some.subquery())) or 0

        numbers = sorted((number(tag), tag) for tag in names)
        return cls([tag for _, tag in numbers], numbers[0][0] if numbers else 0)

    def on_page(self) -> list[Any]:
        """Conditions for a few jobs in some order."""
        return self._conditions(self.rarest <= FEW)

    def count(self, where: list[Any]) -> Any:
        """The query that counts all jobs which have the tags and meet `where`."""
        if where or not self.names:
            return select(func.count()).select_from(jobs).where(*where, *self._conditions(self.rarest < MANY))
        first = job_tags.alias("first")
        others = [_has(tag, first.c.job_id) for tag in self.names[1:]]
        return select(func.count()).select_from(first).where(first.c.tag == self.names[0], *others)

    def _conditions(self, lead: bool) -> list[Any]:
        if not (lead and self.names):
            return [_has(tag, jobs.c.id) for tag in self.names]
        leading = select(job_tags.c.job_id).where(job_tags.c.tag == self.names[0])
        return [jobs.c.id.in_(leading), *(_has(tag, jobs.c.id) for tag in self.names[1:])]


def _has(tag: str, job_id: Any) -> Any:
    other = job_tags.alias()
    return select(other.c.job_id).where(other.c.tag == tag, other.c.job_id == job_id).exists()


def get(connection: Connection, job_id: str, message: str = "No job with id {} exists.") -> Any:
    """The job's row. Raises Problem 404."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
    if row is None:
        raise not_found(message.format(job_id))
    return row


def status(connection: Connection, job_id: str) -> str:
    """The job's state. Raises Problem 404."""
    found: str | None = connection.scalar(select(jobs.c.status).where(jobs.c.id == job_id))
    if found is None:
        raise not_found(f"No job with id {job_id} exists.")
    return found


def search(
    connection: Connection, query: QueryParams, times: dict[str, int | None], page: Page
) -> tuple[list[Any], int]:
    """The rows of a page, and how many there are in all. Raises Problem 412 for a state that Genie does not know."""
    where = _where(query, times)
    tags = _Tags.of(connection, [tag for tag in dict.fromkeys(query.getlist("tag")) if tag])
    total = connection.scalar(tags.count(where)) or 0
    where += tags.on_page()
    order = [SORTS[name].desc() if descending else SORTS[name].asc() for name, descending in page.sort]
    order.append(jobs.c.id.desc() if page.sort[0][1] else jobs.c.id.asc())  # a stable order, in the index's direction
    rows = select(*(jobs.c[name] for name in _FOUND)).where(*where).order_by(*order)
    return list(connection.execute(rows.limit(page.size).offset(page.number * page.size))), total


def kill(connection: Connection, job_id: str, principal: Principal) -> None:
    """Ask for the end of a job: at once while it waits, by its server when it runs; a finished job stays as it is.

    Raises Problem 404, 403 for another user's job.
    """
    row = get(connection, job_id, "No job execution found for id {}")
    if not principal.may_change(row.user):
        raise forbidden(f"Job {job_id} is {row.user}'s: only they or an admin can kill it")
    now = now_ms()
    ended = {
        "status": KILLED,
        "status_msg": MSG_KILLED,
        "exit_code": EXIT_KILLED,
        "finished_ms": now,
        "updated_ms": now,
    }
    this = jobs.c.id == job_id
    # Between the two updates PostgreSQL would let its server send it back to the queue.
    connection.execute(select(jobs.c.id).where(this).with_for_update()).all()
    if connection.execute(update(jobs).where(this, jobs.c.status == ACCEPTED).values(**ended)).rowcount:
        return
    alive = and_(this, jobs.c.status.not_in(FINAL), jobs.c.kill_requested_ms.is_(None))
    connection.execute(update(jobs).where(alive).values(kill_requested_ms=now))


def counts(connection: Connection) -> dict[str, int]:
    """The number of jobs in every state."""
    found = connection.execute(select(jobs.c.status, func.count()).group_by(jobs.c.status))
    return dict(row._tuple() for row in found)


def _where(query: QueryParams, times: dict[str, int | None]) -> list[Any]:
    states = [text.upper() for text in query.getlist("status") if text]
    if any(state not in KNOWN for state in states):
        raise precondition(f"Unacceptable job status. Must be one of {{{', '.join(KNOWN)}}}")
    where: list[Any] = [jobs.c.status.in_(states)] if states else []
    for name, column in (LIKE | EXACT).items():
        values = [value for value in query.getlist(name) if value]
        if values:
            where.append(or_(*(column.like(v) if name in LIKE and "%" in v else column == v for v in values)))
    bounds = (("Started", jobs.c.started_ms), ("Finished", jobs.c.finished_ms))
    for name, column in bounds:
        if (low := times[f"min{name}"]) is not None:
            where.append(column >= low)
        if (high := times[f"max{name}"]) is not None:
            where.append(column < high)
    return where
