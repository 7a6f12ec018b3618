"""`sfbatch submit` and `sfbatch jobs`: what a user of the job server says; every verb is one of `sfbatch.jobs`'s."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfbatch.errors import SfBatchError
from sfbatch.jobs.follow import STREAMS
from sfbatch.jobs.terminal import Json, Url, print_table, tell, write

if TYPE_CHECKING:
    from collections.abc import Callable

jobs = typer.Typer(
    no_args_is_help=True,
    help="Your jobs and others': look, follow, kill, run again.",
    epilog="Example:  [bold]sfbatch jobs list --status RUNNING[/bold]",
)
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
Wait = Annotated[bool, typer.Option("--wait", help="Show its log until it ends, and exit with its exit code.")]
OnInterrupt = Annotated[
    str, typer.Option(help="What Ctrl-C does with --wait: ask, kill or leave. Without a terminal, ask kills.")
]
CHOICES = ("ask", "kill", "leave")
COLUMNS = ("id", "name", "user", "status", "clusterName", "commandName", "started", "runtime")


def submit(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="A file, or an address such as s3://bucket/job.py.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="All that follows: its own.")
    ] = None,
    env: Annotated[str, typer.Option(help="Where it runs: dev, prod (a cluster tagged env:...).")] = "dev",
    tag: Annotated[list[str] | None, typer.Option(help="A further tag its cluster must have. Repeatable.")] = None,
    command: Annotated[
        list[str] | None, typer.Option(help="spark-submit (the default), python, or a tag: ver:3.x. Repeatable.")
    ] = None,
    conf: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A setting of Spark's. Repeatable.")] = None,
    py_files: Annotated[
        list[str] | None, typer.Option(help="Modules: .py, .zip, .whl, or a directory. Commas, or repeated.")
    ] = None,
    jars: Annotated[list[str] | None, typer.Option(help="Jars, files or addresses. Commas, or repeated.")] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="A further file, to lie in the job's directory. Repeatable.")
    ] = None,
    requirements: Annotated[
        str, typer.Option(help="A requirements.txt or uv.lock: packages that the job alone has.")
    ] = "",
    name: Annotated[str, typer.Option(help="What the job is called. Default: the script's name.")] = "",
    user: Annotated[str, typer.Option(help="Whose job it is (admins). Default: the token's user.")] = "",
    job_id: Annotated[
        str, typer.Option("--id", help="The job's id: sent a second time, the first one's job is found.")
    ] = "",
    job_tag: Annotated[list[str] | None, typer.Option(help="A tag of the job, to find it by. Repeatable.")] = None,
    memory: Annotated[int | None, typer.Option(metavar="MB", help="Memory that a local job counts for.")] = None,
    timeout: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Kill it after so long. Default: 7 days.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="-100 to 100; above 0 for admins only.")] = None,
    retries: Annotated[int | None, typer.Option(help="How often it runs again after it failed. Default: 0.")] = None,
    wait: Wait = False,
    on_interrupt: OnInterrupt = "ask",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show which cluster and command would take it; submit nothing.")
    ] = False,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Submit a job to a cluster by tags. Files of this machine are sent along; the job outlives this command."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import Job, own_name
    from sfbatch.jobs.parcel import pack
    from sfbatch.jobs.sending import send

    _check_choice(on_interrupt)
    api = Api(url)
    parcel = pack(
        script,
        arguments or [],
        env=env,
        tags=tag or [],
        command=command or [],
        conf=dict(_pair(each) for each in conf or []),
        py_files=_listed(py_files),
        jars=_listed(jars),
        files=file or [],
        requirements=requirements,
        job_tags=job_tag or [],
        name=name,
        user=user or own_name(api),
        id=job_id,
        memory=memory,
        timeout=timeout,
        priority=priority,
        retries=retries,
    )
    if dry_run:
        _show_route(api.call("POST", "jobs", "dry-run", body=parcel.request), list(parcel.files), as_json)
        return
    _told_or_watched(lambda: Job(send(parcel, api), api), api, wait, on_interrupt, as_json)


@jobs.command("list", epilog="Example:  [bold]sfbatch jobs list --user alice --status RUNNING --status ACCEPTED[/bold]")
def show_all(
    status: Annotated[list[str] | None, typer.Option(help="ACCEPTED, RUNNING, FAILED ... Repeatable.")] = None,
    user: Annotated[str, typer.Option(help="Whose; % stands for anything.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Your own.")] = False,
    name: Annotated[str, typer.Option(help="What it is called; % stands for anything.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag of the job. Repeatable: all of them.")] = None,
    cluster: Annotated[str, typer.Option(help="The cluster's name.")] = "",
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Show the newest jobs; in a pipe a line each. An id is shortened on a terminal, and is understood so."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import own_name, search

    api = Api(url)
    user = own_name(api) if mine else user
    filters = {"status": status, "user": user, "name": name, "tag": tag, "clusterName": cluster}
    found = [{key: job[key] for key in COLUMNS} for job in search(api, limit, **filters)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    heads = ("id", "name", "user", "status", "cluster", "command", "started", "ran")
    print_table([list(_for_people(job).values()) for job in found], *heads)


@jobs.command(epilog="Example:  [bold]sfbatch jobs show 3f2a9c1d --json[/bold]")
def show(job: JobId, url: Url = "", as_json: Json = False) -> None:
    """Show one job: how far it is, where it runs, and the batches it published."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import find

    found = find(job, Api(url))
    state, published = vars(found.state()), found.batches()
    if as_json:
        typer.echo(json.dumps({**state, "url": found.url, "batches": published}))
        return
    print_table([[key, value] for key, value in {**state, "page": found.url}.items() if value is not None])
    if published:
        rows = [
            [
                version["table"],
                version["version"],
                version["operation"],
                partition or "(whole table)",
                batch or "dropped",
            ]
            for version in published
            for partition, batch in version["partitions"].items()
        ]
        print_table(rows, "table", "version", "operation", "partition", "batch")


@jobs.command(epilog="Example:  [bold]sfbatch jobs logs -f 3f2a9c1d[/bold]")
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="Only this one.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only this one.")] = False,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Print what a job wrote: its stdout to stdout, its stderr to stderr. Under spark-submit, stderr is Spark's log."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import find
    from sfbatch.jobs.watch import EXIT_INTERRUPTED, Watch

    asked = {"stdout": stdout, "stderr": stderr}
    streams = tuple(name for name in STREAMS if asked[name] or not any(asked.values()))
    api = Api(url)
    found = find(job, api)
    view = Watch(found, api, streams, as_json)
    try:
        if follow:
            view.to_the_end()
        else:
            state = found.state()
            if not view.show_new(state.attempt) and state.status == "FAILED":
                view.say(f"it wrote nothing: {state.message}", id=found.id, message=state.message)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


@jobs.command(epilog="Example:  [bold]sfbatch jobs files 3f2a9c1d attempts/1/stderr -o .[/bold]")
def files(
    job: JobId,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Files to print, or folders (attempts/) to list.")
    ] = None,
    into: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Copy the files there.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """List a job's files, print or copy some. What earlier attempts wrote is in attempts/1/, attempts/2/ ..."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import find

    found = find(job, Api(url))
    if into:
        wanted = names or [each["name"] for each in found.files() if not each["name"].endswith("/")]
        copied = [str(found.fetch(name, into, force)) for name in wanted]
        tell("\n".join(copied), as_json, id=found.id, files=copied)
        return
    folders = [name for name in names or ["/"] if name.endswith("/")]
    listed = [each for folder in folders for each in found.files(folder)]
    if as_json:
        typer.echo(json.dumps(listed))
    elif folders:
        print_table([list(each.values()) for each in listed], "name", "bytes", "modified")
    for name in names or []:
        if name not in folders:
            for chunk in found.read(name):
                write(sys.stdout, chunk)


@jobs.command(epilog="Example:  [bold]sfbatch jobs kill 3f2a9c1d[/bold]")
def kill(
    job: Annotated[list[str], typer.Argument(metavar="JOB...", help="The jobs' ids.")],
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Ask for the end of jobs. One that has ended already stays as it is, which is told; the exit code is 0 too."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import find

    api = Api(url)
    for each in job:
        found = find(each, api)  # before the kill, since a kill of an unknown id would be tried again
        state = found.state()
        if state.is_final:
            tell(
                f"{found.id} has ended already: {state.status}", as_json, id=found.id, killed=False, status=state.status
            )
            continue
        found.kill()
        tell(f"{found.id} is asked to end", as_json, id=found.id, killed=True)


@jobs.command(epilog="Example:  [bold]sfbatch jobs rerun 3f2a9c1d --wait[/bold]")
def rerun(
    job: JobId, wait: Wait = False, on_interrupt: OnInterrupt = "ask", url: Url = "", as_json: Json = False
) -> None:
    """Submit a job again as it was asked for, from the files it came with, in your name; prints the new id."""
    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import find

    _check_choice(on_interrupt)
    api = Api(url)
    _told_or_watched(find(job, api).rerun, api, wait, on_interrupt, as_json)


def _told_or_watched(submit: Callable[[], Any], api: Any, wait: bool, on_interrupt: str, as_json: bool) -> None:
    """The new job's id on stdout, or its log and its exit code."""
    if wait:
        from sfbatch.jobs.watch import watch  # first, as it takes a moment in which Ctrl-C would leave a job unseen

        raise typer.Exit(watch(submit(), api, on_interrupt, as_json))
    job = submit()
    tell(job.id, as_json, id=job.id, url=job.url)


def _show_route(found: dict[str, Any], files: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**found, "files": files}))
        return
    import shlex

    first = found["choice"]
    lines = [
        ("cluster", f"{first['clusterName']} ({first['clusterId']})"),
        ("command", f"{first['commandName']} ({first['commandId']})"),
        ("arguments", shlex.join(found["arguments"])),
        ("files", ", ".join(files) or "none"),
        ("or else", ", ".join(other["clusterId"] for other in found["others"]) or "no other cluster"),
    ]
    print_table([list(line) for line in lines])
    typer.echo("nothing was submitted")


def _for_people(job: dict[str, Any]) -> dict[str, Any]:
    """A line of the list: times short, and on a terminal ids that were made up, too."""
    from sfbatch.jobs.client import MADE_UP
    from sfbatch.jobs.clock import brief

    short = sys.stdout.isatty() and re.fullmatch(MADE_UP, job["id"])
    return {
        **job,
        "id": job["id"][:8] if short else job["id"],
        "started": (job["started"] or "")[:16].replace("T", " "),
        "runtime": brief(job["runtime"]) if job["started"] else "",
    }


def _listed(given: list[str] | None) -> list[str]:
    return [part.strip() for each in given or [] for part in each.split(",") if part.strip()]


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not (found and key.strip()):
        raise SfBatchError("SFBATCH_BAD_SUBMISSION", f"--conf {text}: expected KEY=VALUE.")
    return key.strip(), value


def _check_choice(on_interrupt: str) -> None:
    if on_interrupt not in CHOICES:
        raise typer.BadParameter(f"{on_interrupt} is not one of {', '.join(CHOICES)}", param_hint="--on-interrupt")
