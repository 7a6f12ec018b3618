"""What moto does not simulate, by recorded shapes: cancelling steps, every state of one, where logs lie."""

import gzip
import threading
from datetime import datetime, timezone

from aws import BUCKET, CLIENTS, REGION, Recorded, put_log
from sfbatch.jobs.backends import Phase, Reason, remote, s3
from sfbatch.jobs.backends.aws import Clients
from sfbatch.jobs.backends.emr_steps import EmrSteps
from sfbatch.jobs.backends.remote import Run, Seen
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.verdict import verdict

NOW = datetime.now(timezone.utc)


def run_of(**more):
    place = {"clusterId": "j-1", "region": REGION, "stage": "s3://lake/x", "logs": f"s3://{BUCKET}/logs"}
    return Run(place, "sfbatch j 1.1", "j.1.1", ["env"], 60, run_id="s-1", **more)


def test_a_running_step_is_interrupted():
    cancelled = {"ClusterId": "j-1", "StepIds": ["s-1"], "StepCancellationOption": "SEND_INTERRUPT"}
    clients = Recorded(
        ("emr", "cancel_steps", cancelled, {"CancelStepsInfoList": [{"StepId": "s-1", "Status": "SUBMITTED"}]})
    )
    EmrSteps(Settings(), clients).cancel(run_of(), Seen(Phase.RUNNING))
    clients.all_were_asked()


def test_in_cluster_mode_the_yarn_application_is_killed_too_and_once():
    name, jar = (
        "sfbatch kill application_1_2",
        {"Jar": "command-runner.jar", "Args": ["yarn", "application", "-kill", "application_1_2"]},
    )
    asked = {"JobFlowId": "j-1", "Steps": [{"Name": name, "ActionOnFailure": "CONTINUE", "HadoopJarStep": jar}]}
    listed = {
        "Steps": [{"Id": "s-2", "Name": name, "Status": {"State": "PENDING", "Timeline": {"CreationDateTime": NOW}}}]
    }
    clients = Recorded(
        ("emr", "cancel_steps", None, {}),
        ("emr", "list_steps", {"ClusterId": "j-1"}, {"Steps": []}),
        ("emr", "add_job_flow_steps", asked, {"StepIds": ["s-2"]}),
        ("emr", "cancel_steps", None, {}),
        ("emr", "list_steps", {"ClusterId": "j-1"}, listed),
    )
    service, seen = EmrSteps(Settings(), clients), Seen(Phase.RUNNING, applications=("application_1_2",))
    service.cancel(run_of(cluster_mode=True), seen)
    service.cancel(run_of(cluster_mode=True), seen)
    clients.all_were_asked()


def test_every_state_of_a_step_is_known():
    steps = [
        {"Id": f"s-{n}", "Status": {"State": state, "Timeline": {"StartDateTime": NOW, "EndDateTime": NOW}}}
        for n, state in enumerate(
            ("PENDING", "CANCEL_PENDING", "RUNNING", "COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED")
        )
    ]
    steps[5]["Status"]["FailureDetails"] = {"Reason": "Unknown Error.", "Message": "exit 1", "LogFile": "s3://x"}
    steps[5]["AdditionalInfo"] = {"ResourceManagerApplicationIds": ["application_1_2"], "ResourceManager": "YARN"}
    clients = Recorded(
        ("emr", "list_steps", {"ClusterId": "j-1", "StepIds": [s["Id"] for s in steps]}, {"Steps": steps})
    )
    runs = {f"job{n}": remote.replace(run_of(), run_id=f"s-{n}") for n in range(7)}
    seen = EmrSteps(Settings(), clients).look(runs)
    assert [seen[f"job{n}"].phase for n in range(7)] == [Phase.STARTING, *[Phase.RUNNING] * 2, *[Phase.ENDED] * 4]
    assert [seen[f"job{n}"].reason for n in range(3, 7)] == [
        Reason.EXITED,
        Reason.CANCELLED,
        Reason.EXITED,
        Reason.INTERRUPTED,
    ]
    assert (seen["job3"].exit_code, seen["job5"].exit_code) == (0, 1)
    assert (seen["job5"].message, seen["job5"].applications) == ("Unknown Error. exit 1", ("application_1_2",))


def test_in_cluster_mode_the_logs_are_the_drivers(tmp_path):
    put_log(CLIENTS, "logs/j-1/steps/s-1/stderr.gz", "INFO Client: Submitted application application_1_2\n")
    put_log(CLIENTS, "logs/j-1/containers/application_1_2/container_1_2_01_000001/stdout.gz", "of the driver\n")
    put_log(
        CLIENTS,
        "logs/j-1/containers/application_1_2/container_1_2_01_000001/stderr.gz",
        "java.lang.IllegalStateException: no\n",
    )
    put_log(CLIENTS, "logs/j-1/containers/application_1_2/container_1_2_01_000002/stdout.gz", "of an executor\n")
    EmrSteps(Settings(), CLIENTS).fetch_logs(run_of(cluster_mode=True), tmp_path, None)
    assert (tmp_path / "stdout").read_text() == "of the driver\n"
    assert (tmp_path / "driver/stderr").read_text() == "java.lang.IllegalStateException: no\n"
    failed = remote.Report(Phase.ENDED, exit_code=1, reason=Reason.EXITED)
    assert verdict(failed, tmp_path)["status_msg"] == "Job failed. java.lang.IllegalStateException: no"


def test_a_log_that_unpacks_to_too_much_is_cut(tmp_path):
    client = CLIENTS.get("s3", REGION)
    client.put_object(Bucket=BUCKET, Key="bomb.gz", Body=gzip.compress(b"0" * 50_000_000))
    assert s3.fetch_log(client, f"s3://{BUCKET}/bomb.gz", tmp_path, "stdout", 1_000_000)
    assert (tmp_path / "stdout").stat().st_size == 1_000_000
    client.put_object(Bucket=BUCKET, Key="two.gz", Body=gzip.compress(b"one ") + gzip.compress(b"two"))
    assert s3.fetch_log(client, f"s3://{BUCKET}/two.gz", tmp_path, "stdout", 1_000_000)
    assert (tmp_path / "stdout").read_text() == "one two"
    assert not s3.fetch_log(client, f"s3://{BUCKET}/none.gz", tmp_path, "stderr", 1_000_000)


def test_a_log_is_fetched_again_only_when_it_changed(tmp_path):
    client = CLIENTS.get("s3", REGION)
    put_log(CLIENTS, "a.gz", "one")
    asked = []
    client.meta.events.register(
        "after-call.s3.GetObject", lambda http_response, **_: asked.append(http_response.status_code)
    )
    for _ in range(2):
        assert s3.fetch_log(client, f"s3://{BUCKET}/a.gz", tmp_path, "stdout", 1000)
    assert asked == [200, 304]


def test_clients_are_shared_between_threads():
    clients, found = Clients(), []
    threads = [threading.Thread(target=lambda: found.append(clients.get("emr", REGION))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
