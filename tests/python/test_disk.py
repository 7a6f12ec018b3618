"""A disk that is full, a directory one may not write to: an error by name, nothing published, and later all goes on."""

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from at_once import Running
from checker import journal, problems
from metastore_proxy import ALTER, REFUSED, Proxy
from writer import Refusal, on_one_spark, wait_for

OLD = {"1": [(1, "old")], "2": [(2, "old")]}
NEW = {"1": [(11, "new")], "2": [(12, "new")]}


# The directories are gone before the harness' own look at the tables: so these fixtures look first.
pytestmark = [pytest.mark.unchecked("checked here"), on_one_spark]


@pytest.fixture
def small_disk(tmp_path, metastore, db):
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=1000", "tmpfs", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    found = problems(metastore.uri, db, "t")
    subprocess.run(["umount", "-l", place], check=True)
    assert not found, found


@pytest.fixture
def place(metastore, db):
    """A directory that anybody may enter and only we may write to."""
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    made = Path(tempfile.mkdtemp(prefix="sfbatch-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    found = problems(metastore.uri, db, "t")
    shutil.rmtree(made)
    assert not found, found


def fill(disk):
    """Take all that is left, bytes and names; `shutil.rmtree` what this returns to give it back."""
    filler = disk / "filler"
    filler.mkdir()
    with (filler / "bytes").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with contextlib.suppress(OSError):
        for name in itertools.count():
            (filler / str(name)).touch()
    return filler


def ids(stock_spark, table):
    return sorted(tuple(row) for row in stock_spark.sql(f"select day, id from {table}"))


def test_a_disk_full_while_data_files_are_written_publishes_nothing(db, spark, small_disk, stock_spark):
    table = f"{db}.t"
    spark.sql(
        f"CREATE TABLE {table} (id BIGINT, item STRING, day STRING) USING sfbatch PARTITIONED BY (day) LOCATION '{small_disk}/t'"
    )
    spark.sql(f"INSERT INTO {table} VALUES (1, 'old', '1'), (2, 'old', '2')")
    large = spark.range(0, 2_000_000, 1, 2).selectExpr("id", "uuid() item", "cast(id % 2 + 1 as string) day")
    with pytest.raises(Exception, match="(?i)no space left"):
        large.write.format("sfbatch").mode("overwrite").save(table)
    assert ids(stock_spark, table) == [("1", 1), ("2", 2)]
    assert len(journal(small_disk / "t")) == 2

    def is_free():
        spark._jvm.System.gc()  # Spark's writers leave files open that could not be written: unlinked, they still take room
        return shutil.disk_usage(small_disk).free > 2 << 20

    def is_empty():
        try:
            return not list((small_disk / "t").glob("_temporary/**/part-*"))
        except FileNotFoundError:  # a directory went while it was walked
            return False

    # A task that still ran when the job failed ends soon.
    wait_for(is_free)
    wait_for(is_empty)  # else the failed job left its files
    spark.sql(f"INSERT INTO {table} VALUES (3, 'new', '3')")
    assert ids(stock_spark, table) == [("1", 1), ("2", 2), ("3", 3)]


@pytest.mark.parametrize(("step", "committed"), [("verified", False), ("journalled", True), ("shown", True)])
def test_a_disk_full_while_the_journal_is_written_is_an_error_and_the_next_writer_goes_on(
    db, writer, writers, small_disk, stock_spark, step, committed
):
    table = f"{db}.t"
    writer.create(table, location=f"file:{small_disk}/t")
    writer.overwrite(table, OLD)
    paused = writers(at=f"{step}=stop")
    write = Running(lambda: paused.overwrite(table, NEW))
    paused.wait_until_stopped()
    filler = fill(small_disk)
    paused.resume()
    code = "SFBATCH_PUBLISH_UNCLEAR.*committed" if committed else "SFBATCH_STORE_FAILED"
    with pytest.raises(Refusal, match=f"{code}.*No space left") as told:
        write.result()
    assert ("run again" in str(told.value)) is not committed
    assert ids(stock_spark, table) in ([("1", 1), ("2", 2)], *([[("1", 11), ("2", 12)]] if committed else []))
    shutil.rmtree(filler)
    writer.overwrite(table, {"3": [(3, "next")]})
    assert ids(stock_spark, table) == [*([("1", 11), ("2", 12)] if committed else [("1", 1), ("2", 2)]), ("3", 3)]


def test_a_version_that_was_refused_before_the_disk_was_full_is_not_called_committed(
    db, metastore, writer, writers, small_disk, stock_spark
):
    table = f"{db}.t"
    writer.create(table, location=f"file:{small_disk}/t")
    writer.overwrite(table, OLD)
    with Proxy(metastore.uri) as proxy:
        proxy.refuse(ALTER, REFUSED)
        paused = writers(at="aborting=stop", uri=proxy.uri)
        write = Running(lambda: paused.append(table, NEW))
        paused.wait_until_stopped()
        filler = fill(small_disk)
        paused.resume()
        with pytest.raises(
            Refusal, match=r"\[SFBATCH_PUBLISH_REFUSED\] version 3 .*is closed.*No space left.*run it again"
        ):
            write.result()
    shutil.rmtree(filler)
    writer.append(table, NEW)
    assert ids(stock_spark, table) == [("1", 1), ("1", 11), ("2", 2), ("2", 12)]


def test_a_user_without_permission_on_the_path_is_refused_before_the_first_byte(
    db, writer, writers, stock_spark, place
):
    table = f"{db}.t"
    writer.create(table, location=f"file:{place}/t")
    writer.overwrite(table, OLD)
    before = sorted(place.rglob("*"))
    nobody = writers(user="nobody", uid=65534)
    for action in (lambda: nobody.overwrite(table, NEW), lambda: nobody.append(table, NEW)):
        with pytest.raises(Refusal, match="SFBATCH_NO_PERMISSION.*Ask for write access"):
            action()
    assert sorted(place.rglob("*")) == before
    assert ids(stock_spark, table) == [("1", 1), ("2", 2)]


@pytest.mark.parametrize("part", ["_sfbatch/claims", "_sfbatch/journal"])
def test_a_user_who_may_not_write_one_directory_of_the_journal_publishes_nothing(
    db, writer, writers, stock_spark, place, part
):
    table = f"{db}.t"
    writer.create(table, location=f"file:{place}/t")
    writer.overwrite(table, OLD)
    subprocess.run(["chown", "-R", "65534", place], check=True)
    subprocess.run(["chown", "-R", "0", place / "t" / part], check=True)
    with pytest.raises(Refusal, match="SFBATCH_NO_PERMISSION"):
        writers(user="nobody", uid=65534).overwrite(table, NEW)
    assert ids(stock_spark, table) == [("1", 1), ("2", 2)]
    assert len(journal(place / "t")) == 2
