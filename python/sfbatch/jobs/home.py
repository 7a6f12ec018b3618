"""The server's directory: whose it is, that one server at a time works in it, and that it is still there.

It can be deleted, or another put in its place, under a running server: what it then took in, nobody would ever find.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sfbatch.jobs.problem import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE, LOCK = "server-id", "server.lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux alone has it


def server_id(directory: Path) -> str:
    """Name this home's server, the same after every restart: the jobs it claimed are its own again."""
    path = directory / FILE
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(str(uuid.uuid4()))
        part.rename(path)
    return path.read_text().strip()


def check(directory: Path, server: str) -> None:
    """Raises ServerError SFBATCH_SERVER_ERROR when the directory is gone, or is no longer this server's."""
    try:
        found = (directory / FILE).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        found = "gone"
    if found != server:
        message = f"{directory} was deleted or replaced under the running server ({FILE}: {found}): restart it."
        raise ServerError("SFBATCH_SERVER_ERROR", message)


def place(directory: Path) -> str:
    """Name a directory that `alone` holds, 16 letters: a copy's name is another, also in a copy of the machine."""
    lock = (directory / LOCK).stat()
    boot = _BOOT.read_text() if _BOOT.exists() else ""
    return hashlib.sha256(repr((boot, str(directory.resolve()), lock.st_dev, lock.st_ino)).encode()).hexdigest()[:16]


def is_held(directory: Path) -> bool:
    """Whether a server of this machine works in a directory, as far as this user may know."""
    try:
        with (directory / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_held_elsewhere(there: Path, here: Path) -> bool:
    """Whether one works in another directory than this."""
    try:
        return not there.samefile(here) and is_held(there)
    except OSError:
        return False


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Two servers must not share a home: each would start and watch the other's jobs."""
    descriptor = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        for again in (True, True, False):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not again:
                    message = f"another server runs with {directory}: stop it, or set another SFBATCH_HOME."
                    raise ServerError("SFBATCH_SERVER_REFUSED", message) from None
            time.sleep(0.1)  # a client may just have looked whether it is held
        yield
    finally:
        os.close(descriptor)
