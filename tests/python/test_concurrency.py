"""Many processes on one table: no acknowledged row is lost, no partition is a mix, history has them all."""

import pytest
from at_once import at_once
from writer import Writer, on_one_spark


@pytest.fixture(scope="module")
def eight(metastore):
    """Eight drivers, each in a process of its own."""
    made = [Writer(metastore.uri, user=f"user{number}") for number in range(8)]
    yield made
    for one in made:
        one.close()


def rows(stock_spark, query):
    return sorted(tuple(row) for row in stock_spark.sql(query))


@on_one_spark
def test_eight_processes_on_disjoint_partitions_all_succeed(db, writer, eight, stock_spark):
    writer.create(f"{db}.t")

    def three(number):
        return [eight[number].overwrite(f"{db}.t", {f"day{number}": [(number, f"round{n}")]}) for n in range(3)]

    versions = at_once([lambda number=number: three(number) for number in range(8)])
    assert sorted(version for some in versions for version in some) == list(range(2, 26))
    assert rows(stock_spark, f"select day, id, item from {db}.t") == [(f"day{n}", n, "round2") for n in range(8)]


@on_one_spark
def test_eight_processes_on_one_partition_end_as_one_of_them_with_a_history_of_all(db, writer, eight, stock_spark):
    writer.create(f"{db}.t")
    versions = at_once(
        [
            lambda n=n: eight[n].overwrite(f"{db}.t", {"day": [(n, "a"), (n, "b")], f"day{n}": [(n, "a")]})
            for n in range(8)
        ]
    )
    assert sorted(versions) == list(range(2, 10))
    last = versions.index(9)
    assert rows(stock_spark, f"select id, item from {db}.t where day = 'day'") == [(last, "a"), (last, "b")]
    assert writer.history(f"{db}.t") == [(1, "create"), *((version, "write") for version in range(2, 10))]


@on_one_spark
@pytest.mark.parametrize("columns", [("day",), ()], ids=["partition", "whole table"])
def test_eight_concurrent_appends_keep_every_row(db, writer, eight, stock_spark, columns):
    writer.create(f"{db}.t", columns)
    key = "day" if columns else ()

    def twice(number):
        for n in range(2):
            eight[number].append(f"{db}.t", {key: [(number, f"append{n}")]})

    at_once([lambda number=number: twice(number) for number in range(8)])
    assert rows(stock_spark, f"select id, item from {db}.t") == [(n, f"append{m}") for n in range(8) for m in range(2)]


@on_one_spark
def test_appends_and_overwrites_of_one_partition_mixed_keep_what_came_after_the_last_overwrite(
    db, writer, eight, stock_spark
):
    writer.create(f"{db}.t")
    writer.overwrite(f"{db}.t", {"day": [(100, "first")]})

    def act(number):
        change = eight[number].overwrite if number % 4 == 0 else eight[number].append
        return change(f"{db}.t", {"day": [(number, "x")]})

    versions = at_once([lambda number=number: act(number) for number in range(8)])
    last_overwrite = max(versions[0], versions[4])
    expected = [number for number in range(8) if versions[number] >= last_overwrite]
    assert rows(stock_spark, f"select id from {db}.t") == [(number,) for number in sorted(expected)]


SECOND_DRIVER = """
import sys, threading
from conftest import small_session
from pyspark import TaskContext
from pyspark.sql.functions import udf
spark = small_session(**{"spark.master": "local[2,4]"})
db = sys.argv[1]

# Task attempts that write rows and then fail: what they wrote must not be in the batch.
@udf("string")
def fails_at_first(n):
    if n == 400 and TaskContext.get().attemptNumber() < 2:
        raise ValueError("the test says so")
    return "second"

def append(days):
    for day in days:
        frame = spark.range(1000, 1500, 1, 2)
        frame.selectExpr("id", "'second' item", f"'{day}' day").write.format("sfbatch").mode("append").save(f"{db}.t")

def retried():
    frame = spark.range(0, 500, 1, 2).withColumn("item", fails_at_first("id")).selectExpr("id", "item", "'retried' day")
    frame.write.format("sfbatch").option("maxRecordsPerFile", "50").mode("append").save(f"{db}.t")

print("GO", flush=True)
threads = [threading.Thread(target=t) for t in (lambda: append(["a", "b"]), lambda: append(["b", "a"]), retried)]
[t.start() for t in threads]; [t.join() for t in threads]
spark.sql(f"INSERT OVERWRITE {db}.t PARTITION (day='o') VALUES (2, 'second')")
print("over", flush=True)
"""


@on_one_spark
def test_jobs_on_one_root_at_once_in_two_drivers_lose_no_file_and_keep_none_of_failed_tasks(
    db, spark, stock_spark, run_driver
):
    """Four appends of the same two partitions in this driver, four in another, an overwrite each; one job's tasks fail and are retried.

    A stock committer deletes `_temporary` of all jobs on the root when the first commits.
    """
    spark.sql(f"CREATE TABLE {db}.t (id BIGINT, item STRING, day STRING) USING sfbatch PARTITIONED BY (day)")
    second = run_driver.start(SECOND_DRIVER, arguments=[db])
    for line in second.stdout:
        if line.strip() == "GO":
            break
    assert second.poll() is None, second.log.read_text()[-3000:]

    def append(days):
        for day in days:
            frame = spark.range(0, 500, 1, 2).selectExpr("id", "'first' item", f"'{day}' day")
            frame.write.format("sfbatch").mode("append").save(f"{db}.t")

    def over():
        spark.sql(f"INSERT OVERWRITE {db}.t PARTITION (day='o') VALUES (1, 'first')")

    at_once([lambda: append(["a", "b"]), lambda: append(["b", "a"]), over])
    out, _ = second.communicate(timeout=600)
    assert second.returncode == 0, f"{out}\n{second.log.read_text()[-4000:]}"
    assert rows(stock_spark, f"select day, item, count(*), count(distinct id), min(id) from {db}.t where day != 'o' group by day, item") == [
        ("a", "first", 1000, 500, 0), ("a", "second", 1000, 500, 1000), ("b", "first", 1000, 500, 0), ("b", "second", 1000, 500, 1000),
        ("retried", "second", 500, 500, 0),
    ]  # fmt: skip
    assert rows(stock_spark, f"select id, item from {db}.t where day = 'o'") in ([(1, "first")], [(2, "second")])
