"""A Spark job through the job server, from `sfbatch.jobs.submit` to the batches on its page; the wheel has all it needs."""

import socket
import subprocess
import sys
import time

import httpx
import pytest
import sfbatch
from checker import Metastore
from pymetastore.hive_metastore import ttypes
from sfbatch.jobs.api import Api, JobServerError
from writer import on_one_spark

JOB = """
import sys

import sfbatch
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

mine, theirs = sys.argv[1:]
spark = sfbatch.configure_spark(SparkSession.builder.appName("job")).getOrCreate()
rows = spark.createDataFrame([(1, "a", "20161001"), (2, "b", "20161002")], "id bigint, item string, day string")
rows.write.format("sfbatch").mode("append").partitionBy("day").save(mine)
rows.where("day = '20161002'").write.format("sfbatch").mode("overwrite").save(mine)
try:
    rows.write.format("sfbatch").mode("overwrite").save(theirs)
except AnalysisException as error:
    print("refused:", error.getErrorClass())
print("rows:", spark.table(mine).count())
"""


@pytest.fixture
def server(home, metastore):
    """`sfbatch server` in the home of the metastore; yields its Api."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from sfbatch.cli import main; main()", "server", "--port", str(port)]
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        give_up = time.monotonic() + 240
        while True:
            try:
                api = Api(f"http://127.0.0.1:{port}")
                api.call("GET", "me")
                break
            except JobServerError:
                assert process.poll() is None, (home / "server.log").read_text()
                assert time.monotonic() < give_up
                time.sleep(0.1)
        yield api
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture
def bound(server, db):
    """The server's cluster may write only `scratch` and what is named like `db`; afterwards all again: the home is every test's."""
    limits = {"sfbatch": {"writeDatabases": ["scratch", f"{db[:4]}*"]}}
    server.call("PATCH", "clusters", "local", body=[{"op": "add", "path": "/metadata", "value": limits}])
    yield
    server.call("PATCH", "clusters", "local", body=[{"op": "remove", "path": "/metadata"}])


@on_one_spark
@pytest.mark.usefixtures("bound")
def test_a_spark_job_s_batches_are_on_its_page_and_it_writes_nothing_else(home, server, db, spark, metastore, tmp_path):
    with Metastore(metastore.uri) as client:
        client.create_database(ttypes.Database(name=f"prod_{db}", locationUri=f"{metastore.warehouse}/prod_{db}.db"))
    (tmp_path / "job.py").write_text(JOB)
    conf = {"spark.master": "local[1]", "spark.ui.enabled": "false", "spark.driver.memory": "1g"}
    job = sfbatch.jobs.submit(tmp_path / "job.py", [f"{db}.t", f"prod_{db}.t"], conf=conf, api=server)
    state = job.wait(timeout_s=600, check=False)
    assert state.status == "SUCCEEDED", (state, job.log(), job.log("stderr")[-4000:])
    assert job.log().splitlines() == ["refused: SFBATCH_NO_PERMISSION", "rows: 2"]

    history = spark.sql(f"CALL sfbatch.history(table => '{db}.t')").collect()
    written = {(row.version, row.partition, row.batch_id) for row in history if row.operation == "write"}
    assert {row.job_id for row in history} == {job.id}
    told = {(v["version"], name, batch) for v in job.batches() for name, batch in v["partitions"].items()}
    assert told == written
    assert {name for _, name, _ in told} == {"day=20161001", "day=20161002"}

    token = (home / "jobs/token").read_text().strip()
    headers = {"Accept": "text/html", "Authorization": f"Bearer {token}"}
    page = httpx.get(job.url, headers=headers, timeout=60, trust_env=False).text
    for _, name, batch in written:
        assert name in page
        assert batch in page
    assert f"{db}.t" in page
