"""A job's files, read while it writes them; never one outside the job's directory, whatever the path or the links say.

A file is opened first and asked afterwards where it really is, so that nothing can be exchanged between check and use.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import stat
import sys
from dataclasses import dataclass
from email.utils import formatdate
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sfbatch.jobs.clock import iso
from sfbatch.jobs.problem import Problem, not_found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 256 * 1024
_F_GETPATH = 50  # of macOS's fcntl.h
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")  # no file is larger


@dataclass(frozen=True)
class Opened:
    """An open file or directory of a job; whoever gets it closes it."""

    descriptor: int
    path: str
    size_bytes: int
    modified_s: float
    is_directory: bool


def open_inside(directory: Path, path: str) -> Opened:
    """Open `path` of a job's directory. Raises Problem 404 for what is not there, is outside, or is a pipe."""
    missing = not_found(f"No file {path!r} in this job's output")
    try:
        top = os.path.realpath(directory)
        descriptor = os.open(os.path.join(top, path.strip("/")), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # noqa: PTH118
    except (OSError, ValueError):
        raise missing from None
    found = os.fstat(descriptor)
    real = _real_path(descriptor)
    inside = real == top or real.startswith(top + "/")
    if not inside or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        os.close(descriptor)
        raise missing
    return Opened(descriptor, real[len(top) :].strip("/"), found.st_size, found.st_mtime, stat.S_ISDIR(found.st_mode))


def byte_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The first and the last byte asked for, None for all. Raises Problem 416 when none of them is there.

    >>> byte_range("bytes=0-3", 15), byte_range("bytes=5-", 15), byte_range("bytes=-4", 15), byte_range(None, 15)
    ((0, 3), (5, 14), (11, 14), None)

    More ranges than one, and what is no range, get the whole file, as HTTP allows.
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None
    begin = int(first) if first else max(size_bytes - int(last), 0)
    end = min(int(last), size_bytes - 1) if first and last else size_bytes - 1
    if begin >= size_bytes:
        headers = {"Content-Range": f"bytes */{size_bytes}", "Accept-Ranges": "bytes"}
        message = f"The file has {size_bytes} bytes so far"
        raise Problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "SFBATCH_NO_SUCH_RANGE", message, headers)
    return begin, end


def content(opened: Opened, begin: int, end: int) -> Iterator[bytes]:
    """The bytes from `begin` to `end`, both included: as many as were promised, though the file may have grown.

    The file is closed with the iterator, also when a client that has gone away never lets it begin.
    """
    return _read(io.FileIO(opened.descriptor), opened.path, begin, end)


def _read(file: io.FileIO, path: str, begin: int, end: int) -> Iterator[bytes]:
    while begin <= end:
        chunk = os.pread(file.fileno(), min(CHUNK_BYTES, end - begin + 1), begin)
        if not chunk:  # the job cut its own file short: the connection is closed early, which the client notices
            raise OSError(f"{path} became shorter while it was sent")
        begin += len(chunk)
        yield chunk


def http_date(opened: Opened) -> str:
    """For `Last-Modified`."""
    return formatdate(opened.modified_s, usegmt=True)


def listing(opened: Opened, url: str) -> dict[str, Any]:
    """A directory as Genie shows it; `url` is the address of the job's output. Closes the directory."""
    try:
        directories: list[dict[str, Any]] = []
        files: list[dict[str, Any]] = []
        with os.scandir(opened.descriptor) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                try:
                    found = entry.stat()
                except OSError:  # gone meanwhile, or a link to nowhere
                    continue
                is_directory = stat.S_ISDIR(found.st_mode)
                name = entry.name + "/" * is_directory
                where = quote(f"{opened.path}/{name}".lstrip("/"), errors="replace")
                item = {
                    "name": name.encode(errors="replace").decode(),
                    "url": f"{url}/{where}",
                    "size": 0 if is_directory else found.st_size,
                    "lastModified": iso(int(found.st_mtime * 1000)),
                }
                (directories if is_directory else files).append(item)
    finally:
        os.close(opened.descriptor)
    parent = None
    if opened.path:
        above = quote(os.path.dirname(opened.path))  # noqa: PTH120
        parent = {
            "name": "../",
            "url": f"{url}/{above}".rstrip("/"),
            "size": 0,
            "lastModified": iso(int(opened.modified_s * 1000)),
        }
    return {"parent": parent, "directories": directories, "files": files}


def page(title: str, found: dict[str, Any]) -> str:
    """The listing as HTML."""
    rows = [found["parent"]] * bool(found["parent"]) + found["directories"] + found["files"]
    lines = "\n".join(
        f'<tr><td><a href="{escape(row["url"])}">{escape(row["name"])}</a></td>'
        f"<td align=right>{row['size'] or ''}</td><td>{row['lastModified']}</td></tr>"
        for row in rows
    )
    head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    note = "<p>spark-submit in client mode sends Python's stderr to <b>stdout</b>; stderr is Spark's log.</p>"
    return f"{head}<body><h1>{escape(title)}</h1><table>\n{lines}\n</table>{note}</body></html>"


def _real_path(descriptor: int) -> str:
    if sys.platform == "darwin":
        return fcntl.fcntl(descriptor, _F_GETPATH, bytes(1024)).rstrip(b"\0").decode(errors="replace")
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115


def close(opened: Opened) -> None:
    """Give it back unread."""
    os.close(opened.descriptor)
