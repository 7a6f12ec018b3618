"""Trino while partitions are switched under it: each query sees whole versions, the next query the new one, and a cache only old ones."""

import re
import threading
import time
from collections import Counter

import pytest

from readers.conftest import CACHED_S

ROWS = 20
pytestmark = pytest.mark.timeout(900)  # moto is slow
DAYS = 4
#: The partitions that Trino asks for at first: 10, or hive.metastore.partition-batch-size.min; then twice as many.
FIRST_REQUEST = {"default": 10, "hive": 100}


@pytest.fixture
def table(spark, request):
    """`.overwrite(version)` replaces all days by rows of that version, `.append(version)` adds to them."""
    name = re.sub(r"\W+", "_", request.node.name)
    spark.sql(f"CREATE DATABASE {name} LOCATION 's3a://lake/{name}'")
    return Switched(spark, f"{name}.t")


class Switched:
    def __init__(self, spark, name):
        self._spark, self.name = spark, name

    def create(self, days=DAYS, filler=0):
        self._days, self._filler = days, filler
        by = "PARTITIONED BY (day)" if days else ""
        columns = "version INT, n BIGINT, filler STRING" + (", day STRING" if days else "")
        self._spark.sql(f"CREATE TABLE {self.name} ({columns}) USING sfbatch {by}")

    def overwrite(self, version):
        self._write("overwrite", version)

    def append(self, version):
        self._write("append", version)

    def _write(self, mode, version):
        day = f", concat('day', n % {self._days}) AS day" if self._days else ""
        rows = self._spark.range(0, max(self._days, 1) * ROWS, numPartitions=1).toDF("n")
        rows = rows.selectExpr(
            f"{version} AS version",
            "n",
            f"repeat(cast(n AS STRING), {self._filler}) AS filler",
            *([day[2:]] if day else []),
        )
        rows.write.format("sfbatch").mode(mode).save(self.name)


class Readers:
    """Threads that ask the same query again and again, until the with statement ends; `.answers` are all they got."""

    def __init__(self, trino, query, catalog="hive", threads=1):
        self._ask = lambda: trino.sql(query, catalog)
        self._stop, self.answers, self.errors = threading.Event(), [], []
        self._threads = [threading.Thread(target=self._loop) for _ in range(threads)]

    def _loop(self):
        while not self._stop.is_set():
            try:
                self.answers.append(self._ask())
            except Exception as error:  # told by the test
                self.errors.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize(("days", "catalog"), [(0, "default"), (8, "default"), (16, "default"), (16, "hive")])
def test_queries_see_whole_versions(trino, table, days, catalog):
    """Of a partition and of an unpartitioned table always; of several partitions if Trino asks for them in one request."""
    table.create(days)
    table.overwrite(1)
    by = "day" if days else "1"
    query = f"SELECT {by}, min(version), max(version), count(*), count(DISTINCT n) FROM {table.name} GROUP BY {by}"
    with Readers(trino, query, catalog) as readers:
        for version in range(2, 7):
            table.overwrite(version)
            assert {tuple(row[1:]) for row in trino.sql(query, catalog)} == {(version, version, ROWS, ROWS)}
    assert readers.errors == []
    assert {len(answer) for answer in readers.answers} == {max(days, 1)}
    assert {tuple(row[3:]) for answer in readers.answers for row in answer} == {(ROWS, ROWS)}
    assert [row for answer in readers.answers for row in answer if row[1] != row[2]] == []
    assert len({row[1] for answer in readers.answers for row in answer}) > 2
    versions = Counter(len({row[1] for row in answer}) for answer in readers.answers)
    print(
        f"{days} partitions, {catalog}: {len(readers.answers)} queries during 5 switches; versions in an answer: {dict(versions)}"
    )
    if days <= FIRST_REQUEST[catalog]:
        assert set(versions) == {1}


def test_appended_rows_come_all_at_once(trino, table):
    table.create()
    table.append(1)
    with Readers(trino, f"SELECT day, version, count(*) FROM {table.name} GROUP BY day, version") as readers:
        for version in range(2, 6):
            table.append(version)
    assert readers.errors == []
    for answer in readers.answers:
        versions = max(row[1] for row in answer)
        assert sorted((row[0], row[1]) for row in answer) == [
            (f"day{day}", version) for day in range(DAYS) for version in range(1, versions + 1)
        ]
        assert {row[2] for row in answer} == {ROWS}
    assert {max(row[1] for row in answer) for answer in readers.answers} >= {1, 4}


def test_a_query_that_began_before_a_switch_reads_its_version_to_the_end(trino, table):
    table.create(3, filler=150_000)  # 17 MB: more than Trino sends ahead
    table.overwrite(1)
    with trino.rows(f"SELECT version, n, filler FROM {table.name}") as rows:
        first = next(rows)
        table.overwrite(2)
        table.overwrite(3)
        rest = [(version, n) for version, n, _ in rows]
    assert Counter(version for version, _ in [first[:2], *rest]) == {1: 3 * ROWS}
    assert trino.sql(f"SELECT DISTINCT version FROM {table.name}") == [[3]]


def test_with_trinos_metastore_cache_a_query_sees_old_versions_until_it_is_flushed(trino, table):
    """No error and nothing torn: old batches stay. But each partition is as old as when it was last asked for."""

    def cached(where=""):
        return sorted(trino.sql(f"SELECT DISTINCT day, version FROM {table.name} {where}", catalog="cached"))

    table.create(2)
    table.overwrite(1)
    assert cached("WHERE day = 'day0'") == [["day0", 1]]
    table.overwrite(2)
    assert cached() == [["day0", 1], ["day1", 2]]
    table.overwrite(3)
    assert cached() == [["day0", 1], ["day1", 2]]
    assert sorted(trino.sql(f"SELECT DISTINCT day, version FROM {table.name}")) == [["day0", 3], ["day1", 3]]
    trino.sql("CALL system.flush_metadata_cache()", catalog="cached")
    assert cached() == [["day0", 3], ["day1", 3]]


def test_with_trinos_metastore_cache_queries_beside_switches_see_no_torn_partition_and_no_error(trino, table):
    catalog = "briefly_cached"
    table.create()
    table.overwrite(1)
    query = f"SELECT day, min(version), max(version), count(*), count(DISTINCT n) FROM {table.name} GROUP BY day"
    with Readers(trino, query, catalog) as readers:
        for version in range(2, 7):
            table.overwrite(version)
    assert readers.errors == []
    answers = [row for answer in readers.answers for row in answer]
    assert {len(answer) for answer in readers.answers} == {DAYS}
    assert {tuple(row[3:]) for row in answers} == {(ROWS, ROWS)}
    assert [row for row in answers if row[1] != row[2]] == []
    assert len({row[1] for row in answers}) > 2
    time.sleep(CACHED_S + 1)
    assert {tuple(row[1:]) for row in trino.sql(query, catalog)} == {(6, 6, ROWS, ROWS)}
