"""A job on EMR is started once, whenever its server dies; its state, end and logs are told as a local job's are."""

import gzip
import threading
from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from aws import BUCKET, KEYS, REGION, ROLE, Recorded, cluster_of, launch_of, put_log
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emr.models import emr_backends
from moto.emrserverless.models import emrserverless_backends
from sfbatch.jobs import attempts, kit
from sfbatch.jobs.backends import Phase, Reason, remote, s3
from sfbatch.jobs.backends.aws import Clients
from sfbatch.jobs.backends.emr_serverless import EmrServerless
from sfbatch.jobs.backends.emr_steps import EmrSteps
from sfbatch.jobs.backends.remote import RemoteBackend, Run, Seen
from sfbatch.jobs.environments import Unwanted
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.spark_submit import SparkSubmit
from sfbatch.jobs.verdict import verdict

SPARK = ["spark-submit"]
NOW = datetime.now(timezone.utc)
CLIENTS = Clients()


@pytest.fixture(autouse=True, scope="module")
def aws():
    """Shared, since making a client takes longer than a test; every test has a cluster of its own."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in KEYS.items():
            patch.setenv(name, value)
        CLIENTS.get("s3", REGION).create_bucket(Bucket=BUCKET)
        yield


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


@pytest.fixture(params=["steps", "serverless"])
def kind(request, tmp_path):
    return Kind(request.param, tmp_path)


@pytest.fixture
def steps(tmp_path):
    return Kind("steps", tmp_path)


@pytest.fixture
def serverless(tmp_path):
    return Kind("serverless", tmp_path)


def test_a_job_goes_through_its_states_and_its_logs_are_files_of_its_directory(kind):
    launch = kind.launch()
    assert kind.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED
    kind.backend.submit(launch)
    kind.set("PENDING")
    assert kind.poll(launch).phase is Phase.STARTING
    kind.set("RUNNING")
    assert kind.poll(launch).phase is Phase.RUNNING
    kind.log("stdout", "one\n")
    kind.backend.logs("j", launch.directory)
    assert (launch.directory / "stdout").read_text() == "one\n"
    kind.log("stdout", "one\ntwo\n")
    kind.log("stderr", "fine\n")
    kind.set("COMPLETED")
    end = kind.poll(launch)
    assert (end.phase, end.reason, end.exit_code) == (Phase.ENDED, Reason.EXITED, 0)
    assert (launch.directory / "stdout").read_text() == "one\ntwo\n"
    assert verdict(end, launch.directory)["status"] == "SUCCEEDED"
    assert len(kind.runs()) == 1


def test_submitting_again_starts_nothing(kind):
    launch = kind.launch()
    for _ in range(3):
        kind.backend.submit(launch)
    another = RemoteBackend(lambda: kind.service, 3600)  # the server's successor
    another.submit(launch)
    assert len(kind.runs()) == 1


def test_a_crash_between_asking_and_recording_never_starts_a_job_twice(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    recorded = Run.read(launch.directory)
    remote.replace(recorded, run_id=None).write(launch.directory)  # the answer was never written down
    successor = RemoteBackend(lambda: kind.service, 3600)
    successor.submit(launch)
    assert len(kind.runs()) == 1
    assert Run.read(launch.directory).run_id == recorded.run_id


def test_an_answer_that_never_came_is_looked_up_and_only_then_asked_for_again(kind, monkeypatch):
    """The request was carried out, but the answer was lost, and the service does not list the run at once."""
    launch, visible = kind.launch(), []
    real_start, real_find = kind.service.start, kind.service.find

    def lost(run):
        real_start(run)
        raise remote.Unclear("no answer")

    monkeypatch.setattr(kind.service, "start", lost)
    monkeypatch.setattr(kind.service, "find", lambda run: real_find(run) if visible else None)
    kind.backend.submit(launch)
    assert kind.backend.poll("j", launch.directory).phase is Phase.STARTING  # so nobody submits it again
    kind.backend.submit(launch)
    assert len(kind.runs()) == 1
    visible.append(True)
    kind.backend.refresh()
    assert Run.read(launch.directory).run_id == kind.runs()[0].id


def test_a_run_that_never_shows_up_is_asked_for_again_later(kind, monkeypatch):
    launch = kind.launch()
    kind.backend.submit(launch)
    long_ago = remote.now_ms() - remote.SETTLE_MS - 1
    remote.replace(Run.read(launch.directory), run_id=None, asked_ms=long_ago).write(launch.directory)
    monkeypatch.setattr(kind.service, "find", lambda run: None)
    assert kind.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED
    kind.backend.submit(launch)
    assert len(kind.runs()) == 2  # moto knows no client tokens; AWS would answer with the first


def test_a_failed_job_says_why(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    trouble = (
        "org.apache.spark.SparkException: Job aborted\nCaused by: java.io.FileNotFoundException: s3://lake/in\n\tat x\n"
    )
    kind.log("stderr", trouble)
    if kind.name == "steps":
        kind.log(
            "controller",
            "2026-11-21 INFO Command exiting with ret '13'\nWARN Step failed with exitCode 13 and took 9 seconds\n",
        )
        kind.set("FAILED")
    else:
        kind.set("FAILED", state_details="Job failed, please check complete logs. ExitCode: 13.")
    end = kind.poll(launch)
    assert (end.phase, end.reason, end.exit_code) == (Phase.ENDED, Reason.EXITED, 13)
    found = verdict(end, launch.directory)
    assert found["status_msg"] == "Job failed. java.io.FileNotFoundException: s3://lake/in"
    assert (found["status"], found["exit_code"]) == ("FAILED", 13)


def test_the_end_of_a_failed_job_waits_for_its_log_but_not_for_ever(kind, monkeypatch):
    launch = kind.launch()
    kind.backend.submit(launch)
    kind.set("FAILED")
    if kind.name == "serverless":
        monkeypatch.setattr(remote, "now_ms", lambda: int(kind.runs()[0].updated_at.timestamp() * 1000))
    assert kind.poll(launch).phase is Phase.RUNNING
    monkeypatch.setattr(remote, "LOGS_LATE_MS", -1)
    end = kind.poll(launch)
    assert (end.phase, end.exit_code) == (Phase.ENDED, 1)


def test_what_somebody_else_cancelled_was_not_killed_by_our_user(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    kind.set("CANCELLED")
    found = verdict(kind.poll(launch), launch.directory)
    assert (found["status"], found["status_msg"]) == ("KILLED", "Job was cancelled on its cluster, not by this server.")


def test_a_job_that_is_to_end_before_it_was_sent_is_never_sent(kind):
    launch = kind.launch()
    kind.backend.kill("j", launch.directory)
    kind.backend.submit(launch)
    assert kind.runs() == []
    assert kind.backend.poll("j", launch.directory).reason is Reason.KILLED


def test_a_job_that_is_to_end_while_it_is_being_sent_is_not_sent(kind):
    launch = kind.launch()
    kind.service.prepare(launch).write(launch.directory)  # the server died here
    kind.backend.kill("j", launch.directory)
    kind.backend.submit(launch)
    assert kind.runs() == []
    assert kind.backend.poll("j", launch.directory).reason is Reason.KILLED


def test_a_job_that_is_no_longer_wanted_when_it_is_prepared_is_not_sent(kind):
    def unwanted():
        raise Unwanted

    launch = replace(kind.launch(), check=unwanted)
    with pytest.raises(Unwanted):
        kind.backend.submit(launch)
    assert kind.runs() == []
    assert kind.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED


def test_a_run_the_service_forgot_is_lost(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    kind.runs().clear()
    assert kind.poll(launch).phase is Phase.LOST


def test_a_lost_run_says_nothing_about_the_next_attempt(kind):
    kind.backend.submit(kind.launch())
    kind.runs().clear()
    assert kind.poll(kind.launch()).phase is Phase.LOST
    attempts.set_aside(kind.launch().directory, 1)
    again = kind.launch(attempt=2)
    kind.backend.submit(again)
    assert kind.backend.poll("j", again.directory).phase is Phase.STARTING


def test_a_killed_job_run_is_cancelled(serverless):
    launch = serverless.launch()
    serverless.backend.submit(launch)
    serverless.set("RUNNING")
    serverless.poll(launch)
    serverless.backend.kill("j", launch.directory)
    serverless.backend.refresh()
    assert serverless.runs()[0].state == "CANCELLED"
    found = verdict(serverless.poll(launch), launch.directory)
    assert (found["status"], found["status_msg"], found["exit_code"]) == ("KILLED", "Job was killed by user.", 999)


def test_a_job_run_that_takes_too_long_is_cancelled(serverless):
    launch = serverless.launch(timeout_s=1)
    serverless.backend.submit(launch)
    serverless.set("RUNNING")  # since midnight, says moto
    serverless.poll(launch)
    assert serverless.runs()[0].state == "CANCELLED"
    assert verdict(serverless.poll(launch), launch.directory)["status_msg"] == "Job exceeded timeout."


# -- what is sent


def test_a_step_has_our_id_in_its_name_and_its_files_in_s3(steps):
    directory = steps.launch().directory
    for name in ("job.py", "lib.zip", "data.csv"):
        (directory / name).write_text(name)
    (directory / "stdout").write_text("of an earlier attempt")
    arguments = [
        "--deploy-mode",
        "cluster",
        "--py-files",
        "lib.zip,s3://lake/other.zip",
        "job.py",
        "data.csv",
        "--jars",
        "x",
    ]
    launch = steps.launch(
        arguments, environment={"SFBATCH_USER": "alice", "GENIE_JOB_DIR": "/here", "A_TOKEN": "secret"}
    )
    steps.backend.submit(launch)
    (step,) = steps.runs()
    top = f"s3://{BUCKET}/sfbatch/jobs/j-0123456789ab"
    assert step.name == "sfbatch j 0123456789ab.1"
    assert step.action_on_failure == "CONTINUE"
    assert (step.jar, step.args) == (
        "command-runner.jar",
        [
            "env", "SFBATCH_USER=alice", "SFBATCH_JOB_ID=j", "spark-submit", "--deploy-mode", "cluster",
            "--py-files", f"{top}/lib.zip,s3://lake/other.zip", "--files", f"{top}/data.csv",
            "--conf", "spark.sfbatch.job-id=j", "--conf", "spark.yarn.appMasterEnv.SFBATCH_USER=alice",
            "--conf", "spark.yarn.appMasterEnv.SFBATCH_JOB_ID=j", "--conf", "spark.yarn.maxAppAttempts=1",
            f"{top}/job.py", "data.csv", "--jars", "x",
        ],
    )  # fmt: skip
    found = CLIENTS.get("s3", REGION).get_object(Bucket=BUCKET, Key="sfbatch/jobs/j-0123456789ab/lib.zip")
    assert found["Body"].read() == b"lib.zip"


def test_sfbatch_and_python_packages_travel_with_a_spark_job_and_are_uploaded_once(kind, monkeypatch):
    jar = kind.tmp_path / "sfbatch-spark-3.5_2.12-0.1.0.jar"
    jar.write_text("a jar")
    monkeypatch.setattr(kit, "jar_for", lambda line: jar)
    kind.emr["python"] = {"path": f"/{kind.name}/python", "version": "3.9", "platform": "x86_64-manylinux_2_28"}
    directory = kind.launch().directory
    (directory / "job.py").write_text("x")
    (directory / "requirements.txt").write_text("# none\n")
    asked, mode = [], ["--deploy-mode", "cluster"] if kind.name == "steps" else []
    client = CLIENTS.get("s3", REGION)
    client.meta.events.register(
        "before-call.s3.PutObject", lambda params, **_: asked.append(params["url_path"]), unique_id="seen"
    )
    for attempt in (1, 2):
        requirements = directory / "requirements.txt"
        launch = kind.launch([*mode, "job.py"], spark="3.5", requirements=requirements, attempt=attempt)
        words = kind.service.prepare(launch).words
    client.meta.events.unregister("before-call.s3.PutObject", unique_id="seen")
    line = SparkSubmit.parse(words[words.index("spark-submit") + 1 :] if kind.name == "steps" else words)
    assert line.lists["--jars"][0].endswith("/sfbatch-spark-3.5_2.12-0.1.0.jar")
    assert line.lists["--py-files"][0].startswith(f"s3://{BUCKET}/sfbatch/kit/")
    (archive,) = line.lists["--archives"]
    assert archive.startswith(f"s3://{BUCKET}/sfbatch/environments/")
    assert archive.endswith(".tar.gz#environment")
    assert line.rest == [f"s3://{BUCKET}/sfbatch/jobs/j-0123456789ab/job.py"]
    assert line.conf["spark.sql.extensions"] == "sfbatch.SfBatchExtensions"
    assert line.conf["spark.executorEnv.PYSPARK_PYTHON"] == "./environment/bin/python"
    driver = "spark.yarn.appMasterEnv" if kind.name == "steps" else "spark.emr-serverless.driverEnv"
    assert line.conf[f"{driver}.PYSPARK_PYTHON"] == "./environment/bin/python"
    assert line.conf[f"{driver}.SFBATCH_JOB_ID"] == "j"
    uploads = Counter(path.rpartition("/")[2].partition("-")[0] for path in asked)
    assert (uploads["job.py"], uploads["sfbatch"]) == (2, 2)  # ours are the jar and the package, once each
    assert sum(path.endswith(".tar.gz") for path in asked) == 1
    assert not [path for path in asked if "requirements" in path]


def test_what_the_server_says_to_the_driver_counts(steps):
    conf = [
        "--deploy-mode",
        "cluster",
        "--conf",
        "spark.yarn.appMasterEnv.SFBATCH_WRITE_DATABASES=*",
        "--conf",
        "spark.sfbatch.job-id=x",
    ]
    launch = steps.launch([*conf, "s3://lake/job.py"], environment={"SFBATCH_WRITE_DATABASES": "dev_*"})
    words = steps.service.prepare(launch).words
    line = SparkSubmit.parse(words[words.index("spark-submit") + 1 :])
    assert line.conf["spark.yarn.appMasterEnv.SFBATCH_WRITE_DATABASES"] == "dev_*"
    assert line.conf["spark.sfbatch.job-id"] == "j"


def test_another_program_gets_the_addresses_of_its_files(steps):
    directory = steps.launch().directory
    (directory / "query.sql").write_text("SELECT 1")
    steps.backend.submit(steps.launch(["-f", "query.sql"], program=["hive"], fetch={"x.jar": "s3://lake/x.jar"}))
    top = f"s3://{BUCKET}/sfbatch/jobs/j-0123456789ab"
    assert steps.runs()[0].args[3:] == ["hive", "-f", f"{top}/query.sql"]


def test_a_job_run_is_sent_with_its_token_and_where_its_logs_go(serverless):
    emr = serverless.emr
    answer = {
        "applicationId": emr["applicationId"],
        "jobRunId": "00abc",
        "arn": "arn:aws:emr-serverless:us-east-1:123456789012:/applications/a/jobruns/00abc",
    }
    asked = {
        "applicationId": emr["applicationId"],
        "clientToken": "j.0123456789ab.1",
        "executionRoleArn": ROLE,
        "name": "sfbatch j 0123456789ab.1",
        "jobDriver": {
            "sparkSubmit": {
                "entryPoint": "s3://lake/job.py",
                "entryPointArguments": ["a b"],
                "sparkSubmitParameters": "--conf spark.executor.memory=2g --conf spark.sfbatch.job-id=j --conf "
                "spark.emr-serverless.driverEnv.SFBATCH_USER=alice --conf spark.emr-serverless.driverEnv.SFBATCH_JOB_ID=j",
            }
        },
        "configurationOverrides": {"monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": emr["logs"]}}},
        "executionTimeoutMinutes": 16668,
    }  # fmt: skip
    clients = Recorded(("emr-serverless", "start_job_run", asked, answer), ("s3", "head_bucket", None, {}))
    service = EmrServerless(Settings(home=serverless.tmp_path), clients)
    launch = serverless.launch(["--master", "yarn", "--conf", "spark.executor.memory=2g", "s3://lake/job.py", "a b"])
    assert service.start(service.prepare(launch)) == "00abc"


def test_a_retry_has_a_token_and_a_name_of_its_own(kind):
    first, second = (kind.service.prepare(kind.launch(attempt=n)) for n in (1, 2))
    assert first.name != second.name
    assert first.token != second.token
    long = kind.service.prepare(kind.launch(job_id="x" * 200 + "é"))
    assert len(long.name) <= 256
    assert len(long.token) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"place": {"stage": None}}, "does not say its emr.stage (e.g. s3://BUCKET/sfbatch)"),
        ({"place": {"clusterID": "x"}}, "there is no emr.clusterID"),
        ({"place": {"stage": "file:///tmp"}}, "is no address in S3"),
        ({"fetch": {"a": "file:///etc/passwd"}}, "on EMR dependencies and configs are addresses in S3"),
        ({"requirements": "requirements.txt"}, "a Python environment needs --deploy-mode cluster"),
    ],
)
def test_a_job_that_cannot_run_there_is_refused_with_the_reason(steps, change, message):
    steps.emr.update(change.get("place", {}))
    directory = steps.launch().directory
    (directory / "requirements.txt").write_text("")
    more = {"requirements": directory / "requirements.txt"} if "requirements" in change else {}
    steps.backend.submit(steps.launch(fetch=change.get("fetch", {}), **more))
    assert message in (directory / "initFailureDetails.txt").read_text()
    assert steps.backend.poll("j", directory).reason is Reason.NOT_STARTED
    assert steps.runs() == []


def test_what_aws_refuses_is_told_and_what_it_cannot_take_now_is_tried_again(steps, monkeypatch):
    launch = steps.launch()
    run = steps.service.prepare(launch)
    monkeypatch.setattr(steps.service, "prepare", lambda _: run)
    clients = Recorded(
        ("emr", "add_job_flow_steps", None, "ThrottlingException"),
        ("emr", "add_job_flow_steps", None, "ValidationException"),
    )
    monkeypatch.setattr(steps.service, "_clients", clients)
    steps.backend.submit(launch)
    assert steps.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED
    steps.backend.submit(launch)  # at once: waits for its time
    monkeypatch.setattr(remote, "PAUSE_MS", 0)
    steps.backend.submit(launch)
    clients.all_were_asked()
    assert steps.backend.poll("j", launch.directory).reason is Reason.NOT_STARTED
    assert "ValidationException" in (launch.directory / "initFailureDetails.txt").read_text()


def test_a_request_without_an_answer_is_unclear_and_one_without_a_connection_is_not(steps, monkeypatch):
    run = steps.service.prepare(steps.launch())
    client = Clients().get("emr", REGION, once=True)
    assert client.meta.config.retries["total_max_attempts"] == 1  # botocore itself never repeats it

    def no_answer(**_):
        raise ReadTimeoutError(endpoint_url="x")

    monkeypatch.setattr(client, "add_job_flow_steps", no_answer)
    monkeypatch.setattr(steps.service._clients, "get", lambda *_, **__: client)
    with pytest.raises(remote.Unclear):
        steps.service.start(run)


# -- recorded shapes, for what moto does not simulate


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
