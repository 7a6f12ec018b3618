"""One job packed to be sent: the request, and the files that go with it; a missing file is told here, not later.

Files of this machine are attached, and lie in the job's directory when it runs; addresses (`s3://...`) are passed on.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sfbatch.errors import SfBatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SPARK_SUBMIT, PYTHON = "type:spark-submit", "type:python"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # in every archive, so that the same files make the same bytes


@dataclass
class Parcel:
    """A request as `POST /api/v3/jobs` takes it, and the attachments by the names they will have."""

    request: dict[str, Any]
    files: dict[str, Path | bytes] = field(default_factory=dict)

    def open(self) -> list[tuple[str, IO[bytes]]]:
        """The attachments, from their beginning; the caller closes them."""
        return [(name, io.BytesIO(f) if isinstance(f, bytes) else f.open("rb")) for name, f in self.files.items()]


def pack(
    script: str,
    arguments: Sequence[str] = (),
    *,
    env: str,
    tags: Sequence[str] = (),
    command: Sequence[str] = (),
    conf: Mapping[str, str] | None = None,
    py_files: Iterable[str] = (),
    jars: Iterable[str] = (),
    files: Iterable[str] = (),
    requirements: str | None = None,
    job_tags: Sequence[str] = (),
    **fields: Any,
) -> Parcel:
    """Make the parcel. `fields` are of Genie's request: name, user, id, timeout, memory, priority, grouping ...

    >>> pack("s3://b/job.py", ["--date", "20161001"], env="dev", conf={"spark.executor.cores": "2"}).request
    ... # doctest: +NORMALIZE_WHITESPACE
    {'name': 'job.py', 'version': '1', 'clusterCriterias': [{'tags': ['env:dev']}],
     'commandCriteria': ['type:spark-submit'],
     'commandArguments': ['--conf', 'spark.executor.cores=2', 's3://b/job.py', '--date', '20161001']}

    Raises SfBatchError SFBATCH_BAD_SUBMISSION.
    """
    parcel = Parcel({})
    criteria = [tag if ":" in tag else f"type:{tag}" for tag in command] or [SPARK_SUBMIT]
    options: list[str] = []
    for key, value in (conf or {}).items():
        options += ["--conf", f"{key}={value}"]
    for option, paths in (("--py-files", py_files), ("--jars", jars)):
        names = [_attached(parcel, each, option) for each in paths]
        if names and option == "--py-files" and PYTHON in criteria:  # python itself has no such option
            if remote := [each for each in names if each not in parcel.files]:
                raise _bad(f"--py-files: python takes files of this machine alone, not {remote[0]}")
            fields = {**fields, "pythonPath": [each for each in names if not each.endswith(".py")]}  # those lie beside
            continue
        options += [option, ",".join(names)] if names else []
    if options and SPARK_SUBMIT not in criteria:
        raise _bad(f"{options[0]} is spark-submit's, not of {', '.join(criteria)}: leave it out, or use --file")
    name = _attached(parcel, script, "the script", only_file=True)
    for each in files:
        _attached(parcel, each, "--file", only_file=True)
    if requirements:
        fields = {**fields, "pythonEnvironment": _attached(parcel, requirements, "--requirements", only_file=True)}
        if Path(requirements).name == "uv.lock":
            _attached(parcel, str(Path(requirements).with_name("pyproject.toml")), "--requirements", only_file=True)
    fields = {**fields, "tags": list(job_tags)}
    given = {key: value for key, value in fields.items() if value not in (None, "", [])}
    parcel.request = {
        "name": Path(script).name,
        "version": "1",
        **given,
        "clusterCriterias": [{"tags": list(dict.fromkeys([f"env:{env}", *tags]))}],
        "commandCriteria": list(dict.fromkeys(criteria)),
        "commandArguments": [*options, name, *arguments],
    }
    return parcel


def _attached(parcel: Parcel, given: str, what: str, only_file: bool = False) -> str:
    """Add a file, or the archive of a directory, and return the name by which the job finds it."""
    given = str(given)
    if _ADDRESS.match(given) and not given.startswith("file://"):
        return given
    path = Path(given.removeprefix("file://")).expanduser()
    content: Path | bytes = path
    name = path.resolve().name
    if path.is_dir() and not only_file:
        content, name = _archive(path), f"{name}.zip"
    elif not path.is_file():
        raise _bad(f"{what}: {path} is {'a directory' if path.is_dir() else 'not there'}")
    if name in parcel.files and parcel.files[name] != content:
        raise _bad(f"{what}: two files are called {name}, and would lie in one directory: rename one")
    parcel.files[name] = content
    return name


def _archive(directory: Path) -> bytes:
    """A zip of a directory's files, but hidden ones and what Python made of them; the same files, the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(directory.rglob("*")):
            inside = path.relative_to(directory)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if path.is_file() and not hidden:
                entry = zipfile.ZipInfo(inside.as_posix(), _EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    if not archive.namelist():
        raise _bad(f"{directory} holds no file")
    return written.getvalue()


def _bad(message: str) -> SfBatchError:
    return SfBatchError("SFBATCH_BAD_SUBMISSION", f"{message}.")
