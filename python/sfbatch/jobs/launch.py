"""Turns a stored job into what a back end starts: arguments, environment and files to fetch; it starts nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from sfbatch.jobs import catalog
from sfbatch.jobs.backends import Launch
from sfbatch.jobs.backends.files import base_name, file_name
from sfbatch.jobs.kinds import APPLICATIONS, CLUSTERS, COMMANDS, Kind
from sfbatch.jobs.problem import Problem
from sfbatch.jobs.requests import JobRequest, split
from sfbatch.jobs.selection import ours
from sfbatch.jobs.tables import jobs, resources

if TYPE_CHECKING:
    from pathlib import Path


def launch_of(connection: Connection, top: Path, job_id: str) -> Launch:
    """Everything about a claimed job; `refused` when it cannot be started after all."""
    job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    request = JobRequest.model_validate(job.request)
    directory = top / job.directory
    plain = Launch(job.id, directory, [], job.timeout_s, job.memory_mb, {}, {}, None, attempt=job.attempt)
    try:
        cluster = catalog.get(connection, CLUSTERS, job.cluster_id)
        command = catalog.get(connection, COMMANDS, job.command_id)
    except Problem as problem:  # deleted between the claim and now
        return replace(plain, refused=problem.message)
    found = select(resources).where(resources.c.kind == APPLICATIONS.name, resources.c.id.in_(job.applications))
    applications = catalog.with_tags(connection, APPLICATIONS, connection.execute(found))
    fetch = {base_name(address): address for address in (*request.dependencies, *request.configs)}
    for kind, resource in ((CLUSTERS, cluster), (COMMANDS, command), *((APPLICATIONS, a) for a in applications)):
        fetch |= _files_of(kind, resource)
    program = split(command["executable"], "executable")
    return replace(
        plain,
        arguments=[*program, *request.arguments()],
        program=program,
        spark=ours(command["metadata"]).get("spark"),
        requirements=directory / request.pythonEnvironment if request.pythonEnvironment else None,
        environment=_environment(job, request, cluster, command, directory),
        fetch=fetch,
        cluster=cluster,
        refused=_refusal(directory, [request.setupFile, *(r["setupFile"] for r in (cluster, command, *applications))]),
    )


def _refusal(directory: Path, setup_files: list[str | None]) -> str | None:
    for script in filter(None, setup_files):
        return f"{script}: set-up files are shell scripts, and jobs run without a shell. Put it into the command."
    if not directory.is_dir():
        return f"The job's files are gone: {directory} was deleted."
    return None


def _files_of(kind: Kind, resource: dict[str, Any]) -> dict[str, str]:
    folder = f"genie/{kind.one if kind is not APPLICATIONS else kind.name}/{file_name(resource['id'])}"
    return {
        f"{folder}/{place}/{base_name(address)}": address
        for place, addresses in (("config", resource["configs"]), ("dependencies", resource["dependencies"]))
        for address in addresses
    }


def _environment(
    job: Any, request: JobRequest, cluster: dict[str, Any], command: dict[str, Any], directory: Path
) -> dict[str, str]:
    """What Genie tells its jobs, and what sfbatch's writer records."""
    here = str(directory)
    return {
        "SFBATCH_USER": job.user,
        "GENIE_JOB_ID": job.id,
        "GENIE_JOB_NAME": job.name,
        "GENIE_JOB_MEMORY": str(job.memory_mb),
        "GENIE_JOB_DIR": here,
        "GENIE_JOB_TAGS": ",".join(request.tags),
        "GENIE_JOB_GROUPING": job.grouping or "",
        "GENIE_JOB_GROUPING_INSTANCE": job.grouping_instance or "",
        "GENIE_USER": job.user,
        "GENIE_USER_GROUP": request.group or "",
        "GENIE_CLUSTER_ID": cluster["id"],
        "GENIE_CLUSTER_NAME": cluster["name"],
        "GENIE_CLUSTER_TAGS": ",".join(cluster["tags"]),
        "GENIE_CLUSTER_DIR": f"{here}/genie/cluster/{file_name(cluster['id'])}",
        "GENIE_COMMAND_ID": command["id"],
        "GENIE_COMMAND_NAME": command["name"],
        "GENIE_COMMAND_TAGS": ",".join(command["tags"]),
        "GENIE_COMMAND_DIR": f"{here}/genie/command/{file_name(command['id'])}",
        "GENIE_APPLICATION_DIR": f"{here}/genie/applications",
        **_writable(cluster, command),
        **({"PYTHONPATH": ":".join(f"{here}/{name}" for name in request.pythonPath)} if request.pythonPath else {}),
    }


def _writable(cluster: dict[str, Any], command: dict[str, Any]) -> dict[str, str]:
    """The databases that the writer lets the job change: the command's `writeDatabases`, else the cluster's, else all.

    What cannot be read allows none.
    """
    for resource in (command, cluster):
        metadata = ours(resource["metadata"])
        if "writeDatabases" in metadata:
            given = metadata["writeDatabases"]
            names = given if isinstance(given, list) else [given]
            readable = names and all(isinstance(name, str) and name.strip() and "\0" not in name for name in names)
            return {"SFBATCH_WRITE_DATABASES": ",".join(names) if readable else "(none)"}
    return {}
