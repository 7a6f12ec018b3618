"""Opens files in a job's directory: a job may have put a pipe, a device or a directory in their place."""

from __future__ import annotations

import os
import stat
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class NotPlainError(OSError):
    """Something is there, and it is no ordinary file."""


def open_plain(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open an ordinary file to read, without waiting for anything. Raises NotPlainError and other OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except NotADirectoryError as error:
        raise NotPlainError(*error.args) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotPlainError(f"{path}: not an ordinary file")
    return os.fdopen(descriptor, "rb")
