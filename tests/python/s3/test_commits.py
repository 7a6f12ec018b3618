"""Exclusive creates and commits on S3, also where an answer is lost, refused or in conflict."""

import pytest
from writer import on_one_spark

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
