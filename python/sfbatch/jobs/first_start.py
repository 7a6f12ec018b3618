"""What a laptop needs to run its first job: a cluster `local` and commands for it, made once, in an empty database."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from sqlalchemy import select

from sfbatch.errors import SparkError
from sfbatch.installed import installed_spark
from sfbatch.jobs import catalog
from sfbatch.jobs.kinds import CLUSTERS, COMMANDS
from sfbatch.jobs.requests import Cluster, Command
from sfbatch.jobs.tables import resources

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sfbatch.jobs.database import Database


def fill(database: Database) -> None:
    """Make them, unless there is any resource already. Whatever an operator changes or deletes stays so."""
    with database.write() as connection:
        if connection.execute(select(resources.c.id).limit(1)).first() is None:
            _fill(connection)


def _fill(connection: Connection) -> None:
    # Named as the dev cluster of an operator's file, which then replaces it: without limits it must not stand beside.
    tags = ["env:dev", "sched:adhoc", "type:local"]
    cluster = Cluster(id="local", name="dev", user="sfbatch", version="1", status="UP", tags=tags)
    catalog.create(connection, CLUSTERS, cluster)
    programs = {"spark-submit": (_spark_submit(), 2048), "python": (sys.executable, 512)}
    for name, (executable, memory_mb) in programs.items():
        command = Command(
            id=name,
            name=name,
            user="sfbatch",
            version="1",
            status="ACTIVE",
            executable=shlex.quote(executable),
            checkDelay=1000,
            memory=memory_mb,
            tags=[f"type:{name}"],
            metadata={"sfbatch": {"spark": "installed"}} if name == "spark-submit" else None,
        )
        catalog.create(connection, COMMANDS, command)
    catalog.set_children(connection, CLUSTERS, "local", list(programs))


def _spark_submit() -> str:
    """The Spark that `sfbatch.configure_spark` would use: SPARK_HOME, else pip's, else PATH's.

    Of pip's Spark the script in its own directory: the one beside `python` looks for Spark with PATH's `python3`.
    """
    try:
        return str(installed_spark().home / "bin/spark-submit")
    except SparkError:
        return shutil.which("spark-submit") or "spark-submit"
