"""Runs jobs as steps of an EMR cluster. Steps have no client token: ours are looked up by name before a repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfbatch.jobs.backends import Phase, Reason, s3
from sfbatch.jobs.backends.aws import Clients, told
from sfbatch.jobs.backends.emr_logs import CONTROLLER, applications_in
from sfbatch.jobs.backends.names import run_name, token
from sfbatch.jobs.backends.places import STEPS, STEPS_OPTIONAL
from sfbatch.jobs.backends.remote import Run, Seen
from sfbatch.jobs.backends.staging import UNPACKED, Stage, passed_on, place_of, python_of, refused
from sfbatch.jobs.spark_submit import is_spark_submit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sfbatch.jobs.backends import Launch
    from sfbatch.jobs.settings import Settings

MOST_IDS = 10  # that ListSteps takes
LOOK_BACK_MS = 24 * 3_600_000  # a step made so long before it was asked for is another one
# ResourceManagerApplicationIds is in botocore's model of ListSteps since 2025; older answers are read from the log.
_PHASES = {
    "PENDING": Phase.STARTING,
    "RUNNING": Phase.RUNNING,
    "CANCEL_PENDING": Phase.RUNNING,
    "COMPLETED": Phase.ENDED,
    "FAILED": Phase.ENDED,
    "CANCELLED": Phase.ENDED,
    "INTERRUPTED": Phase.ENDED,
}
_REASONS = {"CANCELLED": Reason.CANCELLED, "INTERRUPTED": Reason.INTERRUPTED}


class EmrSteps:
    """A `Service`."""

    def __init__(self, settings: Settings, clients: Clients | None = None) -> None:
        self._settings, self._clients = settings, clients or Clients()

    def prepare(self, launch: Launch) -> Run:
        """Files to S3, and the step's words: `env NAME=VALUE ... spark-submit ...`, which no shell sees."""
        place = place_of(launch.cluster, STEPS, STEPS_OPTIONAL)
        with told():
            if "logs" not in place:
                found = self._emr(place).describe_cluster(ClusterId=place["clusterId"])["Cluster"]
                place = {**place, "logs": found.get("LogUri") or ""}
            stage = Stage(self._s3(place), self._settings, place["stage"], launch)
            environment = passed_on(launch.environment) | {"SFBATCH_JOB_ID": launch.job_id}
            words, in_cluster = stage.line(), False
            if is_spark_submit(launch.program):
                words, in_cluster = self._spark(stage, launch, place, environment)
            elif launch.requirements:
                raise refused("a Python environment is for spark-submit alone")
        return Run(
            place,
            run_name(launch),
            token(launch),
            ["env", *(f"{name}={value}" for name, value in environment.items()), *words],
            launch.timeout_s,
            in_cluster,
        )

    def find(self, run: Run) -> str | None:
        """Look through the newest steps."""
        return self._find(run, run.name)

    def start(self, run: Run) -> str:
        """Add the step."""
        return self._add(run, run.name, run.words)

    def look(self, runs: Mapping[str, Run]) -> dict[str, Seen]:
        """Ten steps in one request."""
        seen: dict[str, Seen] = {}
        place = next(iter(runs.values())).place
        ids = {run.run_id: job_id for job_id, run in runs.items()}
        asked = list(ids)
        for at in range(0, len(asked), MOST_IDS):
            with told():
                some = asked[at : at + MOST_IDS]
                answer = self._emr(place).list_steps(ClusterId=place["clusterId"], StepIds=some)
            seen |= {ids[step["Id"]]: _seen(step) for step in answer["Steps"] if step["Id"] in ids}
        return seen

    def cancel(self, run: Run, seen: Seen) -> None:
        """Cancel the step. In cluster mode that ends spark-submit alone, so a further step kills its application."""
        with told():
            emr, where = self._emr(run.place), run.place["clusterId"]
            emr.cancel_steps(ClusterId=where, StepIds=[run.run_id], StepCancellationOption="SEND_INTERRUPT")
        for application in seen.applications if run.cluster_mode else ():
            name = f"sfbatch kill {application}"
            if not self._find(run, name):
                self._add(run, name, ["yarn", "application", "-kill", application])

    def fetch_logs(self, run: Run, directory: Path, seen: Seen | None) -> None:
        """The step's stdout and stderr; in cluster mode the driver's are `stdout` and `driver/stderr`."""
        if not run.place["logs"]:
            return
        top = f"{run.place['logs'].rstrip('/')}/{run.place['clusterId']}"
        step = f"{top}/steps/{run.run_id}"
        names = {"stderr": "stderr", "controller": CONTROLLER, "syslog": "genie/logs/syslog"}
        if not run.cluster_mode:
            names["stdout"] = "stdout"
        with told():
            client = self._s3(run.place)
            for source, name in names.items():
                s3.fetch_log(client, f"{step}/{source}.gz", directory, name, self._settings.max_output_bytes)
            if run.cluster_mode:
                applications = (seen.applications if seen else ()) or applications_in(directory)
                for address in [a for each in applications for a in s3.list_keys(client, f"{top}/containers/{each}/")]:
                    container, _, file = address.rpartition("/")
                    if container.endswith("_000001") and file in {"stdout.gz", "stderr.gz"}:  # the driver's
                        name = "stdout" if file == "stdout.gz" else "driver/stderr"
                        s3.fetch_log(client, address, directory, name, self._settings.max_output_bytes)

    def _spark(
        self, stage: Stage, launch: Launch, place: Mapping[str, Any], environment: Mapping[str, str]
    ) -> tuple[list[str], bool]:
        line = stage.spark()
        in_cluster = line.deploy_mode == "cluster"
        if in_cluster:
            for name, value in environment.items():
                line.conf[f"spark.yarn.appMasterEnv.{name}"] = value  # whatever the job itself says about it
            line.conf.setdefault("spark.yarn.maxAppAttempts", "1")  # YARN must not run the driver a second time
        if launch.requirements:
            if not in_cluster:
                raise refused("a Python environment needs --deploy-mode cluster: elsewhere EMR does not unpack it")
            line.add("--archives", [stage.environment(python_of(place)) or ""])
            for name in ("spark.yarn.appMasterEnv.PYSPARK_PYTHON", "spark.executorEnv.PYSPARK_PYTHON"):
                line.conf[name] = f"./{UNPACKED}/bin/python"
        return [*launch.program[:1], *line.words()], in_cluster

    def _add(self, run: Run, name: str, words: list[str]) -> str:
        jar = {"Jar": "command-runner.jar", "Args": words}
        step = {"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}
        role = {"ExecutionRoleArn": run.place["executionRoleArn"]} if run.place.get("executionRoleArn") else {}
        with told(unclear=True):
            client = self._clients.get("emr", run.place["region"], once=True)
            answer = client.add_job_flow_steps(JobFlowId=run.place["clusterId"], Steps=[step], **role)
        found: str = answer["StepIds"][0]
        return found

    def _find(self, run: Run, name: str) -> str | None:
        with told():
            for step in self._newest(run):
                if step["Name"] == name:
                    found: str = step["Id"]
                    return found
        return None

    def _newest(self, run: Run) -> Iterator[dict[str, Any]]:
        """The steps, newest first, back to some time before ours was asked for."""
        oldest_ms = (run.asked_ms or 0) - LOOK_BACK_MS
        for page in self._emr(run.place).get_paginator("list_steps").paginate(ClusterId=run.place["clusterId"]):
            for step in page["Steps"]:
                made = step["Status"].get("Timeline", {}).get("CreationDateTime")
                if made is not None and made.timestamp() * 1000 < oldest_ms:
                    return
                yield step

    def _emr(self, place: Mapping[str, Any]) -> Any:
        return self._clients.get("emr", place["region"])

    def _s3(self, place: Mapping[str, Any]) -> Any:
        return self._clients.get("s3", place["region"])


def _seen(step: dict[str, Any]) -> Seen:
    status = step["Status"]
    timeline, failure = status.get("Timeline") or {}, status.get("FailureDetails") or {}
    state = status["State"]
    return Seen(
        _PHASES.get(state, Phase.RUNNING),
        _ms(timeline.get("StartDateTime")),
        _ms(timeline.get("EndDateTime")),
        _REASONS.get(state, Reason.EXITED),
        {"COMPLETED": 0, "FAILED": 1}.get(state),
        " ".join(filter(None, (failure.get("Reason"), failure.get("Message")))) or None,
        tuple((step.get("AdditionalInfo") or {}).get("ResourceManagerApplicationIds") or ()),
    )


def _ms(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
