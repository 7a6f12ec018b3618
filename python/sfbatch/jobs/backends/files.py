"""Files of the server's own machine that a job names as dependencies (`file:///...`)."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sfbatch.jobs.backends.plain import open_plain
from sfbatch.jobs.backends.wrapper import DETAILS

if TYPE_CHECKING:
    from sfbatch.jobs.settings import Settings

CHUNK_BYTES = 1024 * 1024
# Names in a job's directory that are the server's.
TAKEN = {"stdout", "stderr", "genie", "run", "attempts", "driver", DETAILS}
# Under these lies what the system makes up, the secrets of this process among it.
UNFIT = tuple(map(Path, ("/proc", "/sys", "/dev")))


def base_name(address: str) -> str:
    """The last part of an address, as a file name: `s3://b/x.jar` is `x.jar`."""
    return file_name(posixpath.basename(unquote(urlsplit(address).path).rstrip("/")))


def file_name(text: str) -> str:
    """A name that is one part of a path and stays where it is put."""
    name = "".join("_" if c in "/\\" or not c.isprintable() else c for c in text)
    return name if name.strip(".") and name not in TAKEN else f"_{name}"


def fetch(address: str, target: Path, settings: Settings) -> None:
    """Copy a file of this machine to the job's directory, whole or not at all.

    Raises OSError for any other address, for the server's own files, which no job is to be given, and for what is
    larger than an upload may be.
    """
    parts = urlsplit(address)
    if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"}:
        raise OSError(f"{address}: the local back end fetches only files of its own machine (file:///...)")
    source = Path(unquote(parts.path) if parts.scheme else address)
    if not source.is_absolute():
        raise OSError(f"{address}: not an absolute path")
    real = source.resolve()
    if any(real.is_relative_to(place) for place in (*UNFIT, settings.directory.resolve())):
        raise OSError(f"{address}: not a file that a job may be given")
    if not real.is_file():
        raise OSError(f"{address}: no such file")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open_plain(real, follow=False) as file, part.open("wb") as copy:
            for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                copy.write(chunk)
                if copy.tell() > settings.max_upload_bytes:
                    raise OSError(f"{address}: larger than {settings.max_upload_bytes} bytes")
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
