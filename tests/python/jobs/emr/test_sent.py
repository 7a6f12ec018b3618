"""What EMR is sent: arguments, files, packages, tokens; and what is refused before."""

from collections import Counter

import pytest
from aws import BUCKET, CLIENTS, REGION, ROLE, Recorded
from botocore.exceptions import ReadTimeoutError
from sfbatch.jobs import kit
from sfbatch.jobs.backends import Phase, Reason, remote
from sfbatch.jobs.backends.aws import Clients
from sfbatch.jobs.backends.emr_serverless import EmrServerless
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.spark_submit import SparkSubmit


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
