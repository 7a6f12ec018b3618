"""Python environments for jobs: a requirements.txt or uv.lock becomes a directory that works wherever its Python is.

It is a virtual environment made by hand: `bin/python` leads to the cluster's own interpreter and uv puts the packages
beside it, for that interpreter's version and platform, whatever runs the server. Only wheels are installed: building a
source distribution would run a submitter's code as the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfbatch.jobs.problem import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_FILE, PROJECT_FILE = "uv.lock", "pyproject.toml"
BUILD_TIMEOUT_S = 900
LOOK_EVERY_S = 0.1  # whether another job's build is ready
_builds: dict[subprocess.Popen[str], Path] = {}  # what uv does just now -> the directory of the job that asked
_unwanted: set[Path] = set()  # directories of jobs that were killed
_stopping = threading.Event()  # the server ends: nothing is begun any more
_LAYOUT = 1  # counted up when the same sources would make another directory
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][\w.-]*(\s*\[[\w\s,.-]*\])?\s*(\(?[<>=!~][\w\s<>=!~.,*+()-]*)?(;[\w\s<>=!~.'\"*+()-]*)?", re.ASCII
)
_PASSED = {"PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}  # and UV_*: the index


@dataclass(frozen=True)
class Python:
    """An interpreter jobs run with; `platform` is one of uv's, None the server's own."""

    path: str
    version: str
    platform: str | None = None

    @classmethod
    def here(cls) -> Python:
        """The server's own, without its packages."""
        return cls(os.path.realpath(sys.executable), "{}.{}".format(*sys.version_info))


class Unwanted(Exception):  # noqa: N818 - no error: somebody killed the job
    """The job that the environment is for is to end, or not to be started by this server."""


class Environments:
    """A cache in a directory; an environment in it is whole, and made once however many jobs ask."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, source: Path, python: Python) -> Path:
        """The environment of a requirements.txt or uv.lock, made now if need be; attached wheels beside it count.

        Raises ServerError SFBATCH_ENVIRONMENT_FAILED, Unwanted when `cancel` or `stop` was called meanwhile.
        """
        wheels = sorted(source.parent.glob("*.whl"))
        with _scratch(self._directory) as scratch:
            text = requirements(source, scratch)
            content = [_LAYOUT, text, [(w.name, _digest(w)) for w in wheels], asdict(python)]
            made = self._directory / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
            with _locked(made.with_suffix(".lock"), source.parent):
                if not made.exists():
                    (scratch / "requirements.txt").write_text(text)
                    for wheel in wheels:
                        shutil.copyfile(wheel, scratch / wheel.name)
                    _build(scratch, python, self._directory / "cache", source.parent).rename(made)
                os.utime(made)  # clean-up keeps what was used lately
        return made

    def archive(self, made: Path) -> Path:
        """An environment as a .tar.gz, for Spark's --archives."""
        path = made.with_suffix(".tar.gz")
        with _locked(made.with_suffix(".lock")):
            if not path.exists():
                part = path.with_suffix(".part")
                with tarfile.open(part, "w:gz", compresslevel=6) as archive:
                    for entry in sorted(made.iterdir()):
                        archive.add(entry, entry.name)
                part.rename(path)
        return path


def unused(directory: Path, since_s: float) -> list[str]:
    """The names of the environments that no job asked for since then."""
    found = [path for path in directory.glob("*") if re.fullmatch(r"[0-9a-f]{32}", path.name)]
    return sorted(path.name for path in found if path.stat().st_mtime < since_s)


def remove(directory: Path, names: list[str]) -> None:
    """Delete environments and their archives, whole: a job that asks meanwhile waits and has it made again."""
    for name in names:
        with _locked(directory / f"{name}.lock"), _scratch(directory) as scratch:
            for path in (directory / name, directory / f"{name}.tar.gz"):
                if path.exists():
                    path.rename(scratch / path.name)


def check(source: Path) -> None:
    """Look through a job's requirements without installing anything. Raises ServerError SFBATCH_ENVIRONMENT_FAILED."""
    if source.name == LOCK_FILE:
        if not source.with_name(PROJECT_FILE).is_file():
            raise _failed(f"{LOCK_FILE} needs the {PROJECT_FILE} it was made from: attach it too.")
    else:
        _checked(source)


def requirements(source: Path, scratch: Path) -> str:
    """The lines of a requirements.txt, or those that a uv.lock stands for. Raises ServerError."""
    check(source)
    if source.name != LOCK_FILE:
        return _checked(source)
    project = scratch / "project"
    project.mkdir()
    for name in (LOCK_FILE, PROJECT_FILE):
        shutil.copyfile(source.with_name(name), project / name)
    exported = project / "requirements.txt"
    _uv(
        "export",
        "--frozen",
        "--no-dev",
        "--no-emit-project",
        "--no-header",
        "--quiet",
        "-o",
        str(exported),
        cwd=project,
        asked_by=source.parent,
    )
    return _checked(exported, source.parent)


def _checked(source: Path, beside: Path | None = None) -> str:
    """The lines, without comments. Nothing in them leads to other files or hosts of the job's choosing, or runs code.

    uv gets these lines and not the file: where a comment or a line ends, it may see otherwise.
    """
    try:
        text = source.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(f"{source.name} cannot be read: {error}.") from None
    plain = re.sub(r"(^|[^\S\n])#.*", "", text, flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n", " ", plain).splitlines()]
    for number, line in enumerate(lines, 1):
        wanted = re.sub(r"\s--hash=\S+", "", line).strip()
        wheel = re.fullmatch(r"(?:\./)?([\w.+!-]+\.whl)", wanted)
        if wheel:
            if not ((beside or source.parent) / wheel[1]).is_file():
                raise _failed(f"{source.name}, line {number}: the wheel {wheel[1]} is not attached.")
        elif wanted and not _REQUIREMENT.fullmatch(wanted):
            raise _failed(
                f"{source.name}, line {number}: '{wanted}' is not allowed. Give packages of the index (numpy==2.1.0) "
                "or attached wheels (./mine-1.0-py3-none-any.whl); options, addresses and other files are not read."
            )
    return "".join(f"{line}\n" for line in lines if line)


def _build(scratch: Path, python: Python, cache: Path, asked_by: Path) -> Path:
    made = scratch / "environment"
    packages = made / f"lib/python{python.version}/site-packages"
    packages.mkdir(parents=True)
    (made / "bin").mkdir()
    for name in ("python", "python3", f"python{python.version}"):
        (made / "bin" / name).symlink_to(python.path)
    home = os.path.dirname(python.path)  # noqa: PTH120 - a path on the cluster
    (made / "pyvenv.cfg").write_text(
        f"home = {home}\ninclude-system-site-packages = false\nversion = {python.version}\n"
    )
    platform = ["--python-platform", python.platform] if python.platform else []
    _uv(
        "pip", "install", "--quiet", "--target", str(packages), "--python", sys.executable, "--python-version",
        python.version, *platform, "--only-binary", ":all:", "--find-links", str(scratch), "--link-mode", "copy",
        "--cache-dir", str(cache), "-r", "requirements.txt",
        cwd=scratch, asked_by=asked_by,
    )  # fmt: skip
    return made


def _uv(*arguments: str, cwd: Path, asked_by: Path) -> None:
    try:
        from uv import find_uv_bin

        program = find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise _failed(f"uv is missing on the server ({error}): pip install 'sfbatch[server]' there.") from None
    environment = {n: v for n, v in os.environ.items() if n.upper() in _PASSED or n.startswith("UV_")}
    command = [program, *arguments, "--no-progress", "--no-config", "--no-python-downloads"]
    pipe = subprocess.PIPE
    _check_wanted(asked_by)
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        _builds[process] = asked_by
        try:
            _check_wanted(asked_by)  # who asked for its end a moment ago did not see it
            _, stderr = process.communicate(timeout=BUILD_TIMEOUT_S)
        except Unwanted:
            _end(process, signal.SIGKILL)
            raise
        except subprocess.TimeoutExpired:
            _end(process, signal.SIGKILL)
            raise _failed(f"uv {arguments[0]} took longer than {BUILD_TIMEOUT_S} s.") from None
        finally:
            del _builds[process]
    _check_wanted(asked_by)
    if process.returncode < 0:
        raise RuntimeError(f"uv was ended by signal {-process.returncode}")  # by an operator
    if process.returncode:
        told = re.sub(r"://[^/@\s]*@", "://***@", stderr.strip())
        raise _failed(f"the packages cannot be installed: {told[-2000:]}")


def start() -> None:
    """A server of this process begins, perhaps after another."""
    _stopping.clear()


def stop() -> None:
    """End what is being built, and begin nothing more: the next server builds it when a job asks."""
    _stopping.set()
    for process in tuple(_builds):
        _end(process, signal.SIGTERM)


def cancel(asked_by: Path) -> None:
    """End what is built for the job of this directory, and begin nothing for it. May be called again."""
    _unwanted.add(asked_by)
    for process, directory in tuple(_builds.items()):
        if directory == asked_by:
            _end(process, signal.SIGKILL)


def forget(asked_by: Path) -> None:
    """The job of this directory is no longer being started."""
    _unwanted.discard(asked_by)


def _end(process: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)  # uv and what it started: its group is its own


def _check_wanted(asked_by: Path) -> None:
    if asked_by in _unwanted or _stopping.is_set():
        raise Unwanted(asked_by)


def _failed(message: str) -> ServerError:
    return ServerError("SFBATCH_ENVIRONMENT_FAILED", message)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            found.update(chunk)
    return found.hexdigest()


@contextmanager
def _locked(path: Path, asked_by: Path | None = None) -> Iterator[None]:
    """Raises Unwanted when the job that waits is to end."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if asked_by:
                    _check_wanted(asked_by)
                time.sleep(LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A directory on the cache's own disk, gone at the end, so that what is ready can be renamed into place."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f".scratch-{os.getpid()}-{os.urandom(6).hex()}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
