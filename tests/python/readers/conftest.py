"""One Spark session writes the tables, on local disk and on S3; one Trino and stock Sparks of several versions read them."""

import os
import re
from pathlib import Path

import pytest
from conftest import small_session, wanted_metastore
from s3.s3_server import S3Server
from s3a import JARS
from s3a import s3a as s3a_settings
from stock import StockSpark

from readers.tables import TABLES
from readers.trino_server import TrinoServer

ROOT = Path(__file__).parents[3]
CACHED_S = 3  # by the catalog `briefly_cached`


@pytest.fixture(scope="session")
def s3():
    server = S3Server("lake")
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3a(s3):
    """Hadoop's settings."""
    assert JARS.exists(), "run `make build/.s3`"
    return s3a_settings(s3.endpoint)


@pytest.fixture(scope="session")
def metastore(home, s3a):
    """As everywhere, and on S3 too."""
    with wanted_metastore(home, JARS.read_text().split(":"), s3a) as running:
        yield running


@pytest.fixture(scope="session")
def spark(metastore, s3a, tmp_path_factory):
    """The session with sfbatch, on S3A too."""
    os.chdir(tmp_path_factory.mktemp("cwd"))
    settings = {f"spark.hadoop.{name}": value for name, value in s3a.items()}
    session = small_session(**settings, **{"spark.driver.extraClassPath": JARS.read_text()})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def trino(metastore, s3, tmp_path_factory):
    """Catalog `default` has Trino's own settings, `hive` those that docs/readers.md recommends, `cached` keeps what the metastore said for an hour, `briefly_cached` for `CACHED_S` seconds."""
    hive = {
        "hive.metastore.uri": metastore.uri,
        "fs.native-local.enabled": "true",
        "local.location": "/",
        "fs.native-s3.enabled": "true",
        "s3.endpoint": s3.endpoint,
        "s3.region": "us-east-1",
        "s3.path-style-access": "true",
        "s3.aws-access-key": "any",
        "s3.aws-secret-key": "any",
    }
    exact = {"hive.timestamp-precision": "MICROSECONDS", "hive.metastore.partition-batch-size.min": "100"}
    caches = {"hive.metastore-cache-ttl": "1h", "hive.metastore-cache.cache-partitions": "true"}
    briefly = {**caches, "hive.metastore-cache-ttl": f"{CACHED_S}s"}
    catalogs = {"hive": {}, "cached": caches, "briefly_cached": briefly}
    server = TrinoServer(
        tmp_path_factory.mktemp("trino"), {"default": hive, **{n: hive | exact | more for n, more in catalogs.items()}}
    )
    yield server.start()
    server.close()


@pytest.fixture(scope="session")
def stock(metastore, tmp_path_factory):
    """`stock("4.0")`: a running session of that Spark, without our jar."""
    running = {}

    def start(version):
        if version not in running:
            name = {"3.5": "readers", "4.0": "4.0"}.get(version, f"stock-{version}")
            python = ROOT / ".venv" / f"spark-{name}" / "bin" / "python"
            running[version] = StockSpark(metastore.uri, tmp_path_factory.mktemp("stock"), python=python)
        return running[version]

    yield start
    for session in running.values():
        session.close()


@pytest.fixture(scope="session")
def written(spark, metastore):
    """`written("s3a", "types_orc")`: the name of that table, which is made when first asked for."""
    made = {}

    def make(store, name):
        database = f"readers_{store}"
        if database not in made:
            place = f"s3a://lake/{database}" if store == "s3a" else f"{metastore.warehouse}/{database}"
            spark.sql(f"CREATE DATABASE {database} LOCATION '{place}'")
            made[database] = True
        if (store, name) not in made:
            made[store, name] = f"{database}.{name}"
            write(spark, TABLES[name], made[store, name])
        return made[store, name]

    return make


def write(spark, table, name):
    spark.sql(table.create.format(t=name))
    schema = re.sub(r"(CHAR|VARCHAR)\(\d+\)", "STRING", table.columns)
    for step in table.steps:
        if isinstance(step, str):
            spark.sql(step.format(t=name))
        else:
            mode, rows = step
            spark.createDataFrame(rows, schema).write.format("sfbatch").mode(mode).save(name)
