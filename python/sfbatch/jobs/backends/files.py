"""Files of the server's own machine that a job names as dependencies (`file:///...`)."""

from __future__ import annotations

import os
import posixpath
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sfbatch.jobs.backends.wrapper import LAUNCHED

# Names in a job's directory that are the server's.
TAKEN = {"stdout", "stderr", "genie", "run", "attempts", "driver", LAUNCHED}


def base_name(address: str) -> str:
    """The last part of an address, as a file name: `s3://b/x.jar` is `x.jar`."""
    return file_name(posixpath.basename(unquote(urlsplit(address).path).rstrip("/")))


def file_name(text: str) -> str:
    """A name that is one part of a path and stays where it is put."""
    name = "".join("_" if c in "/\\" or not c.isprintable() else c for c in text)
    return name if name.strip(".") and name not in TAKEN else f"_{name}"


def fetch(address: str, target: Path) -> None:
    """Copy a file of this machine to the job's directory, whole or not at all. Raises OSError for any other address."""
    parts = urlsplit(address)
    if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"}:
        raise OSError(f"{address}: the local back end fetches only files of its own machine (file:///...)")
    source = Path(unquote(parts.path) if parts.scheme else address)
    if not source.is_absolute():
        raise OSError(f"{address}: not an absolute path")
    if not source.is_file():  # a device has no end
        raise OSError(f"{address}: no such file")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.copyfile(source, part)
    part.rename(target)
