"""Tables on S3 through S3A: what is written with sfbatch is read by a stock session."""

import re

import pytest
from at_once import at_once
from writer import on_one_spark

from s3.conftest import SEALED

#: The formats are Spark's; which file systems they meet is the same for all.
FORMATS = ["parquet", pytest.param("orc", marks=on_one_spark), pytest.param("text", marks=on_one_spark)]


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
    copies = [r.path for r in s3.requests if "x-amz-copy-source" in r.headers and "/trip/" in r.path]
    assert len(copies) == 1  # the append's
    assert re.search(r"trip/events/20161001/\d{14}/part-", copies[0])
    left = [key for key in s3.keys("lake", "trip/events/__magic") if not key.endswith("/")]
    assert left == []


def places(s3, bucket, prefix):
    """Where data files lie: `20161001/20161103101500`."""
    return [re.sub(r"/[^/]*$", "", key[len(prefix) + 1 :]) for key in s3.keys(bucket, prefix) if "/part-" in key]


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
