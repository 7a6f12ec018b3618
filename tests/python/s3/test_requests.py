"""How much is asked of S3."""

import re
import time
from collections import Counter

from writer import on_one_spark


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
