"""Tables on HDFS, Hadoop's own in one process: what is written with sfbatch is read by a stock session; the checker reads a copy."""

import re

import checker
import pytest
from at_once import at_once
from hdfs_cluster import HdfsCluster
from sfbatch.spark import CATALOG, EXTENSION, jar_path
from stock import StockSpark


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory):
    running = HdfsCluster(tmp_path_factory.mktemp("hdfs"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def new_session(hdfs, metastore, tmp_path_factory):
    """`new_session(user="ada")`: a driver with sfbatch in a process of its own; `ours=False`: a stock one."""
    started = []

    def start(*, ours=True, user="ada", **env):
        settings = {
            "spark.jars": jar_path(), "spark.sql.extensions": EXTENSION, "spark.sql.catalog.spark_catalog": CATALOG
        } if ours else {}  # fmt: skip
        folder = tmp_path_factory.mktemp("session")
        (folder / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        session = StockSpark(metastore.uri, folder, {"SPARK_CONF_DIR": str(folder), "HADOOP_USER_NAME": user, **env})
        started.append(session)
        return session

    yield start
    for session in started:
        session.close()


@pytest.fixture(scope="module")
def ours(new_session):
    return new_session()


@pytest.fixture(scope="module")
def stock(new_session):
    return new_session(ours=False)


@pytest.fixture
def db(hdfs, ours, request):
    """A database on HDFS."""
    name = re.sub(r"[^a-z0-9]+", "_", request.node.name.lower())[5:].strip("_")[-50:]
    ours.sql(f"CREATE DATABASE {name} LOCATION '{hdfs.uri}/{name}'")
    return name


@pytest.fixture(autouse=True)
def journal_equals_metastore(request, hdfs, ours, metastore, tmp_path, monkeypatch):
    """In place of every test's: the tables of `db` are held against their journals in a copy."""
    name = request.getfixturevalue("db") if "db" in request.fixturenames else None
    yield
    if name and not getattr(request.node, "failed_in_call", False):
        hdfs.mirror(ours, f"/{name}", tmp_path / name)
        monkeypatch.setitem(checker.MIRRORS, hdfs.uri, tmp_path)
        tables = checker.ours(metastore.uri, name)
        assert tables
        assert [line for table in tables for line in checker.problems(metastore.uri, name, table)] == []


def test_written_rewritten_appended_rolled_back_and_read_by_a_stock_session(ours, stock, hdfs, db):
    table, read = f"{db}.t", f"SELECT id, item, day FROM {db}.t ORDER BY id"
    first, second = [1, "a", "20161001"], [2, "b", "20161002"]
    ours.sql(f"CREATE TABLE {table} (id BIGINT, item STRING, day STRING) USING sfbatch PARTITIONED BY (day)")
    assert stock.sql(read) == []
    ours.sql(f"INSERT INTO {table} VALUES (1, 'a', '20161001'), (2, 'b', '20161002')")
    assert stock.sql(read) == [first, second]
    ours.sql(f"INSERT OVERWRITE {table} VALUES (3, 'c', '20161001')")
    assert stock.sql(read) == [second, [3, "c", "20161001"]]
    ours.sql(f"INSERT INTO {table} VALUES (4, 'd', '20161001')")
    assert stock.sql(read) == [second, [3, "c", "20161001"], [4, "d", "20161001"]]
    ours.sql(f"CALL sfbatch.rollback(table => '{table}', to => 2)")
    assert stock.sql(read) == [first, second]
    ours.sql(f"INSERT OVERWRITE {table} PARTITION (day = '20161002') SELECT 1, 'x' WHERE false")
    assert stock.sql(read) == [first]
    history = ours.sql(f"CALL sfbatch.history(table => '{table}')")
    assert [row[0] for row in history if row[4] in (None, "day=20161001")] == [5, 4, 3, 2, 1]
    assert not [file for file in hdfs.files(ours, f"/{db}/t") if file.endswith(".tmp") or "_temporary" in file]


@pytest.mark.parametrize("form", ["orc", "text"])
def test_an_unpartitioned_table_is_switched_as_a_whole(ours, stock, db, form):
    ours.sql(f"CREATE TABLE {db}.t (id INT, item STRING) USING sfbatch OPTIONS (format '{form}')")
    ours.sql(f"INSERT INTO {db}.t VALUES (1, 'a')")
    ours.sql(f"INSERT INTO {db}.t VALUES (2, 'b')")
    assert stock.sql(f"SELECT * FROM {db}.t ORDER BY id") == [[1, "a"], [2, "b"]]
    ours.sql(f"INSERT OVERWRITE {db}.t SELECT 3, 'c' WHERE false")
    assert stock.sql(f"SELECT * FROM {db}.t") == []


def test_of_racing_creates_exactly_one_wins(ours, hdfs):
    create = """
from concurrent.futures import ThreadPoolExecutor
def create(place):
    path = spark._jvm.org.apache.hadoop.fs.Path(place)
    return spark._jvm.sfbatch.Store.of(path, spark._jsc.hadoopConfiguration()).createExclusive(path, b"x")
"""
    race = f"with ThreadPoolExecutor(8) as pool: result = [sum(pool.map(create, [f'{hdfs.uri}/race/{{key}}'] * 8)) for key in range(25)]"
    assert ours.run(create + race) == [1] * 25
    assert hdfs.files(ours, "/race") == sorted(str(key) for key in range(25))


def test_two_drivers_at_once_on_one_root_lose_nothing(ours, stock, new_session, db):
    ours.sql(f"CREATE TABLE {db}.t (id BIGINT, day STRING) USING sfbatch PARTITIONED BY (day)")
    drivers = [ours, new_session()]

    def writes(number):
        for turn in range(3):
            drivers[number].sql(f"INSERT OVERWRITE {db}.t SELECT id, '{number}' FROM range({(turn + 1) * 100})")
            drivers[number].sql(f"INSERT INTO {db}.t VALUES ({number}{turn}, 'both')")

    at_once([lambda: writes(0), lambda: writes(1)])
    read = f"SELECT day, count(*) FROM {db}.t GROUP BY day ORDER BY day"
    assert stock.sql(read) == [["0", 300], ["1", 300], ["both", 6]]


@pytest.mark.parametrize(("step", "published"), [("written", False), ("journalled", True), ("shown", True)])
def test_what_a_killed_driver_left_is_settled_by_the_next_writer(ours, stock, new_session, db, step, published):
    ours.sql(f"CREATE TABLE {db}.t (id INT, day STRING) USING sfbatch PARTITIONED BY (day)")
    ours.sql(f"INSERT INTO {db}.t VALUES (1, 'a')")
    doomed = new_session(SFBATCH_TEST_AT_STEP=f"{step}=halt:1")
    with pytest.raises(RuntimeError):
        doomed.sql(f"INSERT OVERWRITE {db}.t VALUES (2, 'a')")
    ours.sql(f"INSERT INTO {db}.t VALUES (3, 'b')")
    assert stock.sql(f"SELECT id FROM {db}.t ORDER BY id") == [[2 if published else 1], [3]]


def test_a_name_node_that_is_restarted_forgets_nothing(ours, new_session, hdfs, db):
    ours.sql(f"CREATE TABLE {db}.t (id INT) USING sfbatch")
    for turn in range(3):
        hdfs.restart_name_node()
        try:
            ours.sql(f"INSERT INTO {db}.t VALUES ({turn})")
        except RuntimeError as error:  # Hadoop's client finds its connection cut, and tries no second time
            assert "SFBATCH_STORE_FAILED" in str(error)
            ours.sql(f"INSERT INTO {db}.t VALUES ({turn})")
    assert new_session(ours=False).sql(f"SELECT id FROM {db}.t ORDER BY id") == [[0], [1], [2]]


def test_who_may_not_write_the_directory_is_told_and_changes_nothing(ours, stock, new_session, hdfs, db):
    ours.sql(f"CREATE TABLE {db}.t (id INT) USING sfbatch")
    ours.sql(f"INSERT INTO {db}.t VALUES (1)")
    before = hdfs.files(ours, f"/{db}")
    eve = new_session(user="eve")
    assert eve.sql(f"SELECT * FROM {db}.t") == [[1]]
    for statement in ("INSERT INTO", "INSERT OVERWRITE"):
        with pytest.raises(RuntimeError, match=r"SFBATCH_NO_PERMISSION.*user=eve"):
            eve.sql(f"{statement} {db}.t VALUES (2)")
    assert hdfs.files(ours, f"/{db}") == before
    assert stock.sql(f"SELECT * FROM {db}.t") == [[1]]
