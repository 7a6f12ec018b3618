"""The `sfbatch` command; every verb is one of the library's, and prints what it did or one error line with its code."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

import sfbatch
from sfbatch import local_metastore
from sfbatch.errors import SfBatchError
from sfbatch.jobs import commands, job_commands
from sfbatch.jobs.terminal import Json, print_table
from sfbatch.local_metastore import LocalMetastore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Batch directories, published atomically in the Hive Metastore.",
    epilog="Example:  [bold]spark-submit --jars $(sfbatch jar) job.py[/bold]",
)
metastore = typer.Typer(
    no_args_is_help=True,
    help="The local metastore of this machine, shared by Spark, Python and the command line.",
    epilog="Example:  [bold]sfbatch metastore start[/bold]   then   [bold]sfbatch metastore status --json[/bold]",
)
app.add_typer(metastore, name="metastore")
app.add_typer(commands.tokens, name="tokens")
app.add_typer(commands.clusters, name="clusters")
app.add_typer(job_commands.jobs, name="jobs")
job_commands.jobs.command(epilog="Example:  [bold]sfbatch jobs clean --older-than 30d[/bold]")(commands.clean)
app.command(epilog="Example:  [bold]sfbatch server --port 8080[/bold]")(commands.server)
app.command(
    epilog="Example:  [bold]sfbatch submit --env dev --wait job.py --date 20161001[/bold]",
    context_settings={"allow_interspersed_args": False},  # what follows the script is the script's
    no_args_is_help=True,
)(job_commands.submit)


def main() -> None:
    """Run the command; an error of ours is one line on stderr and exit code 1."""
    try:
        app()
    except SfBatchError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(sfbatch.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example:  [bold]spark-submit --jars $(sfbatch jar) job.py[/bold]")
def jar() -> None:
    """Print the path of the jar for the installed Spark (SPARK_HOME, else pip's PySpark)."""
    typer.echo(str(sfbatch.jar_path()))


@metastore.command(epilog="Example:  [bold]SFBATCH_HOME=/data/lake sfbatch metastore start[/bold]")
def start(as_json: Json = False) -> None:
    """Start the local metastore, or find the one that runs; its data is under SFBATCH_HOME (~/.sfbatch)."""
    _show(local_metastore.start(), as_json)


@metastore.command(epilog="Example:  [bold]sfbatch metastore stop[/bold]")
def stop(as_json: Json = False) -> None:
    """Stop the local metastore. Tables stay, and the next start takes the same port."""
    stopped = local_metastore.stop()
    if as_json:
        typer.echo(json.dumps({"stopped": stopped, "home": str(local_metastore.default_home())}))
    else:
        typer.echo("stopped" if stopped else f"no metastore runs under {local_metastore.default_home()}")


@metastore.command(epilog="Example:  [bold]sfbatch metastore status --json[/bold]")
def status(as_json: Json = False) -> None:
    """Show the local metastore; exit code 3 when none runs."""
    running = local_metastore.find()
    if running:
        _show(running, as_json)
        return
    home = str(local_metastore.default_home())
    typer.echo(json.dumps({"running": False, "home": home}) if as_json else f"no metastore runs under {home}")
    raise typer.Exit(3)


def _show(running: LocalMetastore, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"running": True, **running.as_dict()}))
        return
    print_table([list(each) for each in running.as_dict().items()])
