"""The job server's part of the command line; imports the server, and what it needs, only to run a command."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfbatch.errors import SfBatchError
from sfbatch.jobs.settings import MIB, Settings
from sfbatch.jobs.terminal import Json, Url, print_table, tell

if TYPE_CHECKING:
    from sfbatch.jobs.database import Database

tokens = typer.Typer(
    no_args_is_help=True,
    help="Who may use the job server. Run where the server runs: the database is changed directly.",
    epilog="Example:  [bold]sfbatch tokens add alice --role submitter[/bold]",
)
clusters = typer.Typer(
    no_args_is_help=True,
    help="The clusters that jobs run on, described in a file.",
    epilog="Example:  [bold]sfbatch clusters apply conf/clusters.yaml[/bold]",
)
DatabaseUrl = Annotated[
    str,
    typer.Option(
        help="postgresql://USER:PASSWORD@HOST/NAME. Default: SFBATCH_JOBS_DATABASE_URL, else SQLite in SFBATCH_HOME.",
    ),
]


def server(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    database_url: DatabaseUrl = "",
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask for no token. Refused off loopback.")] = False,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A further name by which clients call the server. Repeatable.")
    ] = None,
    pass_env: Annotated[
        list[str] | None, typer.Option(help="A further environment variable that jobs may see. Repeatable.")
    ] = None,
    memory_mb: Annotated[
        int | None, typer.Option(help="Memory all local jobs together may ask for. Default: 4/5 of the machine's.")
    ] = None,
    user_limit: Annotated[int, typer.Option(help="Running jobs a user may have. 0: no limit.")] = 0,
    max_upload_mb: Annotated[int, typer.Option(help="Largest submission, attachments included.")] = 512,
    max_output_mb: Annotated[
        int, typer.Option(help="Largest stdout, and stderr; a job that writes more is killed.")
    ] = 8192,
    remote_poll_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the jobs on EMR.")] = 10,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the job server: Genie's REST interface (v3), a queue, and local jobs; everything under SFBATCH_HOME/jobs."""
    _need_server()
    from sfbatch.jobs.server import run

    settings = Settings(
        host=host,
        port=port,
        auth=not no_auth,
        database_url=database_url,
        allowed_hosts=tuple(allowed_host or ()),
        pass_env=tuple(pass_env or ()),
        max_running_per_user=user_limit,
        max_upload_bytes=max_upload_mb * MIB,
        max_output_bytes=max_output_mb * MIB,
        remote_poll_s=remote_poll_s,
    )
    run(settings if memory_mb is None else replace(settings, memory_mb=memory_mb), log_level)


@tokens.command(epilog="Example:  [bold]sfbatch tokens add alice --role submitter[/bold]")
def add(
    user: Annotated[str, typer.Argument(help="Whose token it is; jobs submitted with it are this user's.")],
    role: Annotated[str, typer.Option(help="reader, submitter or admin.")] = "submitter",
    database_url: DatabaseUrl = "",
    as_json: Json = False,
) -> None:
    """Make a token and print it; only its hash is kept, so it cannot be shown again."""
    database = _database(database_url)
    from sfbatch.jobs.tokens import ROLES, issue

    if role not in ROLES:
        raise typer.BadParameter(f"{role} is not one of {', '.join(ROLES)}", param_hint="--role")
    token = issue(database, user, role)
    tell(token, as_json, user=user, role=role, token=token)


@tokens.command("list", epilog="Example:  [bold]sfbatch tokens list --json[/bold]")
def show(database_url: DatabaseUrl = "", as_json: Json = False) -> None:
    """Show whose tokens there are; never a token."""
    database = _database(database_url)
    from sqlalchemy import select

    from sfbatch.jobs.clock import iso
    from sfbatch.jobs.tables import tokens as table

    with database.read() as connection:
        rows = connection.execute(select(table).order_by(table.c.created_ms)).all()
    found = [
        {"user": row.user, "role": row.role, "created": iso(row.created_ms), "revoked": iso(row.revoked_ms)}
        for row in rows
    ]
    if as_json:
        typer.echo(json.dumps(found))
        return
    print_table([list(row.values()) for row in found], "user", "role", "created", "revoked")


@tokens.command(epilog="Example:  [bold]sfbatch tokens revoke alice[/bold]")
def revoke(
    user: Annotated[str, typer.Argument(help="Whose tokens are to end.")],
    database_url: DatabaseUrl = "",
    as_json: Json = False,
) -> None:
    """End all tokens of a user within two seconds."""
    database = _database(database_url)
    from sfbatch.jobs.tokens import revoke as revoke_all

    number = revoke_all(database, user)
    if not number:
        raise SfBatchError("SFBATCH_NOT_FOUND", f"{user} has no token that is valid: see `sfbatch tokens list`.")
    tell(f"revoked {number} tokens of {user}", as_json, user=user, revoked=number)


@clusters.command("list", epilog="Example:  [bold]sfbatch clusters list --json[/bold]")
def show_clusters(
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Show the clusters: their tags, by which jobs find them, and what each can run."""
    from sfbatch.jobs.api import Api

    api = Api(url)
    found = [
        {
            **{key: cluster[key] for key in ("id", "name", "status")},
            "tags": [tag for tag in cluster["tags"] if not tag.startswith("genie.")],
            "commands": [each["id"] for each in api.call("GET", "clusters", cluster["id"], "commands")],
        }
        for cluster in api.every("clusters")
    ]
    if as_json:
        typer.echo(json.dumps(found))
        return
    rows = [[", ".join(value) if isinstance(value, list) else value for value in each.values()] for each in found]
    print_table(rows, "id", "name", "status", "tags", "commands")


@clusters.command(epilog="Example:  [bold]sfbatch clusters apply conf/clusters.yaml --yes[/bold]")
def apply(
    file: Annotated[Path, typer.Argument(help="Applications, commands and clusters, as in conf/clusters.yaml.")],
    yes: Annotated[bool, typer.Option("--yes", help="Make the changes; without it they are only shown.")] = False,
    url: Url = "",
    as_json: Json = False,
) -> None:
    """Make the server's clusters those of a file: shows the difference, replaces a cluster under running jobs."""
    _need_server()
    import yaml

    from sfbatch.jobs.api import Api
    from sfbatch.jobs.plan import plan
    from sfbatch.jobs.problem import precondition

    try:
        wanted = yaml.safe_load(file.read_text())
        json.dumps(wanted)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise precondition(f"{file} cannot be read: {error}") from None
    except (TypeError, ValueError) as error:
        raise precondition(f"{file}: {error}. Put dates in quotes: they are sent as text") from None
    api = Api(url)
    steps = plan(wanted, api)
    if yes:
        for step in steps:
            api.call(step.method, *step.path, body=step.body)
    lines = [line for step in steps for line in step.lines]
    if as_json:
        typer.echo(json.dumps({"changes": lines, "made": yes and bool(steps)}))
        return
    typer.echo("\n".join(lines) if lines else "nothing to do")
    if steps and not yes:
        typer.echo("nothing was changed: run it again with --yes")


def clean(
    older_than: Annotated[str, typer.Option(help="How long ago a job must have ended: 30d, 12h.")] = "30d",
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it what would go is only shown.")] = False,
    database_url: DatabaseUrl = "",
    as_json: Json = False,
) -> None:
    """Forget jobs that ended long ago, and delete their files. Run where the server runs, also while it does."""
    database = _database(database_url)
    from sfbatch.jobs import cleaning

    settings = Settings(database_url=database_url)
    found = cleaning.find(database, settings, cleaning.seconds(older_than))
    if yes:
        cleaning.clean(database, settings, found)
    leftovers, unused = len(found.leftovers), len(found.environments)
    if as_json:
        ids = [job_id for job_id, _ in found.jobs]
        told = {"jobs": ids, "leftovers": leftovers, "environments": unused, "bytes": found.size_bytes, "made": yes}
        typer.echo(json.dumps(told))
        return
    if not (found.jobs or leftovers or unused):
        typer.echo(f"nothing to do: no job ended more than {older_than} ago")
        return
    lines = f"{len(found.jobs)} finished jobs, {leftovers} directories of submissions that were cut short, "
    typer.echo(f"{lines}{unused} unused Python environments: {found.size_bytes / MIB:.1f} MiB")
    typer.echo("deleted" if yes else "nothing was changed: run it again with --yes")


def _database(url: str) -> Database:
    _need_server()
    from sfbatch.jobs.database import Database

    database = Database(Settings(database_url=url).url)
    database.migrate()
    return database


def _need_server() -> None:
    """Raises SfBatchError SFBATCH_SERVER_NOT_INSTALLED."""
    missing = [
        name for name in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "yaml") if not importlib.util.find_spec(name)
    ]
    if missing:
        message = f"the job server needs {', '.join(missing)}: pip install 'sfbatch[server]'."
        raise SfBatchError("SFBATCH_SERVER_NOT_INSTALLED", message)
