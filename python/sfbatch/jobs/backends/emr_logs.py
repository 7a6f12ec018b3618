"""Reads what EMR's own logs say about a job: its exit code, the id of its YARN application."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONTROLLER = "genie/logs/controller"
_EXIT = re.compile(r"exitCode (\d+)|ret '(\d+)'")
_APPLICATION = re.compile(r"Submitted application (application_\d+_\d+)")


def exit_code_in(directory: Path) -> int | None:
    """The exit code that the log of EMR's step controller names.

    Seen lines: `WARN Step failed with exitCode 1 and took 20 seconds`, `Command exiting with ret '1'`.
    """
    found = _EXIT.findall(_text(directory / CONTROLLER))
    return int(next(filter(None, found[-1]))) if found else None


def applications_in(directory: Path) -> tuple[str, ...]:
    """The YARN applications that spark-submit says it submitted."""
    return tuple(dict.fromkeys(_APPLICATION.findall(_text(directory / "stderr"))))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
