"""CREATE and adopt: one location has one table and one journal, whatever races, dies or is renamed."""

import pytest
from at_once import Running
from checker import Metastore, table_of
from writer import Died, Refusal, on_one_spark

pytestmark = on_one_spark

OLD = {"1": [(1, "one")], "2": [(2, "two")]}


@pytest.fixture
def client(metastore):
    with Metastore(metastore.uri) as client:
        yield client


def root_of(writer, table):
    return writer.table(table).root().toUri().getPath()


def ids(stock_spark, table):
    return sorted(row[0] for row in stock_spark.sql(f"SELECT id FROM {table}"))


@pytest.mark.parametrize("partitions", [("day",), ()])
def test_the_slower_of_two_creates_is_refused_and_hides_nothing(db, writer, writers, stock_spark, partitions):
    table = f"{db}.t"
    rows = OLD if partitions else {(): [(1, "one"), (2, "two")]}
    slow = writers(at="owned=stop")
    running = Running(lambda: slow.create(table, partitions))
    slow.wait_until_stopped()
    writer.create(table, partitions)
    writer.overwrite(table, rows)
    slow.resume()
    with pytest.raises(Refusal, match="SFBATCH_TABLE_EXISTS"):
        running.result()
    writer.recover(table)
    assert ids(stock_spark, table) == [1, 2]
    assert [operation for _, operation in writer.history(table)] == ["create", "write"]


@pytest.mark.parametrize("partitions", [("day",), ()])
@pytest.mark.parametrize("step", ["owned", "created"])
def test_a_create_that_died_is_done_by_the_same_create_again(db, writer, writers, stock_spark, step, partitions):
    table = f"{db}.t"
    for _ in range(2):
        with pytest.raises(Died):
            writers(at=f"{step}=halt").create(table, partitions)
    writer.create(table, partitions)
    assert root_of(writer, table).endswith("/t")
    writer.append(table, OLD if partitions else {(): [(1, "one"), (2, "two")]})
    assert ids(stock_spark, table) == [1, 2]


def test_a_table_made_again_starts_beside_the_history_of_the_dropped_one(db, writer, client, stock_spark):
    table = f"{db}.t"
    writer.create(table)
    writer.overwrite(table, OLD)
    before = root_of(writer, table)
    client.drop_table(db, "t", False)
    writer.create(table, ("day", "hour"))
    assert root_of(writer, table) != before
    assert root_of(writer, table).startswith(f"{before}_")
    assert [operation for _, operation in writer.history(table)] == ["create"]
    assert ids(stock_spark, table) == []


def test_a_renamed_table_and_one_made_under_its_old_name_share_nothing(db, writer, client, stock_spark):
    writer.create(f"{db}.t")
    renamed = table_of(client, db, "t")
    renamed.tableName = "renamed"
    client.alter_table(db, "t", renamed)
    writer.create(f"{db}.t")
    writer.overwrite(f"{db}.t", {"1": [(1, "t")]})
    writer.overwrite(f"{db}.renamed", {"1": [(2, "renamed")]})
    assert ids(stock_spark, f"{db}.t") == [1]
    assert ids(stock_spark, f"{db}.renamed") == [2]


def test_the_slower_of_two_adopts_is_refused_and_takes_nothing_back(db, writer, writers, stock_spark):
    table = f"{db}.t"
    stock_spark.sql(f"CREATE TABLE {table} (id BIGINT, item STRING)")
    stock_spark.sql(f"INSERT INTO {table} VALUES (1, 'hive')")
    slow = writers(at="owned=stop")
    running = Running(lambda: slow.adopt(table))
    slow.wait_until_stopped()
    writer.adopt(table)
    writer.overwrite(table, {(): [(2, "ours")]})
    slow.resume()
    with pytest.raises(Refusal, match="SFBATCH_ALREADY_OURS"):
        running.result()
    assert ids(stock_spark, table) == [2]
