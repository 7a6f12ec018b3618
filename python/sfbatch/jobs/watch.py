"""Watches a job on a terminal: its log as it comes, how far it is, what Ctrl-C shall do; the job itself runs apart."""

from __future__ import annotations

import codecs
import contextlib
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.prompt import Confirm

from sfbatch.jobs.client import Away
from sfbatch.jobs.follow import STREAMS, Log
from sfbatch.jobs.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sfbatch.jobs.api import Api
    from sfbatch.jobs.client import Job, JobState

POLL_S, LONGEST_POLL_S = 0.3, 2.0
EXIT_KILLED, EXIT_OTHER, EXIT_INTERRUPTED, LARGEST_EXIT = 137, 1, 130, 255


def exit_code(state: JobState) -> int:
    """What a shell is told: the job's own exit code, 137 when it was killed, 1 when there is none to pass on."""
    if state.status == "SUCCEEDED":
        return 0
    if state.status == "KILLED":
        return EXIT_KILLED
    return state.exit_code if state.exit_code and 0 < state.exit_code <= LARGEST_EXIT else EXIT_OTHER


class Watch:
    """Shows one job until it ends. stdout goes to stdout and stderr to stderr; with `as_json` each piece is a line."""

    def __init__(self, job: Job, api: Api, streams: tuple[str, ...] = STREAMS, as_json: bool = False) -> None:
        self._job, self._as_json = job, as_json
        self._logs = [Log(api, job.id, stream) for stream in streams]
        self._decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in streams}
        self._console = Console(stderr=True, highlight=False)
        self._progress = self._console.status("") if self._console.is_terminal and not as_json else None
        self._told: tuple[Any, ...] = ()
        self._line_is_open = False
        self._resting = self._interrupted = False

    def to_the_end(self) -> JobState:
        """Follow until the job has ended, and all that it wrote is shown. Raises JobServerError, KeyboardInterrupt."""
        pause_s, away = POLL_S, Away(self._say_away)
        try:
            while True:
                state, wrote = away.ask(self._look) or (None, False)
                if state and state.is_final:
                    self._tell(state)
                    return state
                pause_s = POLL_S if wrote else min(1.3 * pause_s, LONGEST_POLL_S)
                self._rest(pause_s)
        finally:
            self._hide()

    def _rest(self, pause_s: float) -> None:
        self._resting = True
        try:
            if self._interrupted:
                raise KeyboardInterrupt
            time.sleep(pause_s)
        finally:
            self._resting = False

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """SIGINT and SIGTERM are a KeyboardInterrupt between requests and pieces of a log; the second of them at once.

        In the middle of a request it may leave a lock of the HTTP client taken, and the request to kill waits for ever.
        """

        def interrupt(*_: Any) -> None:
            if self._resting or self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True

        heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, interrupt) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._interrupted = False

    def _look(self) -> tuple[JobState, bool]:
        state = self._job.state()  # before the log: what is there after the end is all there is
        if not state.is_final:
            self._tell(state)
        return state, self.show_new(state.attempt)

    def _say_away(self, sentence: str) -> None:
        self._hide()
        self.say(sentence, id=self._job.id, away=sentence)

    def show_new(self, attempt: int) -> bool:
        """Print what the job has written since the last call; whether there was anything."""
        wrote = False
        for log in self._logs:
            for chunk in log.new(attempt):
                self._hide()
                self._write(log.stream, chunk)
                wrote = True
                if self._interrupted:  # gigabytes may be left of it
                    raise KeyboardInterrupt
        return wrote

    def _tell(self, state: JobState) -> None:
        """One line for each change; between them, on a terminal, a line that moves."""
        told = (state.status, state.cluster, state.queue_position, state.attempt)
        if told != self._told:
            self._told = told
            self._hide()
            self.say(_sentence(state), **{k: v for k, v in vars(state).items() if v is not None})
        if self._progress and not state.is_final and not self._line_is_open:
            self._progress.update(f"{state.status} {_since(state)}")
            self._progress.start()

    def say(self, sentence: str, **more: Any) -> None:
        """A line about the job, on stderr; with `as_json` an object on stdout."""
        if self._as_json:
            print(json.dumps(more), flush=True)  # noqa: T201
        else:
            self._console.print(printable(sentence), style="dim", markup=False, soft_wrap=True)

    def _write(self, stream: str, chunk: bytes) -> None:
        if self._as_json:
            self.say("", stream=stream, text=self._decoders[stream].decode(chunk))
            return
        target = sys.stdout if stream == "stdout" else sys.stderr
        if target.isatty():
            target.write(printable(self._decoders[stream].decode(chunk)))
        else:
            target.buffer.write(chunk)
        target.flush()
        self._line_is_open = target.isatty() and not chunk.endswith(b"\n")

    def _hide(self) -> None:
        if self._progress:
            self._progress.stop()


def watch(job: Job, api: Api, on_interrupt: str = "ask", as_json: bool = False) -> int:
    """Watch until the end and return the exit code. On Ctrl-C (or SIGTERM): ask, kill, or leave the job running.

    Where nobody can be asked, `ask` kills: what started this command is going away, and would forget the job.
    """
    view = Watch(job, api, as_json=as_json)
    try:
        with view.interruptible():
            return exit_code(view.to_the_end())
    except KeyboardInterrupt:
        if not _shall_kill(job, on_interrupt):
            view.say(f"job {job.id} runs on. See it: sfbatch jobs logs -f {job.id}", id=job.id, left="running")
            return EXIT_INTERRUPTED
    job.kill()
    return exit_code(view.to_the_end())


def _shall_kill(job: Job, on_interrupt: str) -> bool:
    if on_interrupt != "ask":
        return on_interrupt == "kill"
    if not sys.stdin.isatty():
        return True
    try:
        return Confirm.ask(f"\nKill job {printable(job.id)}?", console=Console(stderr=True), default=False)
    except (KeyboardInterrupt, EOFError):
        return False


def _sentence(state: JobState) -> str:
    if state.status == "ACCEPTED":
        if state.attempt > 1:
            return f"job {state.id} waits: {state.message}"
        waits = f", number {state.queue_position} in the queue" if state.queue_position else ""
        return f"job {state.id} waits{waits}{f': {state.waits_for}' if state.waits_for else ''}"
    where = f" on {state.cluster} with {state.command}" if state.cluster else ""
    if not state.is_final:
        return f"job {state.id} is {state.status}{where}"
    code = f" (exit code {state.exit_code})" if state.exit_code else ""
    return f"job {state.id} {state.status}{where}{code}: {state.message}"


def _since(state: JobState) -> str:
    from datetime import datetime, timezone

    began = datetime.fromisoformat((state.started or state.created).replace("Z", "+00:00"))
    return f"{max(0, int((datetime.now(timezone.utc) - began).total_seconds()))} s"
