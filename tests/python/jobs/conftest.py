"""The harness of the job server's tests: real servers, no Spark, no metastore. `live` is shared; `fresh` makes servers of a test's own."""

import os
import shutil
import signal
from contextlib import ExitStack

import pytest
from live import Live

FOREIGN = ("SFBATCH_HOME", "SFBATCH_JOBS_DATABASE_URL", "SFBATCH_JOB_ID", "SPARK_HOME", "GENIE_CONFIG", "PYTHONPATH")
FOREIGN += ("PYTHONDONTWRITEBYTECODE",)  # else every server compiles sfbatch anew


def pytest_configure():
    """A developer's own settings must not leak into the tests."""
    for name in FOREIGN:
        os.environ.pop(name, None)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it, and so would its children


@pytest.fixture
def fresh(tmp_path):
    """Makes servers, not started yet; all are stopped at the end, and no process of their jobs may be left."""
    made = []

    def make(*arguments, home=None, **options):
        where = tmp_path / (home or f"home{len(made)}")
        where.mkdir(exist_ok=True)
        made.append(Live(where, *arguments, **options))
        ends.callback(made[-1].stop)
        return made[-1]

    with ExitStack() as ends:  # the others are stopped though one does not stop
        yield make


@pytest.fixture(scope="session")
def started_once(tmp_path_factory):
    """What a first start leaves, with `sh` on its cluster: making it takes longer than most tests."""
    server = Live(tmp_path_factory.mktemp("once")).start()
    server.add_command("sh", "/bin/sh", cluster="local")
    server.stop()
    return server.home / "jobs"


@pytest.fixture
def server(fresh, started_once):
    """A server of the test's own, with `sh` on the cluster of a first start."""
    live = fresh()
    (live.home / "jobs").mkdir()
    for path in (*started_once.glob("jobs.db*"), started_once / "token"):
        shutil.copy(path, live.home / "jobs")
    return live.start()


@pytest.fixture(scope="session")
def live(tmp_path_factory):
    """A server that tests share: they must not change what others see."""
    server = Live(tmp_path_factory.mktemp("live")).start()
    server.add_command("sh", "/bin/sh", cluster="local")
    yield server
    server.stop()
