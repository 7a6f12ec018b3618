"""What a job is called at a service: unique for each submission and attempt, so that it is found and never doubled."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfbatch.jobs.backends import Launch

LONGEST_NAME, LONGEST_TOKEN = 256, 64


def run_name(launch: Launch) -> str:
    """The job's id, the random end of its directory's name (an id may come again after a clean-up), and the attempt.

    E.g. `sfbatch first 3f2a9c1d0b7e.1`
    """
    text = f"sfbatch {launch.job_id} {_once(launch)}"
    return text if len(text) <= LONGEST_NAME else f"sfbatch {_digest(launch.job_id)} {_once(launch)}"


def token(launch: Launch) -> str:
    """The same as a client token: 64 characters of A-Z a-z 0-9 . _ -, e.g. `first.3f2a9c1d0b7e.1`."""
    text = f"{launch.job_id}.{_once(launch)}"
    fits = re.fullmatch(rf"[A-Za-z0-9._-]{{1,{LONGEST_TOKEN}}}", text)
    return text if fits else _digest(text)


def _once(launch: Launch) -> str:
    return f"{launch.directory.name.rpartition('-')[2]}.{launch.attempt}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
