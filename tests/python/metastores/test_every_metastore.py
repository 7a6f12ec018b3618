"""What sfbatch asks of any metastore, without a Spark of its own: locks, atomic switches, names. The checker reads it all back after each test."""

import copy
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from at_once import Running
from checker import Metastore, table_of
from pymetastore.hive_metastore import ttypes
from writer import Died, Refusal

#: Values that a database may take for the same, or for something else.
HARD = [
    "a",
    "A",
    "ä",
    "Ä",
    "é",
    "a b",
    "a  b",
    " a",
    "100%",
    "a/b",
    "a=b",
    "a:b",
    "'",
    '"',
    "\\",
    "NULL",
    "null",
    "0",
    "00",
]
HARD += ["_", "%", "a_b", "aXb", "select", "x" * 60]
#: Hive makes its tables in MySQL and MariaDB with latin1 names.
BEYOND_LATIN1 = ["e\u0301", "日本", "🦆"]
LATIN1 = os.environ.get("SFBATCH_TEST_METASTORE", "").endswith("mariadb")


def rows_of(client, db, table):
    """values -> what the metastore says of the partition's rows and version."""
    shown = client.get_partitions(db, table, -1)
    return {tuple(p.values): (int(p.parameters["numRows"]), int(p.parameters["sfbatch.version"])) for p in shown}


@pytest.fixture
def client(metastore):
    with Metastore(metastore.uri) as thrift:
        yield thrift


def test_write_rewrite_append_drop_roll_back_and_recover(db, writer, client):
    table = f"{db}.t"
    writer.create(table)
    writer.overwrite(table, {"1": [(1, "a")], "2": [(2, "b")]})
    writer.overwrite(table, {"1": [(3, "c"), (4, "d")]})
    writer.append(table, {"2": [(5, "e")], "3": [(6, "f")]})
    assert rows_of(client, db, "t") == {("1",): (2, 3), ("2",): (2, 4), ("3",): (1, 4)}
    writer.drop(table, "3")
    writer.rollback(table, "2")
    assert rows_of(client, db, "t") == {("1",): (1, 6), ("2",): (1, 6)}
    assert writer.recover(table) == ([], [], [])


def test_an_unpartitioned_table(db, writer, client):
    table = f"{db}.t"
    writer.create(table, ())
    writer.overwrite(table, {(): [(1, "a")]})
    writer.append(table, {(): [(2, "b")]})
    parameters = table_of(client, db, "t").parameters
    assert (parameters["numRows"], parameters["sfbatch.version"]) == ("2", "3")


def test_names_that_a_database_may_take_for_the_same(db, writer, client):
    table, values = f"{db}.t", HARD + ([] if LATIN1 else BEYOND_LATIN1)
    writer.create(table)
    for _ in ("made", "switched"):
        writer.overwrite(table, {value: [(1, value)] for value in values})
    assert set(rows_of(client, db, "t")) == {(value,) for value in values}
    assert {version for _, version in rows_of(client, db, "t").values()} == {3}


@pytest.mark.skipif(not LATIN1, reason="this database holds every character")
@pytest.mark.parametrize("value", BEYOND_LATIN1)
def test_a_name_the_database_cannot_hold_is_refused_before_the_commit(db, writer, client, value):
    table = f"{db}.t"
    writer.create(table)
    writer.overwrite(table, {"a": [(1, "a")]})
    with pytest.raises(Refusal, match=f"SFBATCH_BAD_PARTITION_VALUE.*'day={value}'"):
        writer.overwrite(table, {"a": [(2, "b")], value: [(3, "c")]})
    assert rows_of(client, db, "t") == {("a",): (1, 2)}
    assert writer.recover(table) == ([], [], [])


def test_values_that_differ_in_trailing_blanks_are_two_or_refused(db, writer, client):
    table = f"{db}.t"
    writer.create(table)
    writer.overwrite(table, {"a": [(1, "a")]})
    if LATIN1:  # to MySQL and MariaDB the two are equal
        with pytest.raises(Refusal, match="SFBATCH_PUBLISH_REFUSED"):
            writer.overwrite(table, {"a ": [(2, "b"), (3, "c")]})
        assert rows_of(client, db, "t") == {("a",): (1, 2)}
    else:
        writer.overwrite(table, {"a ": [(2, "b"), (3, "c")]})
        assert rows_of(client, db, "t") == {("a",): (1, 2), ("a ",): (2, 3)}


def test_many_partitions_are_switched_as_one(db, writer, client, metastore):
    """A request beside switches finds all locations before one or all after it."""
    table = f"{db}.t"
    writer.create(table)

    def write(turn):
        writer.overwrite(table, {f"{number:04}": [(turn, "x")] for number in range(120)})

    write(0)
    switching, seen = Running(lambda: [write(turn) for turn in range(1, 6)]), []
    with Metastore(metastore.uri) as reader:
        while not switching.done:
            seen.append({p.sd.location.split("/")[-1] for p in reader.get_partitions(db, "t", -1)})
    switching.result()
    assert {len(batches) for batches in seen} == {1}
    assert len(set.union(*seen)) > 2
    assert {version for _, version in rows_of(client, db, "t").values()} == {7}


def test_an_alter_of_many_is_all_or_nothing(db, writer, client):
    writer.create(f"{db}.t")
    writer.overwrite(f"{db}.t", {"1": [(1, "a")], "2": [(2, "b")]})
    before = client.get_partitions(db, "t", -1)
    moved = [copy.deepcopy(partition) for partition in [*before, before[0]]]
    for partition in moved:
        partition.sd.location += "-moved"
    moved[-1].values = ["not there"]
    with pytest.raises((ttypes.InvalidOperationException, ttypes.MetaException)):
        client.alter_partitions(db, "t", moved)
    assert [p.sd.location for p in client.get_partitions(db, "t", -1)] == [p.sd.location for p in before]


def test_four_drivers_at_once_lose_nothing(db, writer, writers, client):
    table = f"{db}.t"
    writer.create(table)
    drivers = [writers(user=f"user{number}") for number in range(4)]

    def append(driver):
        for turn in range(3):
            driver.append(table, {"1": [(turn, "x")]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, drivers))
    assert rows_of(client, db, "t") == {("1",): (12, 13)}


def test_a_lock_excludes_until_it_is_unlocked(client, metastore):
    def ask(thrift):
        component = ttypes.LockComponent(
            type=ttypes.LockType.EXCLUSIVE, level=ttypes.LockLevel.TABLE, dbname="sfbatch", tablename="x#sfbatch"
        )
        return thrift.lock(ttypes.LockRequest(component=[component], user="u", hostname="h"))

    with Metastore(metastore.uri) as other:
        first, second = ask(client), ask(other)
        assert (first.state, second.state) == (ttypes.LockState.ACQUIRED, ttypes.LockState.WAITING)
        client.unlock(ttypes.UnlockRequest(first.lockid))
        assert other.check_lock(ttypes.CheckLockRequest(second.lockid)).state == ttypes.LockState.ACQUIRED
        other.unlock(ttypes.UnlockRequest(second.lockid))


def test_a_dead_writer_s_version_is_finished_by_the_next(db, writer, writers, client):
    table = f"{db}.t"
    writer.create(table)
    writer.overwrite(table, {"1": [(1, "a")]})
    dead = writers(at="journalled=halt")
    with pytest.raises(Died):
        dead.overwrite(table, {"1": [(2, "b"), (3, "c")]})
    writer.append(table, {"2": [(4, "d")]})
    assert rows_of(client, db, "t") == {("1",): (2, 3), ("2",): (1, 4)}
