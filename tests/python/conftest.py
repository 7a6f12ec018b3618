"""The harness: a real metastore of the tests' own, a session with sfbatch, a stock session without, and the checker after every test.

`metastore`, `spark`, `stock_spark` live as long as the pytest process; `db` is a fresh database per test.
"""

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import checker
import pytest
from jvm import QUICK
from pymetastore.hive_metastore import ttypes
from sfbatch import configure_spark, local_metastore
from stock import StockSpark
from writer import Writer

FOREIGN = (
    "SPARK_HOME",
    "SPARK_CONF_DIR",
    "PYSPARK_SUBMIT_ARGS",
    "SFBATCH_METASTORE_URI",
    "SFBATCH_JOB_ID",
    "HADOOP_CONF_DIR",
)


def pytest_configure():
    """A developer's own settings must not leak into the tests. (A driver that imports this module keeps what it was given.)"""
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    for name in ("SPARK_LAUNCHER_OPTS", "SPARK_SUBMIT_OPTS", "SFBATCH_METASTORE_JAVA_OPTIONS"):
        os.environ[name] = " ".join(QUICK)


#: What the tests' sessions have beyond configure_spark: small, quiet, no UI.
SMALL = {
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.python.authenticate.socketTimeout": "120s",
}


def small_session(**conf):
    """A session as the tests' own, e.g. in a driver: `spark = small_session()`."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("test")
    for key, value in {**SMALL, **conf}.items():
        builder.config(key, value)
    spark = configure_spark(builder).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """SFBATCH_HOME of this pytest process and of all it starts."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["SFBATCH_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def metastore(home):
    """The embedded metastore, a real server process on Derby: `.uri`, `.warehouse`, `.pid`. Or Hive's own on a database server."""
    with wanted_metastore(home) as running:
        yield running


@contextlib.contextmanager
def wanted_metastore(home, jars=(), settings=()):
    """`jars`, `settings`: of a file system that Hive's own is to know."""
    wanted = os.environ.get("SFBATCH_TEST_METASTORE")  # 2.3.9-postgres, ...: `make test-metastores`
    if wanted is None:
        yield local_metastore.start(home)
        local_metastore.stop(home)
        return
    from hive_metastore import HiveMetastore

    place = Path(tempfile.mkdtemp(prefix="sfbatch-metastore-"))
    running = HiveMetastore(*wanted.split("-"), place, jars, settings).start()
    os.environ["SFBATCH_METASTORE_URI"] = running.uri
    yield running
    running.close()


@pytest.fixture(scope="session")
def spark(metastore, tmp_path_factory):
    """A session with sfbatch, local[2]."""
    os.chdir(tmp_path_factory.mktemp("cwd"))
    session = small_session()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def stock_spark(metastore, tmp_path_factory):
    """A running session without our jar in a process of its own: `stock_spark.sql("select ...")`, `.run("result = ...")`."""
    session = StockSpark(metastore.uri, tmp_path_factory.mktemp("stock"))
    yield session
    session.close()


@pytest.fixture(scope="session")
def writer(metastore):
    """A driver without a Spark session that no test harms."""
    made = Writer(metastore.uri)
    yield made
    made.close()


@pytest.fixture
def writers(metastore):
    """`writers(at="journalled=hang")`: a driver without a Spark session, for this test alone."""
    made = []

    def start(uri=None, **settings):
        made.append(Writer(uri or metastore.uri, **settings))
        return made[-1]

    yield start
    for one in made:
        one.close()


_numbers = itertools.count(1)


@pytest.fixture
def db(metastore, request):
    """The name of a fresh database; its tables are held against their journals when the test is over."""
    name = f"t{next(_numbers)}_{re.sub(r'[^a-z0-9]+', '_', request.node.originalname.lower())[:60]}"
    with checker.Metastore(metastore.uri) as client:
        client.create_database(ttypes.Database(name=name, locationUri=f"{metastore.warehouse}/{name}.db"))
    return name


@pytest.fixture(autouse=True)
def journal_equals_metastore(request):
    """After every test with a database: journal, metastore and directories of each of its tables agree."""
    name = request.getfixturevalue("db") if "db" in request.fixturenames else None
    yield
    if name and not request.node.get_closest_marker("unchecked") and not getattr(request.node, "failed_in_call", False):
        uri = request.getfixturevalue("metastore").uri
        found = {table: checker.problems(uri, name, table) for table in checker.ours(uri, name)}
        found = {table: sentences for table, sentences in found.items() if sentences}
        assert not found, "\n".join(f"{name}.{table}: {line}" for table, lines in found.items() for line in lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed:
        item.failed_in_call = True
    return report


@dataclass
class Driven:
    """How a driver ended: its exit code (negative: killed by that signal), what it printed, and its log."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_driver(tmp_path, metastore):
    """`run_driver(script, env={}, kill_at=None, kill_after_s=None)`: a script in a Python process (and so a JVM) of its own.

    The script finds `small_session`, e.g. `from conftest import small_session; spark = small_session()`.
    kill_at: the step (scala/main/sfbatch/Step.scala) at which its JVM dies as by kill -9: `journalled`, or `journalled:2` for the
    second passing; `journalled=stop` stops it as by kill -STOP.
    kill_after_s: kill -9 of the driver and its JVM so many seconds after the script prints a line `GO`.
    """
    started = []

    def run(script, *, env=None, kill_at=None, kill_after_s=None, timeout_s=600, check=None):
        driver = start(script, env=env, kill_at=kill_at)
        if kill_after_s is not None:
            for line in driver.stdout:
                if line.strip() == "GO":
                    break
            time.sleep(kill_after_s)
            kill(driver)
        out, _ = driver.communicate(timeout=timeout_s)
        ended = Driven(driver.returncode, out, driver.log.read_text())
        if check if check is not None else kill_at is None and kill_after_s is None:
            assert ended.code == 0, f"the driver failed:\n{ended.out}\n{ended.err[-4000:]}"
        return ended

    def start(script, *, env=None, kill_at=None, arguments=()):
        """Start it and return the Popen, with a `.log` of what it says on stderr; it is killed when the test ends."""
        step, _, nth = (kill_at or "").partition(":")
        at = kill_at if "=" in step else f"{step}=halt:{nth or 1}"
        extra = {"SFBATCH_TEST_AT_STEP": at} if kill_at else {}
        log = tmp_path / f"driver{len(started)}.log"
        with log.open("w") as stderr:  # a pipe that nobody reads would be full one day
            driver = subprocess.Popen(
                [sys.executable, "-c", script, *arguments], cwd=tmp_path, env={**os.environ, **(env or {}), **extra}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            )  # fmt: skip
        driver.log = log
        started.append(driver)
        return driver

    def kill(driver):
        os.killpg(driver.pid, signal.SIGKILL)

    run.start, run.kill = start, kill
    yield run
    for driver in started:
        if driver.poll() is None:
            kill(driver)
            driver.wait()


def tree(path, journal=False):
    """The files under a table's root, sorted; part files' unique names are cut: `20130101/20261121120000/part.parquet`.

    Batch IDs stay. `_sfbatch` is left out unless journal=True.
    """
    root = Path(re.sub(r"^file:/+", "/", str(path)))
    files = (file.relative_to(root) for file in root.rglob("*") if file.is_file() and not file.name.endswith(".crc"))
    kept = (file for file in files if journal or file.parts[0] != "_sfbatch")
    return sorted(re.sub(r"part-[^/]*?(\.snappy|\.zstd|\.gz)?(\.\w+)?$", r"part\2", str(file)) for file in kept)


@pytest.fixture(name="tree")
def _tree():
    return tree


@pytest.fixture
def tmp_home(tmp_path):
    """A SFBATCH_HOME of the test's own, for tests of the metastore itself; what was started there is stopped."""
    folder = tmp_path / "home"
    yield folder
    local_metastore.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lasting_port(tmp_home):
    """The port that the metastore of `tmp_home` has from its first start on; no connection is given it while none listens."""
    while True:
        port = random.randrange(20000, 32768)  # below those that connections get
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            break
    (tmp_home / "metastore").mkdir(parents=True)
    (tmp_home / "metastore" / "state.json").write_text(json.dumps({"port": port}))
    return port
