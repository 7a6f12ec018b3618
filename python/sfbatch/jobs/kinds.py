"""The three kinds of resource and all in which they differ; code elsewhere treats them alike."""

from __future__ import annotations

from dataclasses import dataclass

from sfbatch.jobs.requests import Application, Cluster, Command, Described


@dataclass(frozen=True)
class Kind:
    """A kind of resource, as the URLs, the pages and the messages name it."""

    name: str  # in URLs and in the database: "clusters"
    one: str  # in messages: "cluster"
    model: type[Described]
    fields: tuple[str, ...]  # of its own, in the order of Genie's answers
    statuses: tuple[str, ...]
    page_size: int
    filters: tuple[str, ...]  # in the order of Genie's templated links
    links: tuple[tuple[str, str], ...]  # relation, template of its query

    @property
    def embedded(self) -> str:
        """Its list's name in a page."""
        return f"{self.one}List"


_PROGRAM = ("ACTIVE", "DEPRECATED", "INACTIVE")
_UPDATED = ("minUpdateTime", "maxUpdateTime")
APPLICATIONS = Kind(
    "applications",
    "application",
    Application,
    ("type",),
    _PROGRAM,
    10,
    ("name", "user", "status", "tag", "type"),
    (("commands", "{?status}"),),
)
COMMANDS = Kind(
    "commands",
    "command",
    Command,
    ("executable", "checkDelay", "memory"),
    _PROGRAM,
    64,
    ("name", "user", "status", "tag"),
    (("applications", ""), ("clusters", "{?status}")),
)
CLUSTERS = Kind(
    "clusters",
    "cluster",
    Cluster,
    (),
    ("UP", "OUT_OF_SERVICE", "TERMINATED"),
    64,
    ("name", "status", "tag", *_UPDATED),
    (("commands", "{?status}"),),
)
KINDS = (APPLICATIONS, COMMANDS, CLUSTERS)
CHILDREN = {CLUSTERS.name: COMMANDS, COMMANDS.name: APPLICATIONS}  # what a kind links, in order
PARENTS = {COMMANDS.name: CLUSTERS, APPLICATIONS.name: COMMANDS}
