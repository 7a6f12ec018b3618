"""What the commands have in common: options, and how they print; nothing that a job says may command a terminal."""

from __future__ import annotations

import json
import sys
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Url = Annotated[str, typer.Option(help="The server. Default: SFBATCH_JOBS_URL, else SFBATCH_HOME's own.")]
LONGEST_LINE = 10_000  # in a pipe


def printable(text: str) -> str:
    r"""The text without what could command a terminal; a name or a log may be anybody's.

    >>> printable("a\x1b[2Jb\tc")
    'a\ufffd[2Jb\tc'
    """
    return "".join(c if c.isprintable() or c in "\n\r\t" else "\ufffd" for c in text)


def print_table(rows: list[list[Any]], *heads: str) -> None:
    """Text is shown as text: neither markup nor what commands a terminal is obeyed. In a pipe a row is one line."""
    table = Table(box=None, show_header=bool(heads))
    for head in heads:
        table.add_column(head, no_wrap=head == "id")
    for row in rows:
        table.add_row(*(Text(printable("" if value is None else str(value)), overflow="fold") for value in row))
    Console(width=None if sys.stdout.isatty() else LONGEST_LINE).print(table)


def tell(text: str, as_json: bool, **more: Any) -> None:
    """A sentence, or an object of what it says."""
    typer.echo(json.dumps(more) if as_json else text)


def write(target: IO[str], chunk: bytes) -> None:
    """A piece of what a job wrote, as it is where no terminal could obey it."""
    if target.isatty():
        target.write(printable(chunk.decode(errors="replace")))
    else:
        target.buffer.write(chunk)  # type: ignore[attr-defined]
    target.flush()
