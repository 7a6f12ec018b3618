"""AWS for tests: moto for what it simulates (steps, job runs, S3), recorded shapes for what it does not (CancelSteps, client tokens).

Nothing here ever reaches AWS.
"""

import gzip
import threading
from datetime import datetime, timezone
from types import SimpleNamespace

import boto3
from botocore.stub import Stubber
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emr.models import emr_backends
from moto.emrserverless.models import emrserverless_backends
from sfbatch.jobs.backends import Launch
from sfbatch.jobs.backends.aws import Clients
from sfbatch.jobs.backends.emr_serverless import EmrServerless
from sfbatch.jobs.backends.emr_steps import EmrSteps
from sfbatch.jobs.backends.remote import RemoteBackend
from sfbatch.jobs.settings import Settings

REGION, BUCKET, ROLE = "us-east-1", "lake", "arn:aws:iam::123456789012:role/sfbatch-job"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
SPARK = ["spark-submit"]
CLIENTS = Clients()


def cluster_of(**emr):
    return {
        "id": "dev-1",
        "metadata": {"sfbatch": {"emr": {"region": REGION, "stage": f"s3://{BUCKET}/sfbatch/", **emr}}},
    }


def launch_of(directory, program, arguments, cluster, **more):
    directory.mkdir(exist_ok=True)
    given = {
        "job_id": "j",
        "timeout_s": 10**6,
        "memory_mb": 1,
        "environment": {"SFBATCH_USER": "alice"},
        "fetch": {},
        **more,
    }
    return Launch(directory=directory, arguments=[*program, *arguments], program=program, cluster=cluster, **given)


class Recorded(Clients):
    """Clients whose answers were written down beforehand; a request that is not expected next fails."""

    def __init__(self, *answers):
        super().__init__()
        self._answers = {}
        self._stubs = []
        for service, operation, expected, answer in answers:
            client = self._answers.setdefault(service, self._stubbed(service))
            if isinstance(answer, str):
                client.stub.add_client_error(operation, answer, http_status_code=400, expected_params=expected)
            else:
                client.stub.add_response(operation, answer, expected)

    def _stubbed(self, service):
        client = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x").client(
            service, region_name=REGION
        )
        stub = Stubber(client)
        stub.activate()
        self._stubs.append(stub)
        return SimpleNamespace(client=client, stub=stub)

    def get(self, service, region, once=False):
        return self._answers[service].client

    def all_were_asked(self):
        for stub in self._stubs:
            stub.assert_no_pending_responses()


def put_log(clients, key, text):
    clients.get("s3", REGION).put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(text.encode()))


class Kind:
    """One service with a backend on it, and hands on what moto simulates."""

    def __init__(self, name, tmp_path):
        settings = Settings(home=tmp_path / "home")
        self.name, self.tmp_path = name, tmp_path
        if name == "steps":
            self.service, client = EmrSteps(settings, CLIENTS), CLIENTS.get("emr", REGION)
            made = client.run_job_flow(
                Name="dev", LogUri=f"s3n://{BUCKET}/logs/", Instances={"KeepJobFlowAliveWhenNoSteps": True}
            )
            self.place = cluster_of(clusterId=made["JobFlowId"])
        else:
            self.service, client = EmrServerless(settings, CLIENTS), CLIENTS.get("emr-serverless", REGION)
            made = client.create_application(name="dev", type="SPARK", releaseLabel="emr-6.6.0", clientToken="t")
            logs = f"s3://{BUCKET}/logs"
            self.place = cluster_of(applicationId=made["applicationId"], executionRoleArn=ROLE, logs=logs)
        self.emr = self.place["metadata"]["sfbatch"]["emr"]
        self.backend = RemoteBackend(lambda: self.service, every_s=3600)
        self.backend._thread = threading.current_thread()  # no watcher: the tests look themselves

    def launch(self, arguments=("s3://lake/job.py",), job_id="j", program=SPARK, **more):
        return launch_of(
            self.tmp_path / f"{job_id}-0123456789ab", list(program), list(arguments), self.place, job_id=job_id, **more
        )

    def runs(self):
        """What the service was asked to run."""
        if self.name == "steps":
            return emr_backends[DEFAULT_ACCOUNT_ID][REGION].clusters[self.emr["clusterId"]].steps
        return emrserverless_backends[DEFAULT_ACCOUNT_ID][REGION].job_runs.get(self.emr["applicationId"], [])

    def set(self, state, **more):
        """Let the only run come to a state; the names are those of steps."""
        (run,) = self.runs()
        serverless = {"PENDING": "SUBMITTED", "COMPLETED": "SUCCESS"}
        run.state = state if self.name == "steps" else serverless.get(state, state)
        if self.name == "steps":
            run.start_date_time = datetime.now(timezone.utc) if state != "PENDING" else None
            run.end_date_time = datetime.now(timezone.utc) if state in {"COMPLETED", "FAILED", "CANCELLED"} else None
        for name, value in more.items():
            setattr(run, name, value)

    def log(self, name, text):
        (run,) = self.runs()
        if self.name == "steps":
            put_log(CLIENTS, f"logs/{self.emr['clusterId']}/steps/{run.id}/{name}.gz", text)
        else:
            put_log(
                CLIENTS, f"logs/applications/{self.emr['applicationId']}/jobs/{run.id}/SPARK_DRIVER/{name}.gz", text
            )

    def poll(self, launch):
        self.backend.poll(launch.job_id, launch.directory)
        self.backend.refresh()
        return self.backend.poll(launch.job_id, launch.directory)
