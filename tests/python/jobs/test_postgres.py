"""The same on PostgreSQL, and while PostgreSQL restarts. Skipped where there is none."""

import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from live import FINAL, eventually
from postgres import BIN, Postgres
from sfbatch.jobs.database import HEAD, Database
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.tables import metadata
from sqlalchemy import func, insert, select
from test_survival import JOBS, KILLS, outlive

pytestmark = pytest.mark.skipif(BIN is None, reason="PostgreSQL is not installed")


@pytest.fixture(scope="module")
def postgres():
    directory = Path(f"/tmp/sfbatch-postgres-{os.getpid()}")  # pytest's own are closed to other users
    server = Postgres(directory).start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def url(postgres):
    """An empty database."""
    name = f"test{time.time_ns()}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.url.replace("/postgres", f"/{name}")


def test_the_tables_are_what_the_migrations_make(url, tmp_path):
    database = Database(Settings(home=tmp_path, database_url=url).url)
    database.migrate()
    assert database.schema_version() == HEAD
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_a_read_sees_one_state(url, tmp_path):
    database = Database(Settings(home=tmp_path, database_url=url).url)
    database.migrate()
    count = select(func.count()).select_from(metadata.tables["servers"])
    with database.read() as reader:
        assert reader.scalar(count) == 0
        with database.write() as writer:
            writer.execute(insert(metadata.tables["servers"]).values(id="b", host="h", started_ms=0, alive_until_ms=0))
        assert reader.scalar(count) == 0
    with database.read() as reader:
        assert reader.scalar(count) == 1
    database.close()


def test_jobs_are_submitted_run_searched_and_killed(fresh, url):
    server = fresh(env={"SFBATCH_JOBS_DATABASE_URL": url}).start()
    server.add_command("sh", "/bin/sh", cluster="local")
    first = server.submit(["-c", "cat a"], files={"a": b"content"}, tags=["x"], metadata={"nul": "\0"})
    assert server.ended(first)["status"] == "SUCCEEDED"
    assert server.output(first).text == "content"
    second = server.submit(["-c", "sleep 60"], tags=["x"])
    server.running(second)
    assert server.api.delete(f"{server.base}/jobs/{second}", timeout=60).status_code == 202
    assert server.ended(second)["status"] == "KILLED"
    found = server.get("jobs", tag="x", user="ali%", sort="started,asc").json()
    assert [job["id"] for job in found["_embedded"]["jobSearchResultList"]] == [first, second]
    assert server.post("jobs", server.job([], id=first)).status_code == 409
    assert server.get("jobs", name="\0").status_code == 400
    assert "postgresql" not in server.log_text()


def test_jobs_outlive_a_restart_of_the_database(fresh, postgres, url):
    server = fresh("--memory-mb", "160", env={"SFBATCH_JOBS_DATABASE_URL": url}).start()
    server.add_command("sh", "/bin/sh", cluster="local")
    answers = {}

    def submit_all():
        for number in range(30):
            body = server.job(["-c", "echo x >> began; sleep 1"], id=f"job{number}")
            answers[f"job{number}"] = server.post("jobs", body).status_code
            time.sleep(0.1)

    submitter = threading.Thread(target=submit_all)
    submitter.start()
    for _ in range(2):
        time.sleep(0.8)
        postgres.stop()
        time.sleep(0.7)
        postgres.start()
    submitter.join(240)
    assert Counter(answers.values()) == {202: 30}  # it waited for the database, and refused nobody

    def all_ended():
        found = server.get("jobs", size=100).json()["_embedded"]["jobSearchResultList"]
        return all(job["status"] in FINAL for job in found) and Counter(job["status"] for job in found)

    assert eventually(all_ended, 180) == {"SUCCEEDED": 30}
    for job_id in answers:
        assert (server.directory(job_id) / "began").read_text() == "x\n"


def test_jobs_outlive_kills_of_the_server_and_restarts_of_the_database(fresh, postgres, url):
    server = fresh("--memory-mb", "320", env={"SFBATCH_JOBS_DATABASE_URL": url}).start()
    server.add_command("sh", "/bin/sh", cluster="local")

    def disturb(rng):
        if rng.random() < 0.5:
            postgres.stop()
            time.sleep(rng.uniform(0, 0.5))
            postgres.start()
        else:
            server.kill9()
            server.start()

    outlive(server, disturb, max(KILLS // 2, 4), JOBS)


def test_servers_that_share_a_database_keep_a_clusters_limit_together(fresh, url):
    one, two = (fresh(env={"SFBATCH_JOBS_DATABASE_URL": url}).start() for _ in range(2))
    one.add_command("sh", "/bin/sh")
    one.add_cluster("narrow", ["env:narrow"], limits={"maxRunningJobs": 2}, commands=["sh"])
    ids = [
        (s, s.submit(["-c", "echo x >> began; sleep 0.4"], cluster=("env:narrow",)))
        for _ in range(5)
        for s in (one, two)
    ]
    most = 0

    def all_ended():
        nonlocal most
        running = one.get("jobs", status=["INIT", "RUNNING"]).json()["page"]["totalElements"]
        most = max(most, running)
        return one.get("jobs", status="SUCCEEDED").json()["page"]["totalElements"] == len(ids)

    eventually(all_ended, 180)
    assert most <= 2
    for server, job_id in ids:
        assert (server.directory(job_id) / "began").read_text() == "x\n"
