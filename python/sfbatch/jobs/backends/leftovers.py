"""Finds the processes of a job by the mark in their environment, whatever process group or parent they have by now."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "GENIE_JOB_DIR"  # not the id: another server of this machine may have a job of the same


def processes_of(directory: Path) -> list[int]:
    """The ids of this user's processes that carry the job's mark; empty where there is no /proc (macOS).

    A process that replaced its environment is not found.
    """
    mark = os.fsencode(f"{MARK}={directory.resolve()}")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def end_all(directory: Path, for_s: float = 1.0) -> None:
    """SIGKILL to every process of the job, again while there are some: a machine under load takes its time.

    Gives up after `for_s`, as the dispatcher has other jobs: the system cannot end a process that waits for a disk.
    """
    give_up = time.monotonic() + for_s
    while (left := processes_of(directory)) and time.monotonic() < give_up:
        for process_id in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process_id, signal.SIGKILL)
        time.sleep(0.02)
