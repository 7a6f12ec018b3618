"""The laptop's metastore: one per directory, found again, told from a dead one, never for a cluster."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sfbatch
from at_once import Running
from checker import Metastore
from pymetastore.hive_metastore import ttypes
from sfbatch import local_metastore
from sfbatch.installed import installed_spark
from writer import is_stopped, on_one_spark, wait_for

START = "from sfbatch import local_metastore; m = local_metastore.start(); print(m.pid, m.uri)"


def start_elsewhere(home, **env):
    return subprocess.Popen(
        [sys.executable, "-c", START],
        env={**os.environ, "SFBATCH_HOME": str(home), **env},
        stdout=subprocess.PIPE,
        text=True,
    )


@on_one_spark
def test_it_is_no_part_of_the_job_that_started_it(tmp_home, monkeypatch):
    monkeypatch.setenv("GENIE_JOB_DIR", "/a/job")
    monkeypatch.setenv("SFBATCH_JOB_ID", "a-job")
    started = local_metastore.start(tmp_home)
    variables = {line.partition(b"=")[0] for line in Path(f"/proc/{started.pid}/environ").read_bytes().split(b"\0")}
    assert b"SFBATCH_HOME" in variables
    assert not variables & {b"GENIE_JOB_DIR", b"SFBATCH_JOB_ID"}


@on_one_spark
def test_eight_processes_at_once_start_one_server(tmp_home):
    starting = [start_elsewhere(tmp_home) for _ in range(8)]
    try:
        told = {process.communicate(timeout=600)[0] for process in starting}
    finally:
        for process in starting:
            process.kill()
    assert len(told) == 1
    assert [process.returncode for process in starting] == [0] * 8


@on_one_spark
def test_a_killed_server_is_found_dead_and_the_next_has_its_tables_and_its_port(tmp_home, lasting_port):
    first = local_metastore.start(tmp_home)
    with Metastore(first.uri) as client:
        client.create_database(ttypes.Database(name="kept", locationUri=f"{first.warehouse}/kept.db"))
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: local_metastore.find(tmp_home) is None)
    second = local_metastore.start(tmp_home)
    assert second.pid != first.pid
    assert first.port == second.port == lasting_port
    with Metastore(second.uri) as client:
        assert client.get_all_databases() == ["default", "kept"]


def test_the_default_database_is_the_warehouse_directory(metastore, home):
    with Metastore(metastore.uri) as client:
        assert client.get_database("default").locationUri == f"file:{home}/warehouse"
    assert (home / "warehouse").is_dir()


@on_one_spark
@pytest.mark.usefixtures("lasting_port")
def test_a_port_taken_by_another_program_is_not_a_metastore(tmp_home):
    first = local_metastore.start(tmp_home)
    local_metastore.stop(tmp_home)
    with socket.create_server(("127.0.0.1", first.port)):
        assert local_metastore.find(tmp_home) is None
        assert local_metastore.start(tmp_home).port != first.port


def test_it_listens_on_the_loopback_address_only(metastore):
    listening = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else pytest.skip("no /proc here")
    assert f" 0100007F:{metastore.port:04X} " in listening
    assert f" 00000000:{metastore.port:04X} " not in listening


def test_an_exclusive_lock_excludes_until_it_is_unlocked(metastore):
    def lock(client, who):
        component = ttypes.LockComponent(
            type=ttypes.LockType.EXCLUSIVE, level=ttypes.LockLevel.TABLE, dbname="sfbatch", tablename="1234#sfbatch",
            operationType=ttypes.DataOperationType.NO_TXN,
        )  # fmt: skip
        return client.lock(ttypes.LockRequest([component], user=who, hostname="h", agentInfo=who))

    with Metastore(metastore.uri) as one, Metastore(metastore.uri) as two:
        first, second = lock(one, "one"), lock(two, "two")
        assert (first.state, second.state) == (ttypes.LockState.ACQUIRED, ttypes.LockState.WAITING)
        one.unlock(ttypes.UnlockRequest(first.lockid))
        assert two.check_lock(ttypes.CheckLockRequest(second.lockid)).state == ttypes.LockState.ACQUIRED
        two.unlock(ttypes.UnlockRequest(second.lockid))


@on_one_spark
def test_a_request_beside_a_switch_finds_all_partitions_before_it_or_all_after_it(metastore, db, tmp_path):
    columns = [ttypes.FieldSchema("id", "int", "")]
    serde = ttypes.SerDeInfo(serializationLib="org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe", parameters={})

    def storage(name):
        return ttypes.StorageDescriptor(
            cols=columns, location=f"file:{tmp_path}/{name}", inputFormat="org.apache.hadoop.mapred.TextInputFormat",
            outputFormat="org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat", serdeInfo=serde, bucketCols=[],
            sortCols=[], parameters={},
        )  # fmt: skip

    def showing(name):
        days = [f"{day:03d}" for day in reversed(range(60))]  # readers scan them in order
        return [ttypes.Partition(values=[day], dbName=db, tableName="t", sd=storage(f"{name}/{day}"), parameters={}) for day in days]  # fmt: skip

    with Metastore(metastore.uri) as writer, Metastore(metastore.uri) as reader:
        writer.create_table(
            ttypes.Table(
                tableName="t",
                dbName=db,
                sd=storage("t"),
                partitionKeys=[ttypes.FieldSchema("day", "string", "")],
                parameters={"EXTERNAL": "TRUE"},
                tableType="EXTERNAL_TABLE",
            )
        )
        writer.add_partitions(showing("switch0"))
        seen = []

        def switch():
            for n in range(1, 301):
                writer.alter_partitions(db, "t", showing(f"switch{n}"))
                if n >= 10 and len(set().union(*seen)) > 1:
                    break

        switching = Running(switch)
        while not switching.done:
            seen.append({one.sd.location.split("/")[-2] for one in reader.get_partitions(db, "t", -1)})
        switching.result()
    assert {len(names) for names in seen} == {1}
    assert len(set().union(*seen)) > 1


@on_one_spark
def test_it_survives_the_driver_that_started_it_and_ctrl_c(tmp_home):
    driver = start_elsewhere(tmp_home)
    driver.communicate(timeout=300)
    running = local_metastore.find(tmp_home)
    os.kill(running.pid, signal.SIGINT)
    time.sleep(1)
    assert local_metastore.find(tmp_home) == running


@on_one_spark
def test_one_that_hangs_is_not_taken_for_running_and_can_be_stopped(tmp_home, lasting_port):
    hanging = local_metastore.start(tmp_home)
    os.kill(hanging.pid, signal.SIGSTOP)
    wait_for(lambda: is_stopped(hanging.pid))
    assert local_metastore.find(tmp_home) is None
    assert local_metastore.stop(tmp_home, timeout_s=16) is True
    assert local_metastore.start(tmp_home).port == hanging.port == lasting_port


@on_one_spark
def test_what_goes_wrong_in_it_is_shown_with_the_end_of_its_log(tmp_home):
    (tmp_home / "metastore").mkdir(parents=True)
    (tmp_home / "metastore" / "derby").write_text("not a database")
    with pytest.raises(sfbatch.MetastoreError, match="(?s)SFBATCH_METASTORE_FAILED.*Derby X") as error:
        local_metastore.start(tmp_home)
    assert error.value.code == "SFBATCH_METASTORE_FAILED"


def test_a_home_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(sfbatch.MetastoreError, match="SFBATCH_METASTORE_FAILED.*SFBATCH_HOME"):
        local_metastore.start(tmp_path / "file" / "home")


def test_a_database_of_a_newer_spark_is_refused_with_the_way_out(tmp_home):
    other = Path(
        os.environ.get("SFBATCH_TEST_SPARK_4", Path(__file__).parents[2] / ".venv" / "spark-4.0" / "bin" / "python")
    )
    if installed_spark().line != "3.5" or not other.exists():
        pytest.skip("needs both Sparks, and this one to be 3.5")
    env = {**os.environ, "SFBATCH_HOME": str(tmp_home)}
    told = subprocess.run([other, "-c", START], env=env, capture_output=True, text=True, check=True).stdout
    assert local_metastore.start(tmp_home).uri == told.split()[1]
    local_metastore.stop(tmp_home)
    with pytest.raises(sfbatch.MetastoreError, match="SFBATCH_METASTORE_TOO_NEW.*PySpark 4"):
        local_metastore.start(tmp_home)


def test_a_session_finds_it_and_says_so_in_one_line(metastore, run_driver):
    ended = run_driver("from conftest import small_session; print(small_session().sql('show databases').count() > 0)")
    assert ended.out.strip() == "True"
    assert ended.err.count("sfbatch:") == 1
    assert f"using the local metastore {metastore.uri}" in ended.err


def test_a_session_starts_it_when_there_is_none(tmp_home, run_driver):
    script = "from conftest import small_session; s = small_session(); s.sql('create table x (a int) using parquet'); print(s.sql('describe formatted x').where(\"col_name = 'Location'\").first()[1])"
    ended = run_driver(script, env={"SFBATCH_HOME": str(tmp_home)})
    assert "started the local metastore" in ended.err
    assert ended.out.strip() == f"file:{tmp_home}/warehouse/x"
    assert local_metastore.find(tmp_home)


@on_one_spark
def test_the_environment_names_another_metastore_and_nothing_is_started(metastore, tmp_path, run_driver):
    script = "from conftest import small_session; s = small_session(); print(s.sparkContext._jsc.hadoopConfiguration().get('hive.metastore.uris'), s.sql('show databases').count())"
    empty = tmp_path / "empty"
    conf = "s = small_session(**{'spark.hadoop.hive.metastore.uris': 'thrift://127.0.0.1:1'})"
    ended = run_driver(
        script.replace("s = small_session()", conf),
        env={"SFBATCH_HOME": str(empty), "SFBATCH_METASTORE_URI": metastore.uri},
    )
    assert ended.out.split()[0] == metastore.uri
    assert not empty.exists()


@on_one_spark
def test_a_metastore_in_hive_site_is_used_and_nothing_is_started(metastore, tmp_path, run_driver):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "hive-site.xml").write_text(
        f"<configuration><property><name>hive.metastore.uris</name><value>{metastore.uri}</value></property></configuration>"
    )
    script = "from conftest import small_session; print(small_session().sql('show databases').count() > 0)"
    empty = tmp_path / "empty"
    ended = run_driver(script, env={"SFBATCH_HOME": str(empty), "SPARK_CONF_DIR": str(tmp_path / "conf")})
    assert ended.out.strip() == "True"
    assert not empty.exists()


@pytest.fixture
def cluster():
    """The address of a Spark master without workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    classes = f"{installed_spark().jars}/*"
    master = subprocess.Popen(
        [local_metastore.java(), "-cp", classes, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert time.monotonic() < deadline and master.poll() is None
            time.sleep(0.1)
        yield f"spark://127.0.0.1:{port}"
    finally:
        master.kill()
        master.wait()


@on_one_spark
def test_a_cluster_without_a_metastore_is_refused_by_the_setting_that_lacks(tmp_path, run_driver, cluster):
    script = f"""
from conftest import small_session
try:
    small_session(**{{"spark.master": "{cluster}"}})
except Exception as error:
    print(str(error))
"""
    empty = tmp_path / "empty"
    ended = run_driver(script, env={"SFBATCH_HOME": str(empty)})
    assert "[SFBATCH_NO_METASTORE]" in ended.out + ended.err
    assert "spark.hadoop.hive.metastore.uris" in ended.out + ended.err
    assert not empty.exists()


@on_one_spark
def test_the_command_starts_stops_and_tells(tmp_home):
    def command(*words):
        env = {**os.environ, "SFBATCH_HOME": str(tmp_home)}
        return subprocess.run(
            [Path(sys.executable).with_name("sfbatch"), *words], env=env, capture_output=True, text=True, check=False
        )

    assert command("metastore", "status").returncode == 3
    started = json.loads(command("metastore", "start", "--json").stdout)
    assert started == json.loads(command("metastore", "status", "--json").stdout)
    assert started["running"] is True
    assert command("metastore", "stop").stdout.strip() == "stopped"
    assert json.loads(command("metastore", "stop", "--json").stdout)["stopped"] is False


@pytest.mark.parametrize("java_home", ["/nowhere", "old"])
def test_a_missing_or_old_java_is_named(tmp_path, monkeypatch, java_home):
    if java_home == "old":
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
        java.chmod(0o755)
        java_home = str(tmp_path)
    monkeypatch.setenv("JAVA_HOME", java_home)
    with pytest.raises(sfbatch.MetastoreError, match="SFBATCH_JAVA_NOT_FOUND.*17"):
        local_metastore.start(tmp_path / "home")
