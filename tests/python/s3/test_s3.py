"""S3 through S3A, against a local S3 server: what is written with sfbatch is read by a stock session that has S3A and nothing of ours."""

import re
import time
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest
from at_once import at_once
from s3_server import S3Server
from sfbatch.installed import installed_spark
from sfbatch.spark import CATALOG, EXTENSION, jar_path
from stock import StockSpark
from writer import on_one_spark, wait_for

#: The formats are Spark's; which file systems they meet is the same for all.
FORMATS = ["parquet", pytest.param("orc", marks=on_one_spark), pytest.param("text", marks=on_one_spark)]
#: AWS SDK v1 sends keys of KMS by HTTPS only.
SEALED = (
    {"algorithm": "AES256"}
    if installed_spark().line == "3.5"
    else {"algorithm": "SSE-KMS", "key": "arn:aws:kms:us-east-1:111122223333:key/of-the-lake"}
)
JARS = Path(__file__).parents[3] / "build" / f"s3-{installed_spark().line}.classpath"


@pytest.fixture(scope="module")
def s3():
    server = S3Server("lake", "sealed", "plain", "inmemory", "parts")
    yield server
    server.close()


@pytest.fixture(scope="module")
def new_session(s3, metastore, tmp_path_factory):
    """`new_session(ours=True)`: a driver with S3A in a process of its own, with sfbatch or stock."""
    assert JARS.exists(), "run `make build/.s3`"
    started = []

    def start(*, ours):
        settings = {
            "spark.driver.extraClassPath": JARS.read_text(),
            "spark.hadoop.fs.s3a.endpoint": s3.endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
            "spark.hadoop.fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            "spark.hadoop.fs.s3a.access.key": "any",
            "spark.hadoop.fs.s3a.secret.key": "any",
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            **{f"spark.hadoop.fs.s3a.bucket.sealed.encryption.{key}": value for key, value in SEALED.items()},
            "spark.hadoop.fs.s3a.bucket.parts.multipart.size": "1M",
            "spark.hadoop.fs.s3a.bucket.plain.committer.magic.enabled": "false",
            "spark.hadoop.fs.s3a.bucket.inmemory.committer.magic.track.commits.in.memory.enabled": "true",
        }
        if not ours:  # writes as Spark's documents say
            cloud = "org.apache.spark.internal.io.cloud"
            settings |= {
                "spark.hadoop.fs.s3a.committer.name": "magic",
                "spark.hadoop.fs.s3a.committer.magic.enabled": "true",
                "spark.sql.sources.commitProtocolClass": f"{cloud}.PathOutputCommitProtocol",
                "spark.sql.parquet.output.committer.class": f"{cloud}.BindingParquetOutputCommitter",
            }
        if ours:
            settings |= {
                "spark.jars": jar_path(),
                "spark.sql.extensions": EXTENSION,
                "spark.sql.catalog.spark_catalog": CATALOG,
            }
        folder = tmp_path_factory.mktemp("s3")
        (folder / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        session = StockSpark(metastore.uri, folder, env={"SPARK_CONF_DIR": str(folder)})
        started.append(session)
        return session

    yield start
    for session in started:
        session.close()


@pytest.fixture(scope="module")
def ours(new_session):
    return new_session(ours=True)


@pytest.fixture(scope="module")
def stock(new_session):
    return new_session(ours=False)


def places(s3, bucket, prefix):
    """Where data files lie: `20161001/20161103101500`."""
    return [re.sub(r"/[^/]*$", "", key[len(prefix) + 1 :]) for key in s3.keys(bucket, prefix) if "/part-" in key]


def test_written_rewritten_appended_rolled_back_and_read_by_a_stock_session(s3, ours, stock):
    table = "trip.events"  # s3://, mapped to S3A; the other tests are on s3a://
    ours.sql("CREATE DATABASE trip LOCATION 's3://lake/trip'")
    read = f"SELECT id, item, day FROM {table} ORDER BY id"
    first, second = [1, "a", "20161001"], [2, "b", "20161002"]
    ours.sql(f"CREATE TABLE {table} (id BIGINT, item STRING, day STRING) USING sfbatch PARTITIONED BY (day)")
    assert stock.sql(read) == []
    ours.sql(f"INSERT INTO {table} VALUES (1, 'a', '20161001'), (2, 'b', '20161002')")
    assert stock.sql(read) == [first, second]
    ours.sql(f"INSERT OVERWRITE {table} VALUES (3, 'c', '20161001')")
    assert stock.sql(read) == [second, [3, "c", "20161001"]]
    ours.sql(f"INSERT INTO {table} VALUES (4, 'd', '20161001')")
    assert stock.sql(read) == [second, [3, "c", "20161001"], [4, "d", "20161001"]]
    ours.sql(f"CALL sfbatch.rollback(table => '{table}', to => 2)")
    assert stock.sql(read) == [first, second]
    history = ours.sql(f"CALL sfbatch.history(table => '{table}')")
    assert [(row[0], row[3]) for row in history if row[4] in (None, "day=20161001")] == [
        (5, "rollback"), (4, "write"), (3, "write"), (2, "write"), (1, "create"),
    ]  # fmt: skip
    assert ours.sql(f"CALL sfbatch.recover(table => '{table}')") == []
    kept = places(s3, "lake", "trip/events")
    assert sorted({place.split("/")[0] for place in kept}) == ["20161001", "20161002"]
    copies = [request for request in s3.requests if "x-amz-copy-source" in request.headers]
    assert [re.search(r"trip/events/20161001/\d{14}/part-", r.path) is not None for r in copies] == [
        True
    ]  # the append's
    left = [key for key in s3.keys("lake", "trip/events/__magic") if not key.endswith("/")]
    assert left == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_declared_partition_without_rows_is_empty_for_a_stock_session(ours, stock, form):
    ours.sql("CREATE DATABASE IF NOT EXISTS emptied LOCATION 's3a://lake/emptied'")
    table = f"emptied.{form}"
    ours.sql(f"CREATE TABLE {table} (id INT, day STRING) USING sfbatch OPTIONS (format '{form}') PARTITIONED BY (day)")
    ours.sql(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")
    ours.sql(f"INSERT OVERWRITE {table} PARTITION (day = 'a') SELECT 1 WHERE false")
    assert stock.sql(f"SELECT * FROM {table}") == [[2, "b"]]
    assert stock.sql(f"SELECT * FROM {table} WHERE day = 'a'") == []
    ours.sql(f"ALTER TABLE {table} DROP PARTITION (day = 'b')")
    assert stock.sql(f"SELECT count(*) FROM {table}") == [[0]]


@pytest.mark.parametrize("form", FORMATS)
def test_an_unpartitioned_table_is_switched_as_a_whole(ours, stock, form):
    ours.sql("CREATE DATABASE IF NOT EXISTS whole LOCATION 's3a://lake/whole'")
    ours.sql(f"CREATE TABLE whole.{form} (id INT, item STRING) USING sfbatch OPTIONS (format '{form}')")
    assert stock.sql(f"SELECT * FROM whole.{form}") == []
    ours.sql(f"INSERT INTO whole.{form} VALUES (1, 'a')")
    ours.sql(f"INSERT INTO whole.{form} VALUES (2, 'b')")
    assert stock.sql(f"SELECT * FROM whole.{form} ORDER BY id") == [[1, "a"], [2, "b"]]
    ours.sql(f"INSERT OVERWRITE whole.{form} SELECT 3, 'c' WHERE false")
    assert stock.sql(f"SELECT * FROM whole.{form}") == []


def test_an_append_is_copied_by_the_store_and_no_byte_of_its_base_is_read(s3, ours, stock):
    ours.sql("CREATE DATABASE onward LOCATION 's3a://lake/onward'")
    ours.sql("CREATE TABLE onward.t (id BIGINT, day STRING) USING sfbatch PARTITIONED BY (day)")
    names = ["a b", "ü%2F+", "x=1&y"]
    rows = ", ".join(f"({number}, '{name}')" for number, name in enumerate(names))
    ours.sql(f"INSERT INTO onward.t VALUES {rows}")
    base = [key for key in s3.keys("lake", "onward/t") if "/part-" in key]
    since = len(s3.requests)
    ours.sql(f"INSERT INTO onward.t VALUES {rows}")
    requests = s3.requests[since:]
    copied = [unquote(r.headers["x-amz-copy-source"]).lstrip("/") for r in requests if "x-amz-copy-source" in r.headers]
    assert sorted(copied) == sorted(f"lake/{key}" for key in base)
    assert all("uploadId=" in r.query for r in requests if "x-amz-copy-source" in r.headers)
    assert [r for r in requests if r.method == "GET" and r.path.removeprefix("/lake/") in base] == []
    assert stock.sql("SELECT id, day, count(*) FROM onward.t GROUP BY 1, 2 ORDER BY 1") == [
        [number, name, 2] for number, name in enumerate(names)
    ]
    assert all("x-amz-copy-source-range" not in r.headers for r in requests)  # S3 refuses ranges of small objects
    assert open_uploads(s3, "onward/") == []


def test_a_large_file_is_copied_in_parts_and_what_lies_elsewhere_is_read(s3, ours, stock):
    ours.sql("CREATE DATABASE parts LOCATION 's3a://parts/db'")
    ours.sql("CREATE TABLE parts.t (r DOUBLE, day STRING) USING sfbatch PARTITIONED BY (day)")
    rows = "SELECT rand(7) AS r, 'a' AS day FROM range(0, 2000000, 1, 1)"
    ours.sql(f"INSERT INTO parts.t {rows}")
    stock.run("spark.sql('SELECT 0.5D AS r').coalesce(1).write.parquet('s3a://lake/elsewhere')")
    stock.sql("ALTER TABLE parts.t ADD PARTITION (day = 'b') LOCATION 's3a://lake/elsewhere'")
    [base] = [key for key in s3.keys("parts") if "/part-" in key]
    size = s3.client.head_object(Bucket="parts", Key=base)["ContentLength"]
    since = len(s3.requests)
    ours.sql("INSERT INTO parts.t VALUES (2.0, 'a'), (2.0, 'b')")
    copies = [r for r in s3.requests[since:] if base in unquote(r.headers.get("x-amz-copy-source", ""))]
    ranges = sorted(tuple(map(int, r.headers["x-amz-copy-source-range"][6:].split("-"))) for r in copies)
    assert len(ranges) == -(-size // (5 << 20)) > 2
    assert [first for first, _ in ranges] == [0, *(last + 1 for _, last in ranges[:-1])]
    assert ranges[-1][1] == size - 1
    assert [r for r in s3.requests[since:] if r.method == "GET" and r.path.startswith("/lake/elsewhere/part-")] != []
    (day, n, total), second = stock.sql("SELECT day, count(*), sum(r) FROM parts.t GROUP BY 1 ORDER BY 1")
    assert (day, n, total) == ("a", 2000001, pytest.approx(2.0 + stock.sql(f"SELECT sum(r) FROM ({rows})")[0][0]))
    assert second == ["b", 2, 2.5]


@on_one_spark
def test_an_append_whose_copies_fail_publishes_nothing_and_leaves_no_upload(s3, ours, stock):
    ours.sql("CREATE DATABASE halted LOCATION 's3a://lake/halted'")
    ours.sql("CREATE TABLE halted.t (id BIGINT, day STRING) USING sfbatch PARTITIONED BY (day)")
    append = "INSERT INTO halted.t SELECT /*+ COALESCE(1) */ * FROM VALUES (1, 'a'), (2, 'b')"
    ours.sql(append)
    for opens, copies in [([], ["busy", "200", "403"]), ([None, None, None, "403"], [])]:  # two of its own files
        s3.opens, s3.copies = opens, copies
        with pytest.raises(RuntimeError, match="SFBATCH_NO_PERMISSION.*cannot copy s3a://lake/halted/t/"):
            ours.sql(append)
        assert s3.opens == s3.copies == []
        assert stock.sql("SELECT * FROM halted.t ORDER BY id") == [[1, "a"], [2, "b"]]
        assert open_uploads(s3, "halted/") == []
    s3.copies = ["501"]  # a store that has no such request: Spark's tasks copy that file
    shown = {f"/lake/{key}" for key in s3.keys("lake", "halted/t") if "/part-" in key}
    since = len(s3.requests)
    ours.sql(append)
    assert s3.copies == []
    assert len({r.path for r in s3.requests[since:] if r.method == "GET"} & shown) == 1
    assert stock.sql("SELECT id, count(*) FROM halted.t GROUP BY 1 ORDER BY 1") == [[1, 2], [2, 2]]
    assert open_uploads(s3, "halted/") == []


CANCELLED = """
import threading, time
def is_copying():
    jobs = spark._jsc.sc().statusStore().jobsList(None)
    found = [jobs.apply(i) for i in range(jobs.size())]
    return any("copying" in job.description().toString() and job.status().toString() == "RUNNING" for job in found)
def cancel():
    while not is_copying():
        time.sleep(0.02)
    time.sleep(1)
    spark.sparkContext.cancelAllJobs()
threading.Thread(target=cancel, daemon=True).start()
spark.sql("INSERT INTO cancelled.t VALUES (1)")
"""


@on_one_spark
def test_an_append_that_is_cancelled_while_s3_copies_publishes_nothing(s3, ours, stock):
    ours.sql("CREATE DATABASE cancelled LOCATION 's3a://lake/cancelled'")
    ours.sql("CREATE TABLE cancelled.t (id BIGINT) USING sfbatch")
    ours.sql("INSERT INTO cancelled.t VALUES (1)")
    s3.copies = ["slow"]
    with pytest.raises(RuntimeError, match="cancelled"):
        ours.run(CANCELLED)
    assert s3.copies == []
    wait_for(lambda: open_uploads(s3, "cancelled/") == [], 30)
    assert stock.sql("SELECT * FROM cancelled.t") == [[1]]
    ours.sql("INSERT INTO cancelled.t VALUES (1)")
    assert stock.sql("SELECT * FROM cancelled.t") == [[1], [1]]


def open_uploads(s3, prefix):
    return s3.client.list_multipart_uploads(Bucket="lake", Prefix=prefix).get("Uploads", [])


CREATE = """
from concurrent.futures import ThreadPoolExecutor
jvm = spark._jvm
def create(place):
    path = jvm.org.apache.hadoop.fs.Path(place)
    return jvm.sfbatch.Store.of(path, spark._jsc.hadoopConfiguration()).createExclusive(path, b"x")
"""


def test_of_racing_creates_exactly_one_wins(ours):
    race = "with ThreadPoolExecutor(8) as pool: result = [sum(pool.map(create, [f's3a://lake/race/{key}'] * 8)) for key in range(25)]"
    assert ours.run(CREATE + race) == [1] * 25


@pytest.mark.parametrize("faults", [["409", "409"], ["lost"], ["409", "lost", "409"]])
def test_a_create_whose_answer_was_lost_or_that_met_a_conflict_is_its_creators(s3, ours, faults):
    key = f"unclear/{'-'.join(faults)}"
    s3.faults["PUT", f"/lake/{key}"] = list(faults)
    assert ours.run(CREATE + f"result = [create('s3a://lake/{key}'), create('s3a://lake/{key}')]") == [True, False]
    assert s3.faults["PUT", f"/lake/{key}"] == []


@on_one_spark
def test_a_commit_whose_answer_was_lost_is_one_version(s3, ours, stock):
    ours.sql("CREATE DATABASE lost LOCATION 's3a://lake/lost'")
    ours.sql("CREATE TABLE lost.t (id INT) USING sfbatch")
    for version, faults in {2: ["lost"], 3: ["409", "lost"]}.items():
        s3.faults["PUT", f"/lake/lost/t/_sfbatch/journal/00000000/{version:012}.json.gz"] = faults
        ours.sql(f"INSERT INTO lost.t VALUES ({version})")
        assert faults == []
    assert stock.sql("SELECT * FROM lost.t ORDER BY id") == [[2], [3]]
    assert [row[0] for row in ours.sql("CALL sfbatch.history('lost.t')")] == [3, 2, 1]


@on_one_spark
def test_a_commit_of_which_nobody_may_see_whose_it_is_is_not_called_failed(s3, ours, stock):
    ours.sql("CREATE DATABASE hidden LOCATION 's3a://lake/hidden'")
    ours.sql("CREATE TABLE hidden.t (id INT) USING sfbatch")
    commit = "/lake/hidden/t/_sfbatch/journal/00000000/000000000002.json.gz"
    s3.faults |= {("PUT", commit): ["lost"], ("HEAD", commit): ["403"] * 3, ("GET", commit): ["403"] * 3}
    with pytest.raises(RuntimeError, match="SFBATCH_PUBLISH_UNCLEAR.*version 2"):
        ours.sql("INSERT INTO hidden.t VALUES (1)")
    s3.faults.clear()
    ours.sql("INSERT INTO hidden.t VALUES (2)")
    assert stock.sql("SELECT * FROM hidden.t ORDER BY id") == [[1], [2]]


def test_a_commit_that_was_sent_again_and_then_denied_is_not_called_failed(s3, ours):
    ours.sql("CREATE DATABASE expired LOCATION 's3a://lake/expired'")
    ours.sql("CREATE TABLE expired.t (id INT) USING sfbatch")
    commit = "/lake/expired/t/_sfbatch/journal/00000000/000000000002.json.gz"
    s3.faults["PUT", commit] = ["403"]
    with pytest.raises(RuntimeError, match="SFBATCH_NO_PERMISSION"):
        ours.sql("INSERT INTO expired.t VALUES (1)")
    s3.faults["PUT", commit] = ["busy", "403"]  # of the first, nobody knows whether it will be carried out
    with pytest.raises(RuntimeError, match="SFBATCH_PUBLISH_UNCLEAR.*version 2"):
        ours.sql("INSERT INTO expired.t VALUES (2)")


def test_the_journal_is_encrypted_as_the_bucket_asks(s3, ours, stock):
    ours.sql("CREATE DATABASE sealed LOCATION 's3a://sealed/db'")
    ours.sql("CREATE TABLE sealed.t (id INT) USING sfbatch")
    ours.sql("INSERT INTO sealed.t VALUES (1)")
    ours.sql("INSERT INTO sealed.t VALUES (2)")
    assert stock.sql("SELECT * FROM sealed.t ORDER BY id") == [[1], [2]]
    made = [r for r in s3.requests if r.path.startswith("/sealed/") and "partNumber" not in r.query]
    puts = [r for r in made if r.method == "PUT" and "/_sfbatch/" in r.path]
    uploads = [r for r in made if r.method == "POST" and "uploads" in r.query]
    assert any(request.path.endswith("000000000003.json.gz") for request in puts)
    assert len(uploads) == 3  # the two inserts' files, and the first one's copied forward
    assert {request.headers["if-none-match"] for request in puts} == {"*"}
    for request in puts + uploads:
        if "key" in SEALED:
            assert request.headers["x-amz-server-side-encryption"] == "aws:kms", request
            assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == SEALED["key"], request
        else:
            assert request.headers["x-amz-server-side-encryption"] == "AES256", request


def test_two_drivers_at_once_on_one_root_lose_nothing(ours, stock, new_session):
    ours.sql("CREATE DATABASE shared LOCATION 's3a://lake/shared'")
    ours.sql("CREATE TABLE shared.t (id BIGINT, day STRING) USING sfbatch PARTITIONED BY (day)")
    drivers = [ours, new_session(ours=True)]

    def writes(number):
        for turn in range(3):
            drivers[number].sql(f"INSERT OVERWRITE shared.t SELECT id, '{number}' FROM range({(turn + 1) * 100})")
            drivers[number].sql(f"INSERT INTO shared.t VALUES ({number}{turn}, 'both')")

    at_once([lambda: writes(0), lambda: writes(1)])
    assert stock.sql("SELECT day, count(*) FROM shared.t GROUP BY day ORDER BY day") == [
        ["0", 300],
        ["1", 300],
        ["both", 6],
    ]


def asked(requests):
    """`{"GET": 2, "LIST": 7}`"""
    return Counter("LIST" if "prefix=" in request.query else request.method for request in requests)


def test_what_a_publish_asks_of_s3_does_not_grow(s3, ours):
    ours.sql("CREATE DATABASE counted LOCATION 's3a://lake/counted'")
    ours.sql("CREATE TABLE counted.t (id BIGINT, day STRING) USING sfbatch PARTITIONED BY (day)")
    totals = set()
    for turn in range(4):
        time.sleep(1)  # two writes within a second: the second one looks for a free batch ID
        since = len(s3.requests)
        ours.sql("INSERT OVERWRITE counted.t SELECT id, id % 3 FROM range(0, 9, 1, 1)")
        requests = s3.requests[since:]
        journal = [request for request in requests if "/_sfbatch/" in request.path + request.query]
        verified = [r for r in requests if re.search(r"prefix=counted/t/\d/", r.query) and "uploads" not in r.query]
        if turn > 0:
            assert asked(journal) == {"PUT": 3, "GET": 2, "LIST": 3}
            assert asked(verified) == {"LIST": 3}
            totals.add(len(requests))
    assert len(totals) == 1, totals


@on_one_spark
def test_a_publish_asks_for_little_more_than_bare_files_do(s3, ours, stock):
    ours.sql("CREATE DATABASE beyond LOCATION 's3a://lake/beyond'")
    for partitions in (1, 12):
        ours.sql(f"CREATE TABLE beyond.t{partitions} (id BIGINT, day STRING) USING sfbatch PARTITIONED BY (day)")
        rows = f"SELECT id, CAST(id % {partitions} AS STRING) AS day FROM range(0, 24, 1, 1)"
        asked_for = {}
        for turn in range(2):
            time.sleep(1)  # or it looks for a free batch ID
            since = len(s3.requests)
            ours.sql(f"INSERT OVERWRITE beyond.t{partitions} {rows}")
            asked_for["sfbatch"] = s3.requests[since:]
            since = len(s3.requests)
            stock.run(f"spark.sql({rows!r}).write.partitionBy('day').parquet('s3a://lake/bare/{partitions}/{turn}')")
            asked_for["bare"] = s3.requests[since:]
        counts = {who: asked(requests) for who, requests in asked_for.items()}
        print(partitions, {who: (sum(of.values()), dict(of)) for who, of in counts.items()})
        assert counts["bare"]["POST"] >= 2 * partitions  # by multipart uploads, as ours
        more = sum(counts["sfbatch"].values()) - sum(counts["bare"].values())
        assert more <= 10 + 2 * partitions, counts


def test_a_write_of_another_table_looks_for_ours_once(s3, ours):
    ours.run("spark.range(1).write.parquet('s3a://lake/files/out')")
    ours.sql("CREATE TABLE default.others USING parquet LOCATION 's3a://lake/files/out'")
    since = len(s3.requests)
    ours.sql("INSERT INTO default.others VALUES (2)")
    looks = [r.path for r in s3.requests[since:] if r.method == "HEAD" and r.path.endswith("/owner.json")]
    assert sorted(looks) == sorted(
        f"/lake/{above}{home}_sfbatch/owner.json"
        for above in ("", "files/", "files/out/")
        for home in ("", "_batches/")
    )


def test_a_store_that_ignores_the_condition_is_refused(s3, ours):
    ours.sql("CREATE DATABASE deaf LOCATION 's3a://deaf/db'")
    with pytest.raises(RuntimeError, match="SFBATCH_STORE_UNSUPPORTED.*ignores If-None-Match"):
        ours.sql("CREATE TABLE deaf.t (id INT) USING sfbatch")
    assert ours.sql("SHOW TABLES IN deaf") == []


@pytest.mark.parametrize(("bucket", "why"), [("plain", "MagicS3GuardCommitter"), ("inmemory", "leaves none")])
def test_a_bucket_whose_committer_cannot_serve_is_refused_before_the_claim(s3, ours, bucket, why):
    ours.sql(f"CREATE DATABASE {bucket} LOCATION 's3a://{bucket}/db'")
    ours.sql(f"CREATE TABLE {bucket}.t (id INT, day STRING) USING sfbatch PARTITIONED BY (day)")
    with pytest.raises(RuntimeError, match=f"SFBATCH_STORE_UNSUPPORTED.*{why}"):
        ours.sql(f"INSERT INTO {bucket}.t VALUES (1, 'a')")
    assert not [key for key in s3.keys(bucket) if "/claims/" in key]


def test_without_hadoop_aws_the_error_names_it(spark, db):
    from pyspark.errors import AnalysisException

    with pytest.raises(AnalysisException, match="SFBATCH_STORE_UNSUPPORTED.*hadoop-aws"):
        spark.sql(f"CREATE TABLE {db}.t (id INT) USING sfbatch LOCATION 's3a://lake/none'")
