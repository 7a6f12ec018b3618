"""Which cluster and which command a job gets, by tags; reads the catalog and changes nothing.

Genie's rule: the criteria are tried in order. The first that some cluster meets decides: the cluster is UP and has all
its tags, and has linked an ACTIVE command with all the tags of the command criteria. Of a cluster's commands that fit,
the first in link order is taken. Genie then picks a cluster at random; ours is the least loaded (`least_loaded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, func, select

from sfbatch.jobs.kinds import CLUSTERS, COMMANDS
from sfbatch.jobs.tables import links, resource_tags, resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_BACKEND = "local"


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


def _meeting(connection: Connection, tags: Sequence[str], command_tags: Sequence[str]) -> list[Choice]:
    cluster, command = resources.alias("cluster"), resources.alias("command")
    query = (
        select(cluster.c.id, cluster.c.name, cluster.c.body, command.c.id, command.c.name, command.c.body)
        .select_from(cluster)
        .join(links, and_(links.c.kind == CLUSTERS.name, links.c.parent_id == cluster.c.id))
        .join(command, and_(command.c.kind == COMMANDS.name, command.c.id == links.c.child_id))
        .where(cluster.c.kind == CLUSTERS.name, cluster.c.status == "UP", command.c.status == "ACTIVE")
        .where(cluster.c.id.in_(_having_all(CLUSTERS.name, tags)))
        .where(command.c.id.in_(_having_all(COMMANDS.name, command_tags)))
        .order_by(cluster.c.id, links.c.position)
    )
    first: dict[str, Choice] = {}
    for cluster_id, cluster_name, cluster_body, command_id, command_name, command_body in connection.execute(query):
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


def _having_all(kind: str, tags: Sequence[str]) -> Any:
    wanted = set(tags)
    return (
        select(resource_tags.c.id)
        .where(resource_tags.c.kind == kind, resource_tags.c.tag.in_(wanted))
        .group_by(resource_tags.c.id)
        .having(func.count() == len(wanted))
    )
