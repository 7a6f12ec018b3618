"""A job goes from the REST interface through the queue to EMR and back, past a kill -9; EMR and S3 are moto's, in this process."""

import pytest
from aws import BUCKET, KEYS, REGION, put_log
from live import eventually
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emr.models import emr_backends
from moto.server import ThreadedMotoServer
from sfbatch.jobs.backends.aws import Clients


@pytest.fixture
def aws(monkeypatch):
    """An endpoint for boto3, here and in the server's process."""
    simulated = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    simulated.start()
    host, port = simulated.get_host_and_port()
    env = {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    yield env
    simulated.stop()


def test_a_job_runs_as_a_step_and_is_found_again_after_a_kill_of_the_server(aws, fresh):
    clients = Clients()
    clients.get("s3", REGION).create_bucket(Bucket=BUCKET)
    instances = {"KeepJobFlowAliveWhenNoSteps": True}
    made = clients.get("emr", REGION).run_job_flow(Name="dev", LogUri=f"s3://{BUCKET}/logs/", Instances=instances)
    emr = {"clusterId": made["JobFlowId"], "region": REGION, "stage": f"s3://{BUCKET}/sfbatch"}
    server = fresh("--remote-poll-s", "0.2", env=aws).start()
    server.add_command("spark-emr", "spark-submit", tags=["type:spark-submit"])
    server.add_cluster("emr-1", ["env:emr"], {"backend": "emr-steps", "maxRunningJobs": 1, "emr": emr}, ["spark-emr"])
    files = {"job.py": b"print(1)", "lib.py": b"x = 1"}
    job_id = server.submit(["--py-files", "lib.py", "job.py", "1"], files, command="spark-submit", cluster=("env:emr",))
    waiting = server.submit(["job.py"], command="spark-submit", cluster=("env:emr",))
    steps = emr_backends[DEFAULT_ACCOUNT_ID][REGION].clusters[emr["clusterId"]].steps
    (step,) = eventually(lambda: list(steps), 120)  # the server imports boto3 first
    assert f"SFBATCH_JOB_ID={job_id}" in step.args
    assert step.args[-2:][0].endswith("/job.py")
    server.running(job_id, 120)
    server.kill9()
    server.start()
    assert server.status(job_id) == "RUNNING"
    put_log(clients, f"logs/{emr['clusterId']}/steps/{step.id}/stdout.gz", "hello\n")
    step.state = "COMPLETED"
    assert server.ended(job_id, 120)["status"] == "SUCCEEDED"
    assert server.output(job_id).text == "hello\n"
    assert server.output(job_id, headers={"Range": "bytes=2-"}).text == "llo\n"
    eventually(lambda: len(steps) == 2, 120)  # its turn came, and nothing was sent twice
    assert f"SFBATCH_JOB_ID={waiting}" in steps[1].args
    assert server.get(f"jobs/{job_id}").json()["clusterName"] == "emr-1"
    assert "testing" not in "".join(
        server.output(job_id, path).text for path in ("genie/remote.json", "genie/genie.done")
    )
