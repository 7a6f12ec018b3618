"""Every kind of table that sfbatch writes, read by others: their rows are those that were written."""

import re
from pathlib import Path

import pytest
from checker import Metastore, table_of
from pyarrow import fs

from readers import files
from readers.rows import plain_rows
from readers.tables import TABLES

ROOT = Path(__file__).parents[3]
SPARKS = ("3.5", "4.0", "4.1", "4.3")
every_table = pytest.mark.parametrize("name", TABLES)


def read_by_spark(session, table):
    return session.run(f"from readers.rows import plain_rows; result = plain_rows(spark.table('{table}').collect())")


@every_table
def test_trino(trino, written, name):
    assert plain_rows(trino.sql(f"SELECT * FROM {written('s3a', name)}")) == plain_rows(TABLES[name].rows)


@every_table
@pytest.mark.parametrize("version", SPARKS)
def test_stock_spark(stock, written, version, name):
    table, rows = TABLES[name], TABLES[name].rows
    if table.format == "text" and table.by:  # as in any Hive table: README, Known limits
        rows = [[*row[:-1], "__HIVE_DEFAULT_PARTITION__" if row[-1] is None else row[-1]] for row in rows]
    assert read_by_spark(stock(version), written("file", name)) == plain_rows(rows)


#: DuckDB reads no ORC. The typed partitions' values are text in the metastore.
FILES = [
    (reader, name)
    for reader, forms in (
        ("pyarrow", "parquet orc"),
        ("pyarrow on S3", "parquet orc"),
        ("pandas", "parquet orc"),
        ("duckdb", "parquet"),
    )
    for name, table in TABLES.items()
    if table.format in forms.split() and name != "typed_partitions"
]


@pytest.mark.parametrize(("reader", "name"), FILES)
def test_given_the_partitions_locations(spark, metastore, s3, written, reader, name):
    table = TABLES[name]
    store, place = fs.LocalFileSystem(), "file"
    if reader == "pyarrow on S3":
        endpoint = s3.endpoint.removeprefix("http://")
        store, place = (
            fs.S3FileSystem(
                access_key="any", secret_key="any", endpoint_override=endpoint, scheme="http", region="us-east-1"
            ),
            "s3a",
        )
    of = written(place, name)
    columns = [column for column in spark.table(of).columns if column not in table.by]
    read = getattr(files, f"by_{reader.split()[0]}")
    assert plain_rows(files.rows(metastore.uri, store, of, columns, table.format, read)) == plain_rows(table.rows)


def test_the_snippet_of_docs_readers_md(spark):
    (snippet,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/readers.md").read_text(), re.MULTILINE | re.DOTALL)
    rows = spark.createDataFrame([(1, "a/b"), (2, "c"), (3, "c")], "id INT, day STRING")
    rows.write.format("sfbatch").mode("append").partitionBy("day").save("default.events")
    scope = {"spark": spark}
    exec(compile(snippet, "docs/readers.md", "exec"), scope)
    assert {name: table.column("id").to_pylist() for name, table in scope["batches"].items()} == {
        "day=a%2Fb": [1],
        "day=c": [2, 3],
    }


@pytest.fixture
def mixed(spark, metastore):
    """A Hive table of ORC that became one of Parquet, then ours: the partitions written since are Parquet."""

    def make(place):
        name = f"mixed_{place.partition(':')[0]}"
        spark.sql(f"CREATE DATABASE {name} LOCATION '{place}/{name}'")
        spark.sql(
            f"CREATE EXTERNAL TABLE {name}.t (id INT) PARTITIONED BY (day STRING) STORED AS ORC LOCATION '{place}/{name}/t'"
        )
        spark.sql(f"INSERT INTO {name}.t VALUES (1, 'a'), (2, 'b')")
        with Metastore(metastore.uri) as client:
            table = table_of(client, name, "t")
            spark.sql(f"CREATE TABLE {name}.p (id INT) STORED AS PARQUET")
            parquet = table_of(client, name, "p").sd
            table.sd.inputFormat, table.sd.outputFormat, table.sd.serdeInfo = (
                parquet.inputFormat,
                parquet.outputFormat,
                parquet.serdeInfo,
            )
            client.alter_table(name, "t", table)
        spark.sql(f"CALL sfbatch.adopt(table => '{name}.t')")
        spark.sql(f"INSERT OVERWRITE {name}.t VALUES (3, 'b'), (4, 'c')")
        return f"{name}.t"

    return make


def test_trino_reads_partitions_of_several_formats(mixed, trino):
    assert sorted(trino.sql(f"SELECT * FROM {mixed('s3a://lake')}")) == [[1, "a"], [3, "b"], [4, "c"]]


def test_stock_spark_reads_partitions_of_several_formats_by_hives_readers_alone(mixed, metastore, stock):
    """As in any Hive table: its own reader takes the table's format for all partitions'."""
    table, session = mixed(metastore.warehouse), stock("3.5")
    with pytest.raises(RuntimeError, match="is not a Parquet file"):
        read_by_spark(session, table)
    session.run("spark.conf.set('spark.sql.hive.convertMetastoreParquet', 'false')")
    rows = read_by_spark(session, table)
    session.run("spark.conf.unset('spark.sql.hive.convertMetastoreParquet')")
    assert rows == [["1", "a"], ["3", "b"], ["4", "c"]]


def test_trino_shows_milliseconds_unless_told_otherwise(trino, written):
    table = written("s3a", "types_parquet")
    assert trino.sql(f"SELECT cast(moment AS VARCHAR) FROM {table} WHERE whole < 0", catalog="default") == [
        ["2016-10-01 23:59:59.123"]
    ]


@pytest.mark.parametrize("form", ["parquet", "text"])
def test_what_trino_reads_otherwise(spark, trino, form):
    """docs/readers.md says so. Parquet is the control; a Trino that learns it fails this test."""
    name = f"s3a_{form}"
    spark.sql(f"CREATE DATABASE {name} LOCATION 's3a://lake/{name}'")
    spark.sql(f"CREATE TABLE {name}.t (item STRING, list ARRAY<STRING>) USING sfbatch OPTIONS (format '{form}')")
    rows = [["two\nlines", ["a", "b\x02c"]]]
    spark.createDataFrame(rows, "item STRING, list ARRAY<STRING>").write.format("sfbatch").mode("append").save(
        f"{name}.t"
    )
    assert [list(row) for row in spark.table(f"{name}.t").collect()] == rows
    assert trino.sql(f"SELECT * FROM {name}.t") == (rows if form == "parquet" else [["twonlines", ["a", "b\\", "c"]]])
