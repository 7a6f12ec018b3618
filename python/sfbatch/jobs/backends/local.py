"""Runs jobs on the server's own machine, each under a process of its own (`wrapper.py`), whose files it only reads."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sfbatch.errors import SfBatchError, SparkError
from sfbatch.installed import spark_of
from sfbatch.jobs import kit
from sfbatch.jobs.backends import Launch, Phase, Reason, Report, leftovers, wrapper
from sfbatch.jobs.backends.ending import LARGEST_ID, LATEST_MS, ended, number, read
from sfbatch.jobs.backends.files import fetch
from sfbatch.jobs.backends.plain import NotPlainError, open_plain
from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.environments import Environments, Python
from sfbatch.jobs.spark_submit import SparkSubmit, is_spark_submit, with_sfbatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sfbatch.installed import InstalledSpark
    from sfbatch.jobs.settings import Settings

# What a job sees of the server's own environment. Nothing else passes: no cloud keys, no database password.
PASSED = {
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "JAVA_HOME", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_LOCAL_IP", "SPARK_LOCAL_DIRS", "HADOOP_HOME", "HADOOP_CONF_DIR",
    "YARN_CONF_DIR", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "SFBATCH_HOME", "SFBATCH_METASTORE_URI",
}  # fmt: skip


log = logging.getLogger(__name__)


class LocalBackend:
    """Every job in its own directory, session and process group."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[Path, subprocess.Popen[bytes]] = {}  # the wrappers, by their job's directory
        self._lock = threading.Lock()
        passed = PASSED | set(settings.pass_env)
        self._environment = {name: value for name, value in os.environ.items() if name in passed}
        self._environment["PATH"] = _with_own(os.environ.get("PATH") or os.defpath)

    def submit(self, launch: Launch) -> None:
        """Start a wrapper. Of several wrappers of a job one alone starts it (`wrapper.hold`)."""
        directory = launch.directory
        if self._has_child(directory):  # it is on its way
            return
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if launch.refused:
                raise OSError(launch.refused)
            for name, address in launch.fetch.items():
                if not (directory / name).exists():  # it was copied when the job was submitted
                    fetch(address, directory / name, self._settings)
            arguments, environment = self._prepared(launch)
        except (OSError, SfBatchError) as error:
            _end_unstarted(directory, Reason.NOT_STARTED, str(error))
            return
        asked = {
            "arguments": arguments,
            "timeoutS": launch.timeout_s,
            "killGraceS": self._settings.kill_grace_s,
            "maxOutputBytes": self._settings.max_output_bytes,
        }
        wrapper.write_whole(str(directory / wrapper.LAUNCH), asked)
        launch.check()
        marks = {"SFBATCH_JOB_ID": launch.job_id, leftovers.MARK: str(directory.resolve())}
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", wrapper.__file__, str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={**self._environment, **launch.environment, **environment, **marks},
                start_new_session=True,  # a Ctrl-C for the server must not reach the jobs
            )
        except ValueError as error:  # a character that no environment can hold: it never will
            _end_unstarted(directory, Reason.NOT_STARTED, f"its environment cannot be made: {error}")
            return
        with self._lock:
            self._children[directory] = child

    def _has_child(self, directory: Path) -> bool:
        """Whether a wrapper that this server started there lives. Waits for the others, lest they stay as zombies."""
        with self._lock:
            self._children = {where: child for where, child in self._children.items() if child.poll() is None}
            return directory in self._children

    def _prepared(self, launch: Launch) -> tuple[list[str], dict[str, str]]:
        """The job's words, and what its environment has besides: sfbatch for its Spark, its Python packages."""
        words, environment = list(launch.arguments), {}
        top = self._settings.directory
        if launch.requirements:
            made = Environments(top / "environments").get(launch.requirements, Python.here())
            python = str(made / "bin/python")
            environment = {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python}
            if re.fullmatch(r"python[\d.]*", Path(words[0]).name):
                words[0] = python
        # The Python that Spark is installed for, not PATH's; it has sfbatch, and needs no copy.
        own = launch.spark == "installed" and not launch.requirements and "PYSPARK_PYTHON" not in self._environment
        if own:
            environment = {"PYSPARK_PYTHON": sys.executable}
        if is_spark_submit(launch.program):
            line, spark = SparkSubmit.parse(words[1:]), spark_of(words[0], self._environment)
            if spark:
                environment["SPARK_HOME"] = str(spark.home)
            if launch.spark:
                _check_spark(launch.spark, spark, words[0])
                try:
                    wanted = spark.line if spark else launch.spark
                    jar, package = kit.jar_for(wanted), None if own else str(kit.package_zip(top / "kit"))
                    with_sfbatch(line, str(jar), package)
                except SparkError as error:
                    if launch.spark != "installed":
                        raise
                    log.warning("a Spark job goes without sfbatch", extra={"job_id": launch.job_id, "why": str(error)})
            line.conf["spark.sfbatch.job-id"] = launch.job_id
            words = [words[0], *line.words()]
        return words, environment

    def poll(self, job_id: str, directory: Path) -> Report:  # noqa: ARG002
        """Read the wrapper's files. Of a job that was ended by force, or is lost, no process is left after it."""
        self._has_child(directory)
        alive = _is_alive(directory)
        end = None if alive else ended(directory)  # while the wrapper lives, somebody else has written it
        if end:
            if end.reason not in {Reason.EXITED, Reason.NOT_STARTED}:
                leftovers.end_all(directory)
            return end
        if alive is None:
            return Report(Phase.NOT_STARTED)
        if not alive:
            # Its last act is to write the end: looked for once more, now that it cannot write any more.
            leftovers.end_all(directory)
            return ended(directory) or Report(Phase.LOST)
        process = read(directory / wrapper.PROCESS) or {}
        with contextlib.suppress(ValueError):
            process_id = number(process.get("processId"), LARGEST_ID)
            started_ms = number(process.get("startedMs"), LATEST_MS)
            if process_id and started_ms:
                return Report(Phase.RUNNING, process_id, started_ms)
        return Report(Phase.STARTING)

    def kill(self, job_id: str, directory: Path) -> None:  # noqa: ARG002
        """Ask the wrapper to end the job; when there is none yet, take its place so that there never is."""
        if _is_alive(directory) is None and _end_unstarted(directory, Reason.KILLED):
            return
        held = read(launched(directory))
        # Its lock is held, so the process with this id is the wrapper and no other, or this server in `_end_unstarted`.
        if held and held["wrapperId"] != os.getpid() and _is_alive(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(held["wrapperId"], signal.SIGTERM)
                os.kill(held["wrapperId"], signal.SIGCONT)  # its job may have stopped it

    def logs(self, job_id: str, directory: Path) -> None:
        """Nothing to bring: a local job writes into its directory."""

    def reconcile(self, unfinished: Sequence[tuple[str, Path]]) -> None:
        """Nothing to learn: the wrappers wrote on while the server was away, and `poll` reads what they wrote."""


def _with_own(path: str) -> str:
    """The PATH, in which the server's own programs are first unless it has their directory: systemd's has not.

    `python3`, `spark-submit`, and the Python that spark-submit starts, are then those with sfbatch and Spark.
    """
    own = os.path.dirname(sys.executable)  # noqa: PTH120 - as it was called: a venv's `python` is a link
    return path if own in path.split(os.pathsep) else f"{own}{os.pathsep}{path}"


def _check_spark(wanted: str, spark: InstalledSpark | None, program: str) -> None:
    """Raises SparkError SFBATCH_SPARK_UNSUPPORTED when another Spark would run than the command says."""
    if spark and wanted != "installed" and not spark.version.startswith(f"{wanted}."):
        message = (
            f'the command says spark: "{wanted}", but its {program} starts Spark {spark.version} ({spark.home}). Say '
            f"spark: installed, or give its executable as the path of a Spark {wanted}."
        )
        raise SparkError("SFBATCH_SPARK_UNSUPPORTED", message)


def launched(directory: Path) -> Path:
    """The proof that a job was started, see `wrapper.py`."""
    return Path(wrapper.launched(str(directory)))


def _end_unstarted(directory: Path, reason: Reason, why: str = "") -> bool:
    """End a job that no wrapper has begun, and bar every wrapper to come; false when one has."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = wrapper.hold(wrapper.launched(str(directory)))
    if descriptor is None:
        return False
    code = "127" if reason is Reason.NOT_STARTED else "999"
    end = {"exitCode": code, "reason": reason.value, "finishedMs": now_ms()}
    try:
        if why:
            (directory / wrapper.DETAILS).write_text(f"{why}\n")
        wrapper.write_whole(str(directory / wrapper.DONE), end)
    except BaseException:  # a full disk: tried again in the next round
        launched(directory).unlink()
        raise
    finally:
        os.close(descriptor)
    return True


def _is_alive(directory: Path) -> bool | None:
    """Whether the job's wrapper lives; None when there was none."""
    try:
        with open_plain(launched(directory)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except NotPlainError:
        return False
    except BlockingIOError:
        return True
    return False
