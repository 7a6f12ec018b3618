"""Which cluster and which command a job gets, by tags; reads the catalog and changes nothing.

Genie's rule: the criteria are tried in order. The first that some cluster meets decides: the cluster is UP and has all
its tags, and has linked an ACTIVE command with all the tags of the command criteria. Of a cluster's commands that fit,
the first in link order is taken. Genie then picks a cluster at random; ours is the least loaded (`least_loaded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, bindparam, func, select

from sfbatch.jobs.kinds import CLUSTERS, COMMANDS, Kind
from sfbatch.jobs.states import MSG_NO_MATCH
from sfbatch.jobs.tables import links, resource_tags, resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_BACKEND = "local"
MOST_SHOWN = 10  # clusters, and tags of each, in a message


def ours(metadata: Any) -> dict[str, Any]:
    """What a resource's metadata holds for sfbatch; empty when it is missing or no object."""
    found = metadata.get("sfbatch") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Limits:
    """What an operator wrote into a cluster's `metadata.sfbatch`; 0 is no limit.

    >>> Limits.of({"sfbatch": {"maxRunningJobs": 4}})
    Limits(backend='local', running=4, running_per_user=0)
    """

    backend: str
    running: int
    running_per_user: int

    @classmethod
    def of(cls, metadata: Any) -> Limits:
        """Read a cluster's metadata; what is missing or malformed is no limit."""
        found = ours(metadata)

        def number(name: str) -> int:
            value = found.get(name)
            return value if isinstance(value, int) and value > 0 else 0

        backend = found.get("backend")
        return cls(
            backend if isinstance(backend, str) else DEFAULT_BACKEND,
            number("maxRunningJobs"),
            number("maxRunningJobsPerUser"),
        )


@dataclass(frozen=True)
class Choice:
    """A cluster and the command it would run the job with."""

    cluster_id: str
    cluster_name: str
    command_id: str
    command_name: str
    command_memory_mb: int | None
    check_delay_ms: int
    limits: Limits


def choices(connection: Connection, criteria: Iterable[Sequence[str]], command_tags: Sequence[str]) -> list[Choice]:
    """Every cluster that meets the first criterion that any meets, with its command; empty when none is met."""
    for tags in criteria:
        found = _meeting(connection, tags, command_tags)
        if found:
            return found
    return []


def least_loaded(candidates: Iterable[Choice], running: Mapping[str, int], free: Any = None) -> Choice | None:
    """Of those with room, the cluster with the smallest share of its `maxRunningJobs` in use.

    A cluster without a limit counts as one of 1,000. Ties go to the fewest running jobs, then to the smaller id, so
    that the choice can be explained afterwards. `running` is the number of running jobs by cluster id; `free` says
    whether a choice has room (all have, when it is None).
    """
    roomy = [choice for choice in candidates if free is None or free(choice)]

    def load(choice: Choice) -> tuple[float, int, str]:
        used = running.get(choice.cluster_id, 0)
        return used / (choice.limits.running or 1000), used, choice.cluster_id

    return min(roomy, key=load, default=None)


def no_match(connection: Connection, criteria: Iterable[Sequence[str]], command_tags: Sequence[str]) -> str:
    """Why `choices` found nothing: what was asked for, and which clusters there are, as far as they fit a line."""
    up = select(resources.c.id).where(resources.c.kind == CLUSTERS.name, resources.c.status == "UP")
    ids = connection.scalars(up.order_by(resources.c.id).limit(MOST_SHOWN)).all()
    commands = (
        links.c.kind == CLUSTERS.name,
        links.c.parent_id == bindparam("cluster"),
        links.c.child_id == _command.c.id,
    )
    active = (
        select(_command.c.id)
        .join(links, and_(*commands))
        .where(_command.c.kind == COMMANDS.name, _command.c.status == "ACTIVE")
    )
    shown = []
    for cluster_id in ids:
        linked = connection.scalars(active, {"cluster": cluster_id}).all()
        runs = _shown(_tags(connection, COMMANDS, linked)) or "nothing"
        shown.append(f"{cluster_id} ({_shown(_tags(connection, CLUSTERS, [cluster_id])) or 'no tag'}) runs {runs}")
    asked = " or ".join(_shown(tags) for tags in criteria)
    there = "; ".join(shown) or "none"
    return f"{MSG_NO_MATCH}. Asked for: a cluster with {asked} and a command with {_shown(command_tags)}. UP: {there}."


def _tags(connection: Connection, kind: Kind, ids: Sequence[str]) -> list[str]:
    found = select(resource_tags.c.tag).where(resource_tags.c.kind == kind.name, resource_tags.c.id.in_(ids))
    return [tag for tag in sorted(set(connection.scalars(found))) if not tag.startswith("genie.")]


def _shown(tags: Sequence[str]) -> str:
    more = [f"{len(tags) - MOST_SHOWN} more"] if len(tags) > MOST_SHOWN else []
    return ", ".join([*tags[:MOST_SHOWN], *more])


def _having_all(kind: Kind) -> Any:
    """The resources that have all of the tags given as `<kind>_tags`, of which there are `<kind>_number`."""
    return (
        select(resource_tags.c.id)
        .where(
            resource_tags.c.kind == kind.name, resource_tags.c.tag.in_(bindparam(f"{kind.name}_tags", expanding=True))
        )
        .group_by(resource_tags.c.id)
        .having(func.count() == bindparam(f"{kind.name}_number"))
    )


_cluster, _command = resources.alias("cluster"), resources.alias("command")
# Made once: every submission asks it, and to make it takes longer than to run it.
_MEETING = (
    select(_cluster.c.id, _cluster.c.name, _cluster.c.body, _command.c.id, _command.c.name, _command.c.body)
    .select_from(_cluster)
    .join(links, and_(links.c.kind == CLUSTERS.name, links.c.parent_id == _cluster.c.id))
    .join(_command, and_(_command.c.kind == COMMANDS.name, _command.c.id == links.c.child_id))
    .where(_cluster.c.kind == CLUSTERS.name, _cluster.c.status == "UP", _command.c.status == "ACTIVE")
    .where(_cluster.c.id.in_(_having_all(CLUSTERS)), _command.c.id.in_(_having_all(COMMANDS)))
    .order_by(_cluster.c.id, links.c.position)
)


def _meeting(connection: Connection, tags: Sequence[str], command_tags: Sequence[str]) -> list[Choice]:
    wanted: dict[str, Any] = {}
    for kind, of_kind in ((CLUSTERS, set(tags)), (COMMANDS, set(command_tags))):
        wanted |= {f"{kind.name}_tags": sorted(of_kind), f"{kind.name}_number": len(of_kind)}
    first: dict[str, Choice] = {}
    for cluster_id, cluster_name, cluster_body, command_id, command_name, command_body in connection.execute(
        _MEETING, wanted
    ):
        first.setdefault(
            cluster_id,
            Choice(
                cluster_id,
                cluster_name,
                command_id,
                command_name,
                command_body["memory"],
                command_body["checkDelay"],
                Limits.of(cluster_body["metadata"]),
            ),
        )
    return list(first.values())
