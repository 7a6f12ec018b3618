"""Runs one job, apart from the server: it starts the job at most once, and writes how it ended; it survives the server.

Run as `python -I -S wrapper.py DIRECTORY`. What is asked is in `genie/launch.json`; what happened is in

    ../.NAME.launched   made once, by link(2), by the first wrapper; a second one finds it and goes away. Its maker
                        keeps it locked (flock) all its life, so "alive" is never guessed from a process id. It is
                        beside the job's directory: a job that empties that, or deletes it, must not run twice for it
    genie/process.json  the job's process, its group's leader
    genie/genie.done    the end: exit code and reason. Written whole or not at all, after the group is dead

SIGTERM to the wrapper ends the job: SIGTERM to its process group, SIGKILL after the grace period.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing takes as long to import as all the rest, and every job would wait for it
if TYPE_CHECKING:
    from typing import Any

LAUNCH, PROCESS, DONE = "genie/launch.json", "genie/process.json", "genie/genie.done"
LOG, DETAILS = "genie/logs/genie.log", "initFailureDetails.txt"
LOOK_EVERY_S = 2.0  # at the sizes of stdout and stderr


def launched(directory: str) -> str:
    """The file that proves that the job of a directory was started.

    >>> launched("files/20161001/etl-3f2a")
    'files/20161001/.etl-3f2a.launched'
    """
    above, name = os.path.split(directory)
    return f"{above}/.{name}.launched"


def hold(path: str) -> int | None:
    """Make `launched`, locked from its first moment, and return its descriptor; None when somebody has."""
    temporary = f"{path}.{os.getpid()}.{_thread.get_ident()}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, json.dumps({"wrapperId": os.getpid()}).encode())
        os.fsync(descriptor)
        os.link(temporary, path)
    except BaseException as error:  # a full disk: what stayed open would stay locked as long as the server lives
        os.close(descriptor)
        if isinstance(error, FileExistsError):
            return None
        raise
    finally:
        os.unlink(temporary)  # noqa: PTH108 - pathlib costs each job 5 ms
    return descriptor


def write_whole(path: str, document: dict[str, Any]) -> None:
    """Write a file, and its directory, that a reader sees whole or not at all, also after a loss of power."""
    folder = os.path.dirname(path)  # noqa: PTH120
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    temporary = f"{path}.{os.getpid()}.{_thread.get_ident()}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(document).encode())
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)  # noqa: PTH104
    except OSError:
        os.unlink(temporary)  # noqa: PTH108
        raise
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


class Job:
    """The job's process group and what ended it."""

    def __init__(self, launch: dict[str, Any]) -> None:
        self.launch = launch
        self.outputs = {name: open_output(name) for name in ("stdout", "stderr")}
        self.started_ms = time.time_ns() // 1_000_000
        self.reason = "exited"
        self.kill_at: float | None = None
        self.process_id = self._spawn()

    def _spawn(self) -> int:
        arguments = self.launch["arguments"]
        null = os.open(os.devnull, os.O_RDONLY)
        files = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, self.outputs["stdout"], 1),
            (os.POSIX_SPAWN_DUP2, self.outputs["stderr"], 2),
        ]
        # Python ignores SIGPIPE and SIGXFSZ; a job must start with the signals as they are by default.
        default = [signal.SIGPIPE, signal.SIGXFSZ]
        return os.posix_spawnp(
            arguments[0], arguments, os.environ, file_actions=files, setpgroup=0, setsigmask=(), setsigdef=default
        )

    def stop(self, reason: str) -> None:
        """Begin the end; a second call changes nothing."""
        if self.kill_at is None:
            self.reason = reason
            self.kill_at = time.monotonic() + self.launch["killGraceS"]
            self._signal(signal.SIGTERM)

    def watch(self, wake: int) -> int:
        """Wait for the end and return the exit code, 128 + n for signal n."""
        deadline = time.monotonic() + self.launch["timeoutS"]
        while True:
            ended, status = os.waitpid(self.process_id, os.WNOHANG)
            if ended:
                self._signal(signal.SIGKILL)  # what the job left behind in its group
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            now = time.monotonic()
            if now >= deadline:
                self.stop("timeout")
            for name, descriptor in self.outputs.items():
                if os.fstat(descriptor).st_size > self.launch["maxOutputBytes"]:
                    self.stop(name)
            if self.kill_at is not None and now >= self.kill_at:
                self._signal(signal.SIGKILL)
            until = min(deadline if self.kill_at is None else now + 0.2, now + LOOK_EVERY_S)
            select.select([wake], [], [], max(until - now, 0.01))
            with contextlib.suppress(BlockingIOError):
                if signal.SIGTERM in os.read(wake, 4096):
                    self.stop("killed")

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process_id, number)


def open_output(name: str) -> int:
    """Create a file for the job's output."""
    return os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def wake_on(*numbers: int) -> int:
    """A descriptor that can be read when one of these signals came."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def say(text: str) -> None:
    """A line in Genie's log of the job, if there is room for it."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(LOG), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        with open(LOG, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{text}\n")


def main(directory: str) -> None:
    """Run the job of `directory`, unless it was started before."""
    os.chdir(directory)
    wake = wake_on(signal.SIGTERM, signal.SIGCHLD)  # before anybody can know our process id
    if hold(launched(directory)) is None:
        return
    try:
        with open(LAUNCH, encoding="utf-8") as file:  # noqa: PTH123
            launch = json.load(file)
    except FileNotFoundError:  # this wrapper comes so late that its attempt is over and was set aside
        os.unlink(launched(directory))  # noqa: PTH108
        return
    say(time.strftime("Start: %Y-%m-%d %H:%M:%S", time.gmtime()))
    try:
        job = Job(launch)
    except (OSError, ValueError) as error:
        with open(DETAILS, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{launch['arguments'][0]} could not be started: {error}\n")
        end({"exitCode": "127", "reason": "not started"})
        return
    with contextlib.suppress(OSError):  # the job empties its directory just now: it is watched none the less
        write_whole(PROCESS, {"processId": job.process_id, "startedMs": job.started_ms})
    code = job.watch(wake)
    end({"exitCode": str(code), "reason": job.reason, "processId": job.process_id, "startedMs": job.started_ms})


def end(document: dict[str, Any]) -> None:
    """Write the end; on a full disk as soon as there is room: without an end the job would be lost, and run again."""
    say(time.strftime("End: %Y-%m-%d %H:%M:%S", time.gmtime()))
    say(f"Handling exit signal (code: {document['exitCode']})")
    document = {**document, "finishedMs": time.time_ns() // 1_000_000}
    while True:
        try:
            return write_whole(DONE, document)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:  # its job has taken the place away
                return None
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
