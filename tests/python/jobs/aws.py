"""AWS for tests: moto for what it simulates (steps, job runs, S3), recorded shapes for what it does not (CancelSteps, client tokens).

Nothing here ever reaches AWS.
"""

import gzip
from types import SimpleNamespace

import boto3
from botocore.stub import Stubber
from sfbatch.jobs.backends import Launch
from sfbatch.jobs.backends.aws import Clients

REGION, BUCKET, ROLE = "us-east-1", "lake", "arn:aws:iam::123456789012:role/sfbatch-job"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


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
