"""A stock session that read the table before, and keeps running, reads the new rows on its next query."""

import pytest

TYPES = "id BIGINT, item STRING"


@pytest.mark.parametrize("file_format", ["parquet", "orc", "text"])
@pytest.mark.parametrize("partitioned", [True, False], ids=["partitioned", "unpartitioned"])
def test_a_running_stock_session_reads_the_new_rows_on_its_next_query(db, spark, stock_spark, partitioned, file_format):
    table = f"{db}.t"
    columns, by = (f"{TYPES}, day STRING", "PARTITIONED BY (day)") if partitioned else (TYPES, "")
    spark.sql(f"CREATE TABLE {table} ({columns}) USING sfbatch OPTIONS (format '{file_format}') {by}")

    def write(mode, *rows):
        frame = spark.createDataFrame([row if partitioned else row[:2] for row in rows], columns)
        frame.write.format("sfbatch").mode(mode).save(table)

    def read():
        return sorted(row[0] for row in stock_spark.sql(f"select id from {table}"))

    write("overwrite", (1, "a", "x"), (2, "b", "y"))
    assert read() == [1, 2]
    assert read() == [1, 2]
    if partitioned:
        write("overwrite", (3, "c", "x"))
        assert read() == [2, 3]
        write("append", (4, "d", "y"))
        assert read() == [2, 3, 4]
        write("append", (5, "e", "z"))
        assert read() == [2, 3, 4, 5]
        assert stock_spark.sql(f"select id from {table} where day = 'z'") == [[5]]
    else:
        write("overwrite", (3, "c"))
        assert read() == [3]
        write("append", (4, "d"))
        assert read() == [3, 4]
    version = spark.sql(f"CALL sfbatch.history(table => '{table}')").first()[0]
    spark.sql(f"CALL sfbatch.rollback(table => '{table}', to => '2')")
    assert read() == [1, 2]
    spark.sql(f"CALL sfbatch.rollback(table => '{table}', to => '{version}')")
    assert read() == ([2, 3, 4, 5] if partitioned else [3, 4])


@pytest.mark.parametrize("partitioned", [True, False], ids=["partitioned", "unpartitioned"])
def test_a_frame_made_before_the_write_reads_its_batch_or_the_new_one_and_never_fails(
    db, spark, stock_spark, partitioned
):
    """Batches stay where they are: a reader half-way through one finishes it."""
    table = f"{db}.t"
    columns, by = (f"{TYPES}, day STRING", "PARTITIONED BY (day)") if partitioned else (TYPES, "")
    spark.sql(f"CREATE TABLE {table} ({columns}) USING sfbatch {by}")
    old = "(1, 'a', 'x')" if partitioned else "(1, 'a')"
    spark.sql(f"INSERT OVERWRITE {table} VALUES {old}")
    stock_spark.run(f"frame = spark.table('{table}'); frame.explain(); iterator = frame.toLocalIterator()")
    spark.sql(f"INSERT OVERWRITE {table} VALUES {old.replace('1', '2', 1)}")
    assert stock_spark.run("result = [row[0] for row in iterator]") in ([1], [2])
    assert stock_spark.run("result = [row[0] for row in frame.collect()]") in ([1], [2])
    assert stock_spark.sql(f"select id from {table}") == [[2]]
