"""The server's one loop: renews its lease, watches what runs, starts what is next.

It decides from the database and the back ends alone and keeps nothing in memory, so that a server that takes over
after a kill -9 goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from sfbatch.jobs import attempts, environments, home, queue, states
from sfbatch.jobs.backends import Phase, Report, leftovers
from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.launch import launch_of
from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.rush import Rush
from sfbatch.jobs.tables import jobs, servers
from sfbatch.jobs.verdict import verdict, wrote_unclearly

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sfbatch.jobs.backends import Backend
    from sfbatch.jobs.database import Database
    from sfbatch.jobs.lease import Lease
    from sfbatch.jobs.settings import Settings

BUSY_S, IDLE_S = 0.25, 1.0  # between two rounds, while jobs are unfinished and while none is
PAUSE_S = 0.05  # at least, however often it is woken: rounds must not take the processor from submissions
LAUNCHERS, BUILDERS = 4, 2
log = logging.getLogger(__name__)


class Dispatcher:
    """Runs in a thread of its own from `start` to `stop`."""

    def __init__(self, database: Database, backends: Mapping[str, Backend], settings: Settings, lease: Lease) -> None:
        self._database, self._backends, self._settings = database, backends, settings
        self._lease, self.server_id = lease, lease.server_id
        self.trouble: ServerError | None = None  # why no job is run: the home is gone, or another server has the lease
        self._wake, self._stopping = threading.Event(), threading.Event()
        self.rush = Rush()
        self._launchers = ThreadPoolExecutor(LAUNCHERS, thread_name_prefix="launch")
        self._builders = ThreadPoolExecutor(BUILDERS, thread_name_prefix="build")  # environments: minutes, not moments
        self._launching: set[str] = set()  # being submitted by this process just now
        self._waiting: dict[str, Future[None]] = {}  # of these, for an environment
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self.last_round_s = time.monotonic()  # for /actuator/health

    def start(self) -> None:
        """Let the back ends look at what was running, and begin."""
        environments.start()
        with self._database.read() as connection:
            mine = connection.execute(_claimed(self.server_id)).all()
        for name, backend in self._backends.items():
            backend.reconcile(
                [(job.id, self._settings.directory / job.directory) for job in mine if job.backend == name]
            )
        self._thread.start()

    def stop(self) -> None:
        """End the loop; the jobs run on."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=10)
        self._launchers.shutdown(wait=True, cancel_futures=True)
        environments.stop()
        self._builders.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(SQLAlchemyError):  # it runs out by itself
            self._lease.give_back()

    def wake(self) -> None:
        """There is something to do: a job came in, or is to be killed."""
        self._wake.set()

    def check(self) -> None:
        """Raises ServerError while no job is run: what would be taken in now, nobody might ever start."""
        if self.trouble:
            raise self.trouble

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            busy = True
            try:
                busy = self.round()
                self.last_round_s, self.trouble = time.monotonic(), None
            except ServerError as trouble:
                if self.trouble is None:
                    log.error("no job is run: %s", trouble)
                self.trouble = trouble
            except Exception:  # the database is away, or one thing went wrong: the next round finds everything again
                log.exception("a round failed")
            self._stopping.wait(PAUSE_S)
            self.rush.let_pass()
            self._wake.wait(BUSY_S if busy else IDLE_S)

    def round(self) -> bool:
        """Do once all there is to do now; true while jobs are unfinished."""
        home.check(self._settings.directory, self.server_id)
        self._lease.renew()
        with self._database.read() as connection:
            self._lease.check(connection)
            claimed = connection.execute(_claimed(self.server_id)).all()
            waiting = connection.execute(
                select(jobs.c.id).where(jobs.c.status == states.ACCEPTED, jobs.c.server_id == self.server_id).limit(1)
            ).first()
        self._watch(list(claimed))
        if waiting:
            self._claim()
        return bool(claimed or waiting)

    def _watch(self, claimed: list[Any]) -> None:
        """Ask about every claimed job, and store what changed in one transaction."""
        changes: list[tuple[str, dict[str, Any]]] = []
        for job in claimed:
            if job.id in self._launching:
                if job.kill_requested_ms is not None:
                    self._stop_building(job)
                continue
            try:
                change = self._look(job)
            except Exception:  # one back end's or one job's trouble must not stop the others
                log.exception("cannot tell how a job is", extra={"job_id": job.id})
                continue
            if change:
                changes.append((job.id, change))
        if not changes:
            return
        with self._database.write() as connection:
            self._lease.check(connection)
            for job_id, change in changes:
                mine = jobs.c.claimed_by == self.server_id
                still: tuple[Any, ...] = (jobs.c.id == job_id, jobs.c.status.in_(states.CLAIMED), mine)
                if change["status"] == states.ACCEPTED:  # a kill that came in meanwhile must not be forgotten
                    still = (*still, jobs.c.kill_requested_ms.is_(None))
                connection.execute(update(jobs).where(*still).values(**change, updated_ms=now_ms()))
        for job_id, change in changes:
            # Of a failed job the message may be its own last words, which are for who may read the job.
            why = {} if change["status"] == states.FAILED else {"why": change["status_msg"]}
            log.info("job changed", extra={"job_id": job_id, "status": change["status"], **why})

    def _look(self, job: Any) -> dict[str, Any] | None:
        """The columns that change, if any."""
        backend, directory = self._backends[job.backend], self._settings.directory / job.directory
        killed = job.kill_requested_ms is not None
        # By a server that died, or lost its database, before it said so.
        if attempts.is_set_aside(directory, job.attempt):
            return verdict(Report(Phase.LOST), directory, killed) if killed else self._again(job, directory)
        report = backend.poll(job.id, directory)
        # Emptied by the job, or by an operator: it must neither run on unseen nor a second time.
        if report.phase is Phase.NOT_STARTED and job.status == states.RUNNING:
            backend.kill(job.id, directory)
            backend.poll(job.id, directory)
            report = Report(Phase.LOST, message=states.MSG_EMPTIED)
        if report.phase in {Phase.ENDED, Phase.LOST}:
            end = verdict(report, directory, killed)
            again = attempts.may_run_again(report) and not killed and self._again(job, directory, end["status_msg"])
            return again or end
        if killed:
            backend.kill(job.id, directory)
        elif report.phase is Phase.NOT_STARTED:
            self._submit(job.id, backend)
        return self._running(report) if report.phase is Phase.RUNNING and job.status == states.INIT else None

    def _again(self, job: Any, directory: Path, why: str = states.MSG_FAILED) -> dict[str, Any] | None:
        """Send the job back to the queue, its files set aside; None when its policy gives it no further attempt."""
        with self._database.read() as connection:
            request = connection.execute(select(jobs.c.request).where(jobs.c.id == job.id)).scalar_one()
        found = attempts.next_attempt(job.attempt, request.get("retries", 0), request.get("retryDelay", 0), why)
        if found and wrote_unclearly(directory):
            return None
        try:
            if found:
                leftovers.end_all(directory)  # what it left would write on beside the next attempt
                attempts.set_aside(directory, job.attempt)
        except OSError:  # the job has put something in the way
            log.warning("a job cannot run again", extra={"job_id": job.id}, exc_info=True)
            return None
        return found

    def _running(self, report: Report) -> dict[str, Any]:
        return {
            "status": states.RUNNING,
            "status_msg": states.MSG_RUNNING,
            "started_ms": report.started_ms,
            "process_id": report.process_id,
        }

    def _claim(self) -> None:
        """Claim the next jobs. Servers of one database claim one after the other, so that no limit is passed."""
        limits = self._settings
        allowed = queue.Allowed(limits.memory_mb, limits.max_running_per_user, frozenset(self._backends))
        taken = []
        with self._database.write() as connection:
            connection.execute(select(servers.c.id).order_by(servers.c.id).with_for_update()).all()
            self._lease.check(connection)
            for row, choice in queue.ready(connection, self.server_id, allowed):
                claim = {
                    "status": states.INIT,
                    "claimed_by": self.server_id,
                    "backend": choice.limits.backend,
                    "cluster_id": choice.cluster_id,
                    "cluster_name": choice.cluster_name,
                    "command_id": choice.command_id,
                    "command_name": choice.command_name,
                    "check_delay_ms": choice.check_delay_ms,
                    "host_name": socket.gethostname(),
                    "updated_ms": now_ms(),
                }
                waits = (jobs.c.id == row.id, jobs.c.status == states.ACCEPTED)
                if connection.execute(update(jobs).where(*waits).values(**claim)).rowcount:
                    taken.append((row.id, choice.limits.backend))
        for job_id, name in taken:
            self._submit(job_id, self._backends[name])

    def _stop_building(self, job: Any) -> None:
        """The environment of a job that is to end, which may wait for another's: nobody waits for either."""
        waiting = self._waiting.get(job.id)
        if waiting and waiting.cancel():
            self._launched(job.id)
        else:
            environments.cancel(self._settings.directory / job.directory)

    def _launched(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)
        self._launching.discard(job_id)
        self._wake.set()

    def _submit(self, job_id: str, backend: Backend) -> None:
        if job_id not in self._launching:
            self._launching.add(job_id)
            self._launchers.submit(self._launch, job_id, backend)

    def _launch(self, job_id: str, backend: Backend, building: bool = False) -> None:
        """Only a claim that is on disk comes here; submitting twice is harmless, see `Backend.submit`."""
        later = False
        try:
            with self._database.read() as connection:
                launch = launch_of(connection, self._settings.directory, job_id)
            if launch.requirements and not building:
                later = True
                self._waiting[job_id] = self._builders.submit(self._launch, job_id, backend, building=True)
            else:
                self.rush.let_pass()
                self._check_wanted(job_id)
                backend.submit(replace(launch, check=partial(self._check_wanted, job_id)))
                environments.forget(launch.directory)
        except environments.Unwanted:
            environments.forget(launch.directory)  # the next round ends it, if it is this server's
        except Exception:
            log.exception("a job could not be started, and will be tried again", extra={"job_id": job_id})
            time.sleep(BUSY_S)
        finally:
            if not later:
                self._launched(job_id)

    def _check_wanted(self, job_id: str) -> None:
        """Raises Unwanted when the job was killed, or became another server's, while it waited for its start."""
        with self._database.read() as connection:
            asked = connection.scalar(select(jobs.c.kill_requested_ms).where(jobs.c.id == job_id))
            try:
                self._lease.check(connection)
            except ServerError as lost:
                raise environments.Unwanted(job_id) from lost
        if asked is not None:
            raise environments.Unwanted(job_id)


def _claimed(server_id: str) -> Any:
    columns = ("id", "status", "directory", "backend", "attempt", "kill_requested_ms")
    claimed = (jobs.c.status.in_(states.CLAIMED), jobs.c.claimed_by == server_id)
    return select(*(jobs.c[name] for name in columns)).where(*claimed)
