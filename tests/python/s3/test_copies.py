"""The files of an append's base, copied by S3 itself."""

from urllib.parse import unquote

import pytest
from at_once import Running
from writer import on_one_spark, wait_for


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
import os, threading, time
def cancel():
    while not os.path.exists({flag!r}):
        time.sleep(0.02)
    spark.sparkContext.cancelAllJobs()
threading.Thread(target=cancel, daemon=True).start()
spark.sql("INSERT INTO cancelled.t VALUES (1)")
"""


@on_one_spark
def test_an_append_that_is_cancelled_while_s3_copies_publishes_nothing(s3, ours, stock, tmp_path):
    ours.sql("CREATE DATABASE cancelled LOCATION 's3a://lake/cancelled'")
    ours.sql("CREATE TABLE cancelled.t (id BIGINT) USING sfbatch")
    ours.sql("INSERT INTO cancelled.t VALUES (1)")
    s3.copies, flag = ["slow"], tmp_path / "cancel"
    running = Running(lambda: ours.run(CANCELLED.format(flag=str(flag))))
    wait_for(lambda: s3.copies == [] or running.done)
    flag.touch()
    with pytest.raises(RuntimeError, match="cancelled"):
        running.result()
    s3.let_go.set()
    wait_for(lambda: open_uploads(s3, "cancelled/") == [])
    assert stock.sql("SELECT * FROM cancelled.t") == [[1]]
    ours.sql("INSERT INTO cancelled.t VALUES (1)")
    assert stock.sql("SELECT * FROM cancelled.t") == [[1], [1]]


def open_uploads(s3, prefix):
    return s3.client.list_multipart_uploads(Bucket="lake", Prefix=prefix).get("Uploads", [])
