"""A driver changes only the databases its configuration allows; what it may not change it may still read."""

from pathlib import Path

import pytest
from checker import Metastore
from pymetastore.hive_metastore import ttypes
from pyspark.errors import AnalysisException
from writer import Refusal

DENIED = "SFBATCH_NO_PERMISSION"


@pytest.fixture
def table(db, writer):
    name = f"{db}.t"
    writer.create(name)
    writer.overwrite(name, {"1": [(1, "one")]})
    writer.overwrite(name, {"1": [(1, "ONE")]})
    return name


def test_every_change_of_another_database_is_refused_before_anything_is_written(db, table, writer, writers, metastore):
    with Metastore(metastore.uri) as client:
        client.create_database(ttypes.Database(name=f"{db}_x", locationUri=f"{metastore.warehouse}/{db}_x.db"))
    bound = writers(**{"spark.sfbatch.write-databases": f"scratch, {db}_*"})
    root = bound.table(table).root().toUri().getPath()
    before = sorted(Path(root).rglob("*"))
    changes = {
        "overwrite": lambda: bound.overwrite(table, {"1": [(2, "two")]}),
        "append": lambda: bound.append(table, {"1": [(2, "two")]}),
        "drop": lambda: bound.drop(table, "1"),
        "rollback": lambda: bound.rollback(table, 2),
        "recover": lambda: bound.recover(table),
        "create": lambda: bound.create(f"{db}.other"),
        "adopt": lambda: bound.adopt(table),
    }
    for name, change in changes.items():
        with pytest.raises(Refusal, match=f"{DENIED}.*not {db}\\.") as refused:
            change()
        assert f"'scratch, {db}_*'" in str(refused.value), name
    assert sorted(Path(root).rglob("*")) == before
    assert bound.history(table) == writer.history(table)
    bound.create(f"{db}_x.t")
    assert bound.overwrite(f"{db}_x.t", {"1": [(1, "one")]}) == 2


@pytest.fixture
def bound(spark):
    """The session as one that may change `scratch` alone; a session can always ask for less."""
    spark.conf.set("spark.sfbatch.write-databases", "scratch")
    yield spark
    spark.conf.unset("spark.sfbatch.write-databases")


def test_statements_are_refused_in_sql_too(table, bound, stock_spark):
    frame = bound.createDataFrame([(3, "three", "1")], "id bigint, item string, day string")
    changes = [
        lambda: frame.write.format("sfbatch").mode("overwrite").save(table),
        lambda: frame.write.mode("append").insertInto(table),
        lambda: bound.sql(f"INSERT OVERWRITE {table} PARTITION (day = '1') SELECT 3L, 'three'"),
        lambda: bound.sql(f"ALTER TABLE {table} ADD COLUMNS (more STRING)"),
        lambda: bound.sql(f"ALTER TABLE {table} DROP PARTITION (day = '1')"),
        lambda: bound.sql(f"ALTER TABLE {table} RENAME TO {table}_other"),
        lambda: bound.sql(f"DROP TABLE {table}"),
        lambda: bound.sql(f"CREATE TABLE {table}_new (id BIGINT) USING sfbatch"),
        lambda: bound.sql(f"CALL sfbatch.rollback(table => '{table}', to => 2)"),
        lambda: bound.sql(f"CALL sfbatch.recover(table => '{table}')"),
    ]
    for number, change in enumerate(changes):
        with pytest.raises(AnalysisException, match=DENIED):
            change()
            pytest.fail(f"change {number} was made")
    assert bound.sql(f"CALL sfbatch.rollback(table => '{table}', to => 2, dry_run => true)").count() == 1
    assert stock_spark.sql(f"SELECT id, item FROM {table}") == [[1, "ONE"]]
