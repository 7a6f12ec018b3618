"""A spark-submit line is taken apart and put together without losing a word of the user's."""

import subprocess
import sys
import zipfile

import pytest
from sfbatch.errors import SparkError
from sfbatch.jobs import kit
from sfbatch.jobs.backends import Reason, local
from sfbatch.jobs.backends.local import LocalBackend
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.spark_submit import SparkSubmit, is_spark_submit, with_sfbatch
from sfbatch.jobs.verdict import verdict
from test_local import ended, launch


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("job.py 1 2", "job.py 1 2"),
        ("--master yarn -v --name x job.py --jars a.jar", "--master yarn --verbose --name x job.py --jars a.jar"),
        ("--jars a.jar --jars=b.jar,a.jar job.py", "--jars a.jar,b.jar job.py"),
        ("-c a=1 --conf a=2 --conf b=c=d job.py", "--conf a=2 --conf b=c=d job.py"),
        ("--class A --conf spark.jars=x.jar --jars y.jar app.jar", "--class A --jars y.jar,x.jar app.jar"),
        ("--unknown x job.py", "--unknown x job.py"),
        ("--master", "--master"),
        ("", ""),
    ],
)
def test_lines(line, again):
    assert SparkSubmit.parse(line.split()).words() == again.split()


def test_ours_is_added_to_what_the_user_has():
    line = SparkSubmit.parse(
        [
            "--jars",
            "theirs.jar",
            "--conf",
            "spark.sql.extensions=delta.X",
            "--conf",
            "spark.sql.catalog.spark_catalog=Y",
            "job.py",
        ]
    )
    for _ in range(2):
        with_sfbatch(line, "ours.jar", "ours.zip")
    assert line.lists == {"--jars": ["theirs.jar", "ours.jar"], "--py-files": ["ours.zip"]}
    assert line.conf == {
        "spark.sql.extensions": "delta.X,sfbatch.SfBatchExtensions",
        "spark.sql.catalog.spark_catalog": "Y",
    }


def test_the_deploy_mode_and_the_program_are_known():
    assert SparkSubmit.parse(["x.py"]).deploy_mode == "client"
    assert SparkSubmit.parse(["--deploy-mode", "client", "--deploy-mode=cluster", "x.py"]).deploy_mode == "cluster"
    assert SparkSubmit.parse(["-c", "spark.submit.deployMode=cluster", "x.py"]).deploy_mode == "cluster"
    assert is_spark_submit(["/opt/spark/bin/spark-submit", "--x"])
    assert not is_spark_submit(["python", "spark-submit"])
    assert not is_spark_submit([])


def test_the_package_travels_as_a_zip_that_can_be_imported(tmp_path):
    path = kit.package_zip(tmp_path)
    assert kit.package_zip.__wrapped__(tmp_path) == path  # its name follows from its content
    names = zipfile.ZipFile(path).namelist()
    assert "sfbatch/__init__.py" in names
    assert not [name for name in names if name.endswith((".jar", ".pyc"))]
    script = "import sys; sys.path.insert(0, sys.argv[1]); import sfbatch; print(sfbatch.__file__, sfbatch.__version__)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, path], capture_output=True, text=True)
    assert done.stdout.startswith(str(path)), done.stderr


def test_a_local_spark_job_gets_our_jar_package_and_settings(tmp_path, monkeypatch):
    backend = LocalBackend(Settings(home=tmp_path))
    monkeypatch.setattr(local.kit, "jar_for", lambda line: f"/jars/{line}.jar")
    asked = launch(tmp_path, "", spark="3.5")
    words = ["/opt/spark/bin/spark-submit", "--jars", "a.jar", "job.py", "1"]
    asked = asked.__class__(**{**asked.__dict__, "arguments": words, "program": words[:1]})
    package = kit.package_zip(tmp_path / "jobs/kit")
    assert backend._prepared(asked)[0] == [
        "/opt/spark/bin/spark-submit", "--jars", "a.jar,/jars/3.5.jar", "--py-files", str(package),
        "--conf", "spark.sql.extensions=sfbatch.SfBatchExtensions", "--conf", "spark.sql.catalog.spark_catalog=sfbatch.SfBatchCatalog",
        "--conf", "spark.sfbatch.job-id=j", "job.py", "1",
    ]  # fmt: skip


def test_the_spark_of_a_first_start_runs_with_the_python_it_is_installed_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no Spark there
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    monkeypatch.setattr(local.kit, "jar_for", lambda line: f"/jars/{line}.jar")
    asked = launch(tmp_path, "", spark="installed")
    asked = asked.__class__(**{**asked.__dict__, "arguments": ["spark-submit", "job.py"], "program": ["spark-submit"]})
    words, environment = LocalBackend(Settings(home=tmp_path))._prepared(asked)
    assert environment == {"PYSPARK_PYTHON": sys.executable}
    assert words[:3] == ["spark-submit", "--jars", "/jars/installed.jar"]
    assert "--py-files" not in words  # it has sfbatch
    monkeypatch.setenv("PYSPARK_PYTHON", "/opt/python")  # an operator's choice stays
    words, environment = LocalBackend(Settings(home=tmp_path))._prepared(asked)
    assert environment == {}
    assert "--py-files" in words


def test_without_a_jar_for_its_spark_a_job_is_refused_unless_it_takes_what_is_installed(tmp_path, monkeypatch):
    backend = LocalBackend(Settings(home=tmp_path))
    asked = launch(tmp_path, "")
    words = ["spark-submit", "job.py"]
    for line, refused in (("3.4", True), ("installed", False)):
        one = asked.__class__(**{**asked.__dict__, "arguments": words, "program": words[:1], "spark": line})
        monkeypatch.setenv("SPARK_HOME", str(tmp_path))  # no Spark there
        if refused:
            with pytest.raises(SparkError, match="SFBATCH_SPARK_UNSUPPORTED"):
                backend._prepared(one)
        else:
            assert backend._prepared(one)[0] == ["spark-submit", "--conf", "spark.sfbatch.job-id=j", "job.py"]


def pips_spark(top, version):
    """What pip leaves: the script beside Python, Spark among the packages."""
    scala = "2.12" if version.startswith("3") else "2.13"
    jars = top / "lib/python3.11/site-packages/pyspark/jars"
    jars.mkdir(parents=True)
    (jars / f"spark-core_{scala}-{version}.jar").touch()
    (top / "bin").mkdir()
    (top / "bin/find_spark_home.py").touch()
    (top / "bin/spark-submit").write_text('#!/bin/sh\necho "$SPARK_HOME"\n')
    (top / "bin/spark-submit").chmod(0o755)
    return jars.parent


def submitted(tmp_path, job_id, spark):
    backend = LocalBackend(Settings(home=tmp_path))
    asked = launch(tmp_path, "", job_id)
    words = ["spark-submit", "job.py"]
    asked = asked.__class__(**{**asked.__dict__, "arguments": words, "program": words[:1], "spark": spark})
    backend.submit(asked)
    return asked, ended(backend, asked)


def test_pips_spark_submit_is_told_where_its_spark_is(tmp_path, monkeypatch):
    home = pips_spark(tmp_path / "venv", "3.5.6")
    monkeypatch.setenv("PATH", f"{tmp_path / 'venv/bin'}:/usr/bin:/bin")
    asked, report = submitted(tmp_path, "a", None)
    assert (report.exit_code, (asked.directory / "stdout").read_text()) == (0, f"{home}\n")


def test_another_spark_than_the_command_says_is_not_started(tmp_path, monkeypatch):
    home = pips_spark(tmp_path / "venv", "4.0.2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'venv/bin'}:/usr/bin:/bin")
    monkeypatch.setattr(local.kit, "jar_for", lambda line: f"/jars/{line}.jar")
    asked, report = submitted(tmp_path, "a", "3.5")
    assert report.reason is Reason.NOT_STARTED
    told = verdict(report, asked.directory)["status_msg"]
    assert told.startswith(
        "Job initialization failed, further details available in the job output directory: [SFBATCH_"
    )
    assert f'says spark: "3.5", but its spark-submit starts Spark 4.0.2 ({home})' in told
    for spark in ("4.0", "installed"):
        asked, report = submitted(tmp_path, spark, spark)
        assert report.exit_code == 0
        assert "/jars/4.0.jar" in (asked.directory / "genie/launch.json").read_text()
