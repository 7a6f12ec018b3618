"""Runs jobs on a service elsewhere (EMR), which is asked every few seconds by one thread, never by the dispatcher.

What this server did about a job is in `genie/remote.json`, written before the service is asked to do it: a server that
died between asking and hearing the answer looks the job up by its name before it may ask again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from sfbatch.errors import SfBatchError
from sfbatch.jobs.backends import Launch, Phase, Reason, Report, wrapper
from sfbatch.jobs.backends.emr_logs import exit_code_in
from sfbatch.jobs.backends.ending import ended, read, write_end
from sfbatch.jobs.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

RECORD = "genie/remote.json"
SETTLE_MS = 60_000  # a run that was asked for shows up within this time, or was never made
GIVE_UP_MS = 15 * 60_000  # a service that cannot be reached is tried for so long before the job ends
PAUSE_MS = 5_000  # between two tries of one job
CANCEL_AGAIN_MS = 30_000
LOGS_LATE_MS = 60_000  # the end of a failed job waits so long for its log, which names the cause
LOGS_FINAL_MS = 15 * 60_000  # no log of a job changes later after its end
LOOK_AGAIN_MS = 15_000  # at the logs of a running job
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What this server knows of a job at the service."""

    place: dict[str, Any]  # the cluster's configuration, as it was when the job was sent there
    name: str  # unique; holds the job's id
    token: str  # the same, in the few characters a client token may have
    words: list[str]  # what runs
    timeout_s: int
    cluster_mode: bool = False
    asked_ms: int | None = None
    run_id: str | None = None
    ending: str | None = None  # "killed" or "timeout", once its end was asked for

    def write(self, directory: Path) -> Run:
        """To disk, whole."""
        wrapper.write_whole(str(directory / RECORD), asdict(self))
        return self

    @classmethod
    def read(cls, directory: Path) -> Run | None:
        """From disk."""
        document = read(directory / RECORD)
        return cls(**document) if document else None


@dataclass(frozen=True)
class Seen:
    """What the service says about a run. With ENDED, `reason` is EXITED, CANCELLED or INTERRUPTED."""

    phase: Phase
    started_ms: int | None = None
    finished_ms: int | None = None
    reason: Reason | None = None
    exit_code: int | None = None
    message: str | None = None
    applications: tuple[str, ...] = ()  # of YARN


class Unclear(Exception):  # noqa: N818 - not an error of ours: nobody can know
    """The service was asked and did not answer: it may have done it."""


class Away(Exception):  # noqa: N818
    """The service did not take the request, and may later."""


class Service(Protocol):
    """One of Amazon's. Every method may raise Away; a request that is wrong raises SfBatchError."""

    def prepare(self, launch: Launch) -> Run:
        """Bring the job's files to where the cluster finds them. May be called again."""

    def find(self, run: Run) -> str | None:
        """The id of a run by its name."""

    def start(self, run: Run) -> str:
        """Start it, once, and return its id. Raises Unclear."""

    def look(self, runs: Mapping[str, Run]) -> dict[str, Seen]:
        """How the jobs of one place are, by job id; one that the service does not know is left out."""

    def cancel(self, run: Run, seen: Seen) -> None:
        """Ask for its end."""

    def fetch_logs(self, run: Run, directory: Path, seen: Seen | None) -> None:
        """Bring what it has written so far into the job's directory."""


class RemoteBackend:
    """A `Backend` for a service. Each job is in at most one thread at a time: the launcher's, then the watcher's."""

    def __init__(self, make: Callable[[], Service], every_s: float) -> None:
        """Look every so many seconds. `make` is called when there is a job: boto3 takes memory and a second."""
        self._make, self._every_s = make, every_s
        self._made = threading.Lock()
        self._lock = threading.Lock()  # records are read, changed and written under it
        self._watched: dict[str, Path] = {}
        self._reports: dict[str, tuple[str, Report]] = {}  # by job: run's name, which each attempt has anew
        self._tried_ms: dict[str, tuple[int, int]] = {}  # first and last time that starting it failed
        self._cancelled_ms: dict[str, int] = {}
        self._fetched_ms: dict[str, int] = {}
        self._thread: threading.Thread | None = None

    @cached_property
    def _service(self) -> Service:
        with self._made:
            return self.__dict__.get("_service") or self._make()

    # -- Backend

    def submit(self, launch: Launch) -> None:
        """Send the job, unless it was sent."""
        directory, job_id = launch.directory, launch.job_id
        first_ms, last_ms = self._tried_ms.get(job_id, (now_ms(), 0))
        if ended(directory) or now_ms() - last_ms < PAUSE_MS:
            return
        try:
            if launch.refused:
                raise SfBatchError("SFBATCH_REFUSED", launch.refused)
            found = Run.read(directory)
            prepared = found or self._service.prepare(launch)
            launch.check()
            self._send(found or prepared.write(directory), directory)
            self._tried_ms.pop(job_id, None)
        except (SfBatchError, OSError) as error:
            self._end_unstarted(directory, str(error))
        except Away as error:
            log.warning("cannot send a job yet", extra={"job_id": job_id, "why": str(error)})
            self._tried_ms[job_id] = (first_ms, now_ms())
            run = Run.read(directory)
            if now_ms() - first_ms > GIVE_UP_MS and (run is None or run.asked_ms is None):
                self._end_unstarted(directory, f"The service could not be reached: {error}")

    def poll(self, job_id: str, directory: Path) -> Report:
        """What the watcher last heard."""
        end = ended(directory)
        if end:
            self._forget(job_id)
            return end
        run = Run.read(directory)
        if run is None or (run.run_id is None and not _may_still_show_up(run)):
            return Report(Phase.NOT_STARTED)
        name, report = self._reports.get(job_id, ("", Report(Phase.STARTING)))
        if name != run.name:
            report = Report(Phase.STARTING)
        if report.phase is not Phase.LOST:
            self._watch(job_id, directory)
        return report

    def kill(self, job_id: str, directory: Path) -> None:
        """Note that it is to end; the watcher asks the service."""
        if ended(directory):
            return
        run = self._note_ending(directory, "killed")
        if run is None:
            write_end(directory, _killed())
        else:
            self._watch(job_id, directory)

    def logs(self, job_id: str, directory: Path) -> None:
        """Fetch what there is, now and then, until some time after the end."""
        run, end = Run.read(directory), ended(directory)
        if run is None or run.run_id is None or now_ms() - self._fetched_ms.get(job_id, 0) < LOOK_AGAIN_MS:
            return
        if end and now_ms() - (end.finished_ms or 0) > LOGS_FINAL_MS:
            return
        self._fetched_ms[job_id] = now_ms()
        try:
            self._service.fetch_logs(run, directory, None)
        except (Away, SfBatchError, OSError) as error:
            log.warning("cannot fetch a job's logs", extra={"job_id": job_id, "why": str(error)})

    def reconcile(self, unfinished: Sequence[tuple[str, Path]]) -> None:
        """Watch them again."""
        for job_id, directory in unfinished:
            if Run.read(directory) and not ended(directory):
                self._watch(job_id, directory)

    # -- the watcher's thread

    def refresh(self) -> None:
        """Ask the service once about every watched job."""
        watched = dict(self._watched)
        runs = {job_id: run for job_id, directory in watched.items() if (run := Run.read(directory))}
        for job_id, run in runs.items():
            if run.run_id is None:
                try:
                    self._look_up(run, watched[job_id])
                except (Away, SfBatchError) as error:
                    log.warning("cannot look a job up", extra={"job_id": job_id, "why": str(error)})
        places: dict[str, dict[str, Run]] = {}
        for job_id, run in runs.items():
            if run.run_id is not None:
                places.setdefault(json.dumps(run.place, sort_keys=True), {})[job_id] = run
        for place, there in places.items():
            try:
                seen = self._service.look(there)
            except (Away, SfBatchError) as error:  # the other places' jobs are still looked at
                log.warning("cannot tell how the jobs of a cluster are", extra={"cluster": place, "why": str(error)})
                continue
            for job_id, run in there.items():
                try:
                    self._take(job_id, watched[job_id], run, seen.get(job_id))
                except Exception:  # one job's trouble must not stop the others
                    log.exception("cannot tell how a job is", extra={"job_id": job_id})

    def _take(self, job_id: str, directory: Path, run: Run, seen: Seen | None) -> None:
        if seen is None:
            lost = Report(Phase.LOST, message=f"Job was lost: {run.run_id} is not known there any more.")
            self._reports[job_id] = run.name, lost
            self._watched.pop(job_id, None)
            return
        if seen.phase is Phase.ENDED:
            self._finish(job_id, directory, run, seen)
            return
        self._reports[job_id] = run.name, Report(seen.phase, started_ms=seen.started_ms)
        if seen.started_ms and now_ms() > seen.started_ms + run.timeout_s * 1000:
            run = self._note_ending(directory, "timeout") or run
        if run.ending and now_ms() - self._cancelled_ms.get(job_id, 0) > CANCEL_AGAIN_MS:
            self._cancelled_ms[job_id] = now_ms()
            try:
                self._service.cancel(run, seen)
            except (Away, SfBatchError, Unclear) as error:
                log.warning("cannot cancel a job", extra={"job_id": job_id, "why": str(error)})

    def _finish(self, job_id: str, directory: Path, run: Run, seen: Seen) -> None:
        failed = seen.reason is Reason.EXITED and seen.exit_code != 0
        finished_ms = seen.finished_ms or now_ms()
        try:
            self._service.fetch_logs(run, directory, seen)
        except (Away, SfBatchError) as error:
            log.warning("cannot fetch a job's logs", extra={"job_id": job_id, "why": str(error)})
        if failed and not (directory / "stderr").exists() and now_ms() < finished_ms + LOGS_LATE_MS:
            self._reports[job_id] = run.name, Report(Phase.RUNNING, started_ms=seen.started_ms)
            return
        succeeded = seen.reason is Reason.EXITED and seen.exit_code == 0
        reason = seen.reason if succeeded or not run.ending else Reason(run.ending)
        exit_code = _exit_code(directory, seen) if seen.reason is Reason.EXITED else None
        end = Report(
            Phase.ENDED,
            started_ms=seen.started_ms,
            finished_ms=finished_ms,
            exit_code=exit_code,
            reason=reason,
            message=seen.message,
        )
        write_end(directory, end)
        self._forget(job_id)

    def _look_up(self, run: Run, directory: Path) -> None:
        """A run whose id was never heard: find it, or end it if it is to end and nobody started it."""
        if run.asked_ms is not None:
            found = self._service.find(run)
            if found:
                self._update(directory, run_id=found)
                return
        if run.ending and not _may_still_show_up(run):
            write_end(directory, _killed())

    def _watch(self, job_id: str, directory: Path) -> None:
        with self._lock:
            self._watched.setdefault(job_id, directory)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="remote", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception:  # one mistake must not end the watch over all jobs
                log.exception("cannot tell how the jobs are")
            time.sleep(self._every_s)

    # -- the record

    def _send(self, run: Run, directory: Path) -> None:
        if run.run_id is not None:
            return
        if run.ending and run.asked_ms is None:
            write_end(directory, _killed())
            return
        if run.asked_ms is not None:
            found = self._service.find(run)
            if found or _may_still_show_up(run):
                if found:
                    self._update(directory, run_id=found)
                return
        run = self._update(directory, asked_ms=now_ms())
        try:
            found = self._service.start(run)
        except (Away, SfBatchError):  # it was refused: nothing runs
            self._update(directory, asked_ms=None)
            raise
        except Unclear as error:
            log.warning(
                "no answer to a request to start a job: it is looked up before it is sent again", exc_info=error
            )
            return
        self._update(directory, run_id=found)

    def _update(self, directory: Path, **changes: Any) -> Run:
        with self._lock:
            run = Run.read(directory)
            assert run is not None
            return replace(run, **changes).write(directory)

    def _note_ending(self, directory: Path, why: str) -> Run | None:
        with self._lock:
            run = Run.read(directory)
            return run if run is None or run.ending else replace(run, ending=why).write(directory)

    def _end_unstarted(self, directory: Path, why: str) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / wrapper.DETAILS).write_text(f"{why}\n")
        write_end(directory, Report(Phase.ENDED, finished_ms=now_ms(), reason=Reason.NOT_STARTED, exit_code=127))

    def _forget(self, job_id: str) -> None:
        for known in (self._watched, self._reports, self._tried_ms, self._cancelled_ms):
            known.pop(job_id, None)


def _killed() -> Report:
    return Report(Phase.ENDED, finished_ms=now_ms(), reason=Reason.KILLED, exit_code=999)


def _may_still_show_up(run: Run) -> bool:
    return run.asked_ms is not None and now_ms() - run.asked_ms < SETTLE_MS


def _exit_code(directory: Path, seen: Seen) -> int | None:
    """What the step's own log says, since the service says only whether it failed."""
    return seen.exit_code and (exit_code_in(directory) or seen.exit_code)
