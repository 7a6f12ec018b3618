"""Readers that know nothing of a metastore: they are given the location of each partition, as `CALL sfbatch.history` and the metastore tell it."""

import re

import duckdb
import pandas
import pyarrow
from checker import NULL, Metastore, table_of
from pyarrow import fs, orc, parquet


def locations(uri, table):
    """`([...], "/lake/t/a/20161001120000")` for each partition: its values as the metastore spells them, and its path."""
    with Metastore(uri) as client:
        description = table_of(client, *table.split("."))
        parts = client.get_partitions(*table.split("."), -1) if description.partitionKeys else [description]
    for part in parts:
        values = [None if value == NULL else value for value in getattr(part, "values", [])]
        yield (
            values,
            re.sub(r"^(file:/+|s3a://)", lambda scheme: "/" if scheme[0].startswith("file") else "", part.sd.location),
        )


def files(store, location):
    """An empty partition's directory need not be there on S3."""
    found = store.get_file_info(fs.FileSelector(location, allow_not_found=True))
    return sorted(file.path for file in found if not file.base_name.startswith(("_", ".")))


def by_pyarrow(path, form, store):
    if form == "orc":
        return orc.read_table(path, filesystem=store).to_pylist()
    return parquet.read_table(
        path, filesystem=store, partitioning=None
    ).to_pylist()  # or it takes `day=x` in the path for a column


def by_pandas(path, form, _):
    read = {"parquet": pandas.read_parquet, "orc": pandas.read_orc}[form]
    return pyarrow.Table.from_pandas(read(path, dtype_backend="pyarrow"), preserve_index=False).to_pylist()


def by_duckdb(path, *_):
    cursor = duckdb.execute("SELECT * FROM read_parquet(?)", [path])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def rows(uri, store, table, columns, form, read):
    """The rows of a table: a column that a file does not have was added later; the partition's values are the metastore's."""
    return [
        [*map(record.get, columns), *values]
        for values, location in locations(uri, table)
        for path in files(store, location)
        for record in read(path, form, store)
    ]
