"""Runs Spark jobs on EMR Serverless. Our client token makes AWS start a job once, however often it is asked to."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sfbatch.jobs.backends import Phase, Reason, s3
from sfbatch.jobs.backends.aws import Clients, told
from sfbatch.jobs.backends.names import run_name, token
from sfbatch.jobs.backends.places import SERVERLESS, SERVERLESS_OPTIONAL
from sfbatch.jobs.backends.remote import Run, Seen
from sfbatch.jobs.backends.staging import UNPACKED, Stage, must_be_spark, passed_on, place_of, python_of, refused
from sfbatch.jobs.spark_submit import SparkSubmit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sfbatch.jobs.backends import Launch
    from sfbatch.jobs.settings import Settings

LEAST_MINUTES = 5  # AWS's own timeout, the net below ours
LOOK_BACK_MS = 24 * 3_600_000
_PHASES = {
    "SUBMITTED": Phase.STARTING,
    "PENDING": Phase.STARTING,
    "SCHEDULED": Phase.STARTING,
    "QUEUED": Phase.STARTING,
    "RUNNING": Phase.RUNNING,
    "CANCELLING": Phase.RUNNING,
    "SUCCESS": Phase.ENDED,
    "FAILED": Phase.ENDED,
    "CANCELLED": Phase.ENDED,
}


class EmrServerless:
    """A `Service`."""

    def __init__(self, settings: Settings, clients: Clients | None = None) -> None:
        self._settings, self._clients = settings, clients or Clients()

    def prepare(self, launch: Launch) -> Run:
        """Files to S3, and the line that follows `spark-submit`."""
        place = place_of(launch.cluster, SERVERLESS, SERVERLESS_OPTIONAL)
        must_be_spark(launch)
        with told():
            stage = Stage(self._s3(place), self._settings, place["stage"], launch)
            line = stage.spark()
            line.options = [
                (n, v) for n, v in line.options if n not in {"--master", "--deploy-mode"}
            ]  # the service's own
            environment = passed_on(launch.environment) | {"SFBATCH_JOB_ID": launch.job_id}
            for name, value in environment.items():
                line.conf[f"spark.emr-serverless.driverEnv.{name}"] = value  # whatever the job itself says about it
            if launch.requirements:
                line.add("--archives", [stage.environment(python_of(place)) or ""])
                for name in (
                    "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON",
                    "spark.emr-serverless.driverEnv.PYSPARK_PYTHON",
                    "spark.executorEnv.PYSPARK_PYTHON",
                ):
                    line.conf[name] = f"./{UNPACKED}/bin/python"
        if not line.rest:
            raise refused("the job names no program: give its file as the first argument that is no option")
        return Run(place, run_name(launch), token(launch), line.words(), launch.timeout_s)

    def find(self, run: Run) -> str | None:
        """Look through the newest job runs."""
        since = datetime.fromtimestamp(((run.asked_ms or 0) - LOOK_BACK_MS) / 1000, timezone.utc)
        with told():
            pages = self._emr(run.place).get_paginator("list_job_runs")
            for page in pages.paginate(applicationId=run.place["applicationId"], createdAtAfter=since):
                for found in page["jobRuns"]:
                    if found.get("name") == run.name:
                        job_run_id: str = found["id"]
                        return job_run_id
        return None

    def start(self, run: Run) -> str:
        """Start the job run; asked twice with one token, AWS answers with the same one."""
        line = SparkSubmit.parse(run.words)
        entry, *arguments = line.rest
        line.rest = []
        driver: dict[str, Any] = {"entryPoint": entry, "sparkSubmitParameters": shlex.join(line.words())}
        if arguments:
            driver["entryPointArguments"] = arguments
        with told(unclear=True):
            answer = self._emr(run.place).start_job_run(
                applicationId=run.place["applicationId"],
                clientToken=run.token,
                executionRoleArn=run.place["executionRoleArn"],
                name=run.name,
                jobDriver={"sparkSubmit": driver},
                configurationOverrides={
                    "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": run.place["logs"]}}
                },
                executionTimeoutMinutes=max(-(-run.timeout_s // 60) + 1, LEAST_MINUTES),
            )
        found: str = answer["jobRunId"]
        return found

    def look(self, runs: Mapping[str, Run]) -> dict[str, Seen]:
        """One request a job; the service has none for several that tells why one failed."""
        seen = {}
        for job_id, run in runs.items():
            with told():
                client = self._emr(run.place)
                try:
                    answer = client.get_job_run(applicationId=run.place["applicationId"], jobRunId=run.run_id)
                except client.exceptions.ResourceNotFoundException:
                    continue
            seen[job_id] = _seen(answer["jobRun"])
        return seen

    def cancel(self, run: Run, seen: Seen) -> None:  # noqa: ARG002
        """Cancel the job run."""
        with told():
            self._emr(run.place).cancel_job_run(applicationId=run.place["applicationId"], jobRunId=run.run_id)

    def fetch_logs(self, run: Run, directory: Path, seen: Seen | None) -> None:  # noqa: ARG002
        """The driver's."""
        top = f"{run.place['logs'].rstrip('/')}/applications/{run.place['applicationId']}/jobs/{run.run_id}"
        with told():
            for name in ("stdout", "stderr"):
                address = f"{top}/SPARK_DRIVER/{name}.gz"
                s3.fetch_log(self._s3(run.place), address, directory, name, self._settings.max_output_bytes)

    def _emr(self, place: Mapping[str, Any]) -> Any:
        return self._clients.get("emr-serverless", place["region"])

    def _s3(self, place: Mapping[str, Any]) -> Any:
        return self._clients.get("s3", place["region"])


def _seen(run: dict[str, Any]) -> Seen:
    state = run["state"]
    phase = _PHASES.get(state, Phase.RUNNING)
    details = run.get("stateDetails") or ""
    told_code = re.search(r"ExitCode: (\d+)", details)
    return Seen(
        phase,
        _ms(run.get("startedAt")) or (_ms(run.get("createdAt")) if phase is not Phase.STARTING else None),
        _ms(run.get("endedAt") or run.get("updatedAt")) if phase is Phase.ENDED else None,
        Reason.CANCELLED if state == "CANCELLED" else Reason.EXITED,
        0 if state == "SUCCESS" else int(told_code[1]) if told_code else 1,
        details or None,
    )


def _ms(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
