"""configure_spark: the right jar, nothing taken away, and a clear error where it cannot work. No JVM is started here."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import sfbatch
from sfbatch.installed import SUPPORTED, installed_spark


class Builder:
    """What configure_spark uses of PySpark's builder."""

    def __init__(self, **options):
        self._options = options

    def config(self, key, value):
        self._options[key] = value

    def enableHiveSupport(self):  # noqa: N802
        self._options["spark.sql.catalogImplementation"] = "hive"


@pytest.fixture(autouse=True)
def no_jvm(monkeypatch):
    monkeypatch.setattr("sfbatch.spark._jvm", lambda: None)


def configured(conf=None, **options):
    builder = Builder(**options)
    assert sfbatch.configure_spark(builder, conf) is builder
    return builder._options


def test_a_bare_builder_gets_four_settings():
    assert configured() == {
        "spark.jars": str(sfbatch.jar_path()),
        "spark.sql.extensions": "sfbatch.SfBatchExtensions",
        "spark.sql.catalog.spark_catalog": "sfbatch.SfBatchCatalog",
        "spark.sql.catalogImplementation": "hive",
    }


def test_what_is_there_stays():
    delta = {
        "spark.jars": "/delta.jar",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    }
    options = configured(**delta)
    assert options["spark.jars"] == f"/delta.jar,{sfbatch.jar_path()}"
    assert options["spark.sql.extensions"] == "io.delta.sql.DeltaSparkSessionExtension,sfbatch.SfBatchExtensions"
    assert options["spark.sql.catalog.spark_catalog"] == delta["spark.sql.catalog.spark_catalog"]


def test_configuring_twice_is_configuring_once():
    once = configured()
    assert configured(**once) == once


def test_conf_wins_and_forces_the_jar(monkeypatch):
    monkeypatch.setenv("SPARK_HOME", "/nowhere")
    monkeypatch.setattr("sfbatch.installed._from_pip", lambda: None)
    options = configured({"spark.jars": "/mine.jar", "spark.sql.catalog.spark_catalog": "mine"})
    assert (options["spark.jars"], options["spark.sql.catalog.spark_catalog"]) == ("/mine.jar", "mine")


def test_spark_defaults_and_submit_args_are_added_to(tmp_path, monkeypatch):
    (tmp_path / "spark-defaults.conf").write_text("# theirs\nspark.jars  /a.jar,/b.jar\nspark.sql.extensions=a.Ext\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--conf spark.sql.extensions=b.Ext --name 'a b' pyspark-shell")
    options = configured()
    assert options["spark.jars"] == f"/a.jar,/b.jar,{sfbatch.jar_path()}"
    assert options["spark.sql.extensions"] == "b.Ext,sfbatch.SfBatchExtensions"


def test_jars_in_submit_args_would_hide_ours_and_are_named(monkeypatch):
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--jars /a.jar pyspark-shell")
    with pytest.raises(sfbatch.SparkError, match="PYSPARK_SUBMIT_ARGS") as error:
        configured()
    assert error.value.code == "SFBATCH_SPARK_RUNNING"


def test_a_spark_connect_client_is_refused():
    with pytest.raises(sfbatch.SparkError, match="Connect server"):
        configured(**{"spark.remote": "sc://localhost"})


def a_spark(folder, version, scala):
    (folder / "jars").mkdir(parents=True)
    (folder / "jars" / f"spark-core_{scala}-{version}.jar").write_text("")
    return str(folder)


@pytest.mark.parametrize(("line", "scala"), SUPPORTED.items())
def test_spark_home_chooses_the_jar(tmp_path, monkeypatch, line, scala):
    monkeypatch.setenv("SPARK_HOME", a_spark(tmp_path, f"{line}.1", scala))
    assert (
        sfbatch.jar_path().name == f"sfbatch-spark-{'4' if scala == '2.13' else line}_{scala}-{sfbatch.__version__}.jar"
    )


@pytest.mark.parametrize(("version", "scala"), [("3.4.4", "2.12"), ("3.5.6", "2.13"), ("4.4.0", "2.13")])
def test_another_spark_is_refused_and_the_known_ones_are_named(tmp_path, monkeypatch, version, scala):
    monkeypatch.setenv("SPARK_HOME", a_spark(tmp_path, version, scala))
    with pytest.raises(sfbatch.SparkError, match=f"{version}.*runs on Spark 3.5, 4.0, 4.1, 4.2, 4.3, with") as error:
        sfbatch.jar_path()
    assert error.value.code == "SFBATCH_SPARK_UNSUPPORTED"


def test_a_spark_home_without_spark_is_refused_as_pyspark_would(monkeypatch):
    monkeypatch.setenv("SPARK_HOME", "/nowhere")
    with pytest.raises(sfbatch.SparkError, match="SFBATCH_SPARK_NOT_FOUND.*SPARK_HOME=/nowhere"):
        sfbatch.jar_path()


def test_no_spark_at_all_is_named(monkeypatch):
    monkeypatch.setattr("sfbatch.installed._from_pip", lambda: None)
    monkeypatch.setattr("sfbatch.installed._from_findspark", lambda: None)
    with pytest.raises(sfbatch.SparkError, match="SFBATCH_SPARK_NOT_FOUND.*SPARK_HOME"):
        sfbatch.jar_path()


def test_findspark_finds_it_when_pip_has_none(tmp_path, monkeypatch):
    home = a_spark(tmp_path, "4.0.2", "2.13")
    monkeypatch.setattr("sfbatch.installed._from_pip", lambda: None)
    monkeypatch.setattr("findspark.find", lambda: home)
    assert installed_spark().home == Path(home)


def test_the_wheel_holds_both_jars():
    wheels = list((Path(__file__).parents[2] / "python" / "dist").glob("*.whl"))
    assert len(wheels) == 1
    jars = sorted(Path(name).name for name in zipfile.ZipFile(wheels[0]).namelist() if name.endswith(".jar"))
    assert jars == [f"sfbatch-spark-{spark}-{sfbatch.__version__}.jar" for spark in ("3.5_2.12", "4_2.13")]


def test_importing_sfbatch_imports_no_pyspark():
    code = "import sys, sfbatch; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "words", [[], ["jar"], ["metastore"], ["metastore", "start"], ["metastore", "stop"], ["metastore", "status"]]
)
def test_every_help_has_an_example(words):
    out = command(*words, "--help").stdout
    assert "Example" in out
    assert "sfbatch" in out


def test_the_command_tells_version_and_jar():
    assert command("--version").stdout.strip() == sfbatch.__version__
    assert command("jar").stdout.strip() == str(sfbatch.jar_path())


def test_an_error_is_one_line_with_its_code(tmp_path):
    ended = command("jar", SPARK_HOME=a_spark(tmp_path / "spark", "3.1.0", "2.12"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("[SFBATCH_SPARK_UNSUPPORTED]")
    assert len(ended.stderr.splitlines()) == 1


def command(*words, **env):
    return subprocess.run(
        [Path(sys.executable).with_name("sfbatch"), *words],
        env={**os.environ, **env, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
