"""What later Sparks brought: parameters that the parser must hand on (4.1), clauses of INSERT that we do not know (4.2)."""

import pytest
from sfbatch.installed import installed_spark

LINE = tuple(int(part) for part in installed_spark().line.split("."))


@pytest.fixture
def table(spark, db):
    spark.sql(f"CREATE TABLE {db}.t (id INT, day STRING) USING sfbatch PARTITIONED BY (day)")
    spark.sql(f"INSERT INTO {db}.t VALUES (1, 'a'), (2, 'b')")
    return f"{db}.t"


def rows(spark, table):
    return [tuple(row) for row in spark.sql(f"SELECT id, day FROM {table} ORDER BY id").collect()]


def test_parameters_reach_statements_on_our_tables_and_others(spark, table):
    assert spark.sql("SELECT :a AS x, :b AS y", {"a": 1, "b": "z"}).first() == (1, "z")
    assert spark.sql("SELECT ? AS x", [7]).first() == (7,)
    assert [row.id for row in spark.sql(f"SELECT id FROM {table} WHERE day = :day", {"day": "b"}).collect()] == [2]
    if LINE >= (4, 1):  # Spark 3.5 and 4.0 know no parameter there
        spark.sql(f"INSERT INTO {table} VALUES (:id, :day)", {"id": 3, "day": "c"})
        assert rows(spark, table) == [(1, "a"), (2, "b"), (3, "c")]


def test_replace_where_replaces_what_it_names(spark, table):
    spark.sql(f"INSERT INTO {table} REPLACE WHERE day = 'a' VALUES (3, 'a')")
    assert rows(spark, table) == [(2, "b"), (3, "a")]
    spark.sql(f"INSERT INTO {table} REPLACE WHERE true VALUES (2, 'b'), (3, 'a'), (4, 'd')")
    spark.sql(f"INSERT INTO {table} REPLACE WHERE true VALUES (2, 'b'), (3, 'a')")
    assert rows(spark, table) == [(2, "b"), (3, "a")]
    none = "none AS (SELECT 1 AS id, 'b' AS day WHERE false)"
    spark.sql(f"WITH {none} INSERT INTO {table} REPLACE WHERE day >= 'b' SELECT * FROM none")
    assert rows(spark, table) == [(3, "a")]
    spark.sql(f"INSERT INTO {table} REPLACE WHERE day = 'a' WITH {none} SELECT * FROM none")
    assert rows(spark, table) == []


def test_rows_that_replace_where_does_not_name_are_refused(spark, table):
    with pytest.raises(Exception, match="rows lie outside replaceWhere"):
        spark.sql(f"INSERT INTO {table} REPLACE WHERE day = 'a' VALUES (3, 'a'), (4, 'c')")
    assert rows(spark, table) == [(1, "a"), (2, "b")]


@pytest.mark.skipif(LINE < (4, 2), reason="Spark 4.2 brought them")
@pytest.mark.parametrize(
    ("statement", "clause"),
    [
        ("INSERT WITH SCHEMA EVOLUTION INTO {} VALUES (3, 'a')", ""),
        ("INSERT INTO {} REPLACE USING (day) VALUES (3, 'a')", "REPLACE USING .*REPLACE WHERE"),
        ("INSERT WITH SCHEMA EVOLUTION INTO {} REPLACE WHERE day = 'a' VALUES (3, 'a')", ""),
    ],
)
def test_a_clause_that_would_not_be_heeded_is_refused(spark, table, statement, clause):
    from pyspark.errors import PySparkException

    with pytest.raises(PySparkException, match=clause):
        spark.sql(statement.format(table))
    assert rows(spark, table) == [(1, "a"), (2, "b")]
