"""kill -9 of the server at random moments: each job ends with one truthful state, none ran twice, none is orphaned."""

import io
import json
import os
import random
import shutil
import sqlite3
import threading
import time
from collections import Counter

import pytest
import requests
from live import FINAL, eventually, until
from sfbatch.jobs import first_start, home, lease
from sfbatch.jobs.accept import Attachment, Sender, accept
from sfbatch.jobs.backends.leftovers import processes_of
from sfbatch.jobs.database import Database
from sfbatch.jobs.dispatcher import Dispatcher
from sfbatch.jobs.environments import Unwanted
from sfbatch.jobs.home import alone, server_id
from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.requests import JobRequest
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.tables import jobs, servers
from sfbatch.jobs.tokens import ADMIN, Principal
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

KILLS = int(os.environ.get("SFBATCH_TEST_KILLS", "8"))
JOBS = int(os.environ.get("SFBATCH_TEST_JOBS", "40"))
SPARK_SUBMIT = os.environ.get("SFBATCH_TEST_SPARK_SUBMIT", "")  # a real one: three of the jobs are Spark's
# Each notes that it began, sleeps, and ends as its name says: 0, 3, or by a kill.
SCRIPT = "echo $$ >> began; sleep {seconds}; echo end >> ended; exit {code}"
SPARK_JOB = b"""
import sys
from pyspark.sql import SparkSession
open("began", "a").write("x\\n")
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
assert spark.range(1000).selectExpr("sum(id)").first()[0] == 499500
open("ended", "a").write("end\\n")
sys.exit(int(sys.argv[1]))
"""


def outlive(server, disturb, times, number):
    """Submit jobs while `disturb` happens so many times; each must have begun once, ended as it was told, and left nothing."""
    seed = int(os.environ.get("SFBATCH_TEST_SEED", time.time_ns() % 10**6))
    print(f"seed {seed}, {times} times, {number} jobs")
    rng = random.Random(seed)
    wanted = {}
    stop = threading.Event()

    def submit_one(job_id, body, kill, files=None):
        """As Netflix's client: again after an error, and 409 means that it was taken."""
        while not stop.is_set():
            try:
                if files:
                    parts = [("request", (None, json.dumps(body), "application/json"))]
                    parts += [("attachment", (name, content)) for name, content in files.items()]
                    answer = server.api.post(f"{server.base}/jobs", files=parts, timeout=30)
                else:
                    answer = server.post("jobs", body)
                if answer.status_code in {202, 409}:
                    if kill:
                        wanted[job_id].add("KILLED")
                        server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60)
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)

    def submit_all():
        for each in range(3 if SPARK_SUBMIT else 0):
            job_id, code = f"spark{each}", 3 if each == 1 else 0
            wanted[job_id] = {"FAILED" if code else "SUCCEEDED"}
            submit_one(job_id, server.job(["job.py", str(code)], "spark", id=job_id), False, {"job.py": SPARK_JOB})
        for each in range(number):
            job_id, code = f"job{each}", rng.choice((0, 3))
            body = server.job(["-c", SCRIPT.format(seconds=round(rng.uniform(0, 3), 2), code=code)], id=job_id)
            wanted[job_id] = {"SUCCEEDED"} if code == 0 else {"FAILED"}
            submit_one(job_id, body, rng.random() < 0.2)
            time.sleep(rng.uniform(0, 0.1))

    submitter = threading.Thread(target=submit_all)
    submitter.start()
    for _ in range(times):
        time.sleep(rng.uniform(0.02, 1.2))
        disturb(rng)
    if server.process.poll() is None:
        server.wait_up()
    submitter.join(60 + 4 * number)
    stop.set()

    def all_ended():
        found = server.get("jobs", size=1000).json()["_embedded"]["jobSearchResultList"]
        return (
            len(found) == len(wanted)
            and all(job["status"] in FINAL for job in found)
            and {j["id"]: j["status"] for j in found}
        )

    states = eventually(all_ended, 180)
    print(Counter(states.values()))
    for job_id, state in states.items():
        told = server.get(f"jobs/{job_id}").json()
        assert state in wanted[job_id], f"{job_id}: {state}, not {wanted[job_id]}: {told['statusMsg']}"
        directory = server.directory(job_id)
        began = (directory / "began").read_text().split() if (directory / "began").exists() else []
        finished = (directory / "ended").exists()
        assert len(began) <= 1, f"{job_id} ran {len(began)} times"
        if state != "KILLED":
            assert len(began) == 1
            assert finished
        eventually(lambda directory=directory: processes_of(directory) == [])


@pytest.mark.timeout(1800 if KILLS > 8 else 600)
def test_jobs_outlive_the_server(fresh):
    server = fresh("--memory-mb", "2000" if SPARK_SUBMIT else "320").start()  # room for 20 jobs of 16 MB
    server.add_command("sh", "/bin/sh", cluster="local")
    if SPARK_SUBMIT:
        server.add_command("spark", SPARK_SUBMIT, cluster="local", memory=500)

    def kill(rng):
        server.kill9()
        server.start(wait=rng.random() < 0.7)  # now and then killed while it starts

    outlive(server, kill, KILLS, JOBS)
    with sqlite3.connect(server.home / "jobs/jobs.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_job_is_durable_before_it_is_answered(fresh):
    server = fresh("--memory-mb", "16").start()
    server.add_command("sh", "/bin/sh", cluster="local")
    ids = [server.submit(["-c", "cat a.txt"], files={"a.txt": b"content"}) for _ in range(10)]
    server.kill9()
    server.start()
    for job_id in ids:
        assert server.ended(job_id)["status"] == "SUCCEEDED"
        assert server.output(job_id).text == "content"


def taken_in(database, settings):
    asked = JobRequest(
        name="n", user="u", version="1", clusterCriterias=[{"tags": ["env:dev"]}], commandCriteria=["type:python"]
    )
    files, sender = [Attachment("a.txt", io.BytesIO(b"content"))], Sender(Principal("u", ADMIN), None, None)
    accept(database, settings, server_id(settings.directory), asked, files, sender)


def test_files_stay_when_nobody_knows_whether_their_job_is_stored(tmp_path):
    class Away(Database):
        """Goes away with the answer to the commit."""

        def patiently(self, work, for_s=0):
            if work() is None:
                raise OperationalError("COMMIT", {}, sqlite3.OperationalError())

    settings = Settings(home=tmp_path)
    settings.directory.mkdir()
    database = Away(settings.url)
    database.migrate()
    first_start.fill(database)
    with pytest.raises(OperationalError):
        taken_in(database, settings)
    (stored,) = tmp_path.glob("jobs/files/*/*/a.txt")
    assert stored.read_bytes() == b"content"
    with database.read() as connection:
        assert connection.scalar(select(jobs.c.directory)) == str(stored.parent.relative_to(tmp_path / "jobs"))
    database.close()


def test_a_kill_asked_for_just_before_the_server_died_is_carried_out(server):
    job_id = server.submit(["-c", "sleep 300"])
    server.running(job_id)
    with sqlite3.connect(
        server.home / "jobs/jobs.db", timeout=60
    ) as connection:  # as the route does, without the dispatcher's wake
        server.kill9()
        connection.execute("UPDATE jobs SET kill_requested_ms = 1 WHERE id = ?", (job_id,))
    server.start()
    assert server.ended(job_id)["status"] == "KILLED"
    eventually(lambda: processes_of(server.directory(job_id)) == [])


def test_two_servers_of_one_machine_leave_each_others_jobs_alone(fresh, tmp_path):
    go = tmp_path / "go"
    one, two = (fresh("--memory-mb", "64").start() for _ in range(2))
    for server in (one, two):
        server.add_command("sh", "/bin/sh", cluster="local")
        server.submit(["-c", until(go)], id="same")
        server.running("same")
    one.api.delete(f"{one.base}/jobs/same", timeout=60)
    assert one.ended("same")["status"] == "KILLED"
    assert two.status("same") == "RUNNING"
    go.touch()
    assert two.ended("same")["status"] == "SUCCEEDED"


def test_two_servers_of_one_database_run_every_job_once(fresh, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one = fresh("--memory-mb", "64", "--database-url", url).start()
    two = fresh("--memory-mb", "64", "--database-url", url).start()
    one.add_command("sh", "/bin/sh", cluster="local")
    ids = [(server, server.submit(["-c", "echo x >> ran; sleep 0.2"])) for _ in range(8) for server in (one, two)]
    for server, job_id in ids:
        assert two.ended(job_id)["status"] == "SUCCEEDED"
        assert (server.directory(job_id) / "ran").read_text() == "x\n"


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A database, and a lease that runs out soon."""
    monkeypatch.setattr(lease, "LEASE_S", 0.9)
    monkeypatch.setattr(lease, "LOOK_EVERY_S", 0.05)
    database = Database(f"sqlite:///{tmp_path / 'shared.db'}")
    database.migrate()
    yield database
    database.close()


def leased(database, home, server_id="the-id"):
    """As a server does of that home that is not there yet, or any more, since no lock is held."""
    home.mkdir(exist_ok=True)
    with alone(home):
        return lease.Lease(database, server_id, home)


def take_s(taken):
    began = time.monotonic()
    taken.take()
    return time.monotonic() - began


def test_a_copied_home_on_the_same_database_is_refused_while_the_other_lives(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 6)  # far longer than any of the threads has to wait for its turn
    one, copy = (leased(shared, tmp_path / name) for name in ("one", "copy"))
    one.take()
    stop = threading.Event()

    def live():
        while not stop.wait(0.2):
            one.renew()

    living = threading.Thread(target=live)
    living.start()
    with pytest.raises(ServerError, match=r"SFBATCH_SERVER_REFUSED.*runs on .*/one\. If .*/copy is a copy"):
        copy.take()
    stop.set()
    living.join()
    copy.take()  # as soon as the lease has run out
    with pytest.raises(ServerError, match="held by a server on .*/copy"), shared.read() as connection:
        one.check(connection)
    successor = leased(shared, tmp_path / "copy")
    assert take_s(successor) < 3  # of the same home: the other one is dead
    successor.give_back()
    assert take_s(one) < 3


def test_a_lease_runs_out_by_the_clock_of_who_waits(shared, tmp_path, monkeypatch):
    leased(shared, tmp_path / "one").take()
    monkeypatch.setattr(lease, "now_ms", lambda: 1)
    assert 0.8 < take_s(leased(shared, tmp_path / "two")) < 30
    monkeypatch.undo()  # long over, by this clock
    monkeypatch.setattr(lease, "LEASE_S", 0.9)
    assert 0.8 < take_s(leased(shared, tmp_path / "one")) < 30


def test_the_same_path_on_another_machine_is_another_place(shared, tmp_path, monkeypatch):
    leased(shared, tmp_path / "one").take()
    (tmp_path / "boot").write_text("a clone of this machine")
    monkeypatch.setattr(home, "_BOOT", tmp_path / "boot")
    assert take_s(leased(shared, tmp_path / "one")) > 0.8


@pytest.mark.parametrize("is_given_back", [False, True])
def test_a_copied_home_with_a_database_of_its_own_is_refused_while_the_other_runs_here(shared, tmp_path, is_given_back):
    one, copy = (leased(shared, tmp_path / name) for name in ("one", "copy"))
    one.take()  # into what stands for the copied database: nobody renews it there
    if is_given_back:  # copied while the other one was stopped
        one.give_back()
    with alone(tmp_path / "one"), pytest.raises(ServerError, match=r"runs on .*/one\. If .*/copy is a copy"):
        copy.take()


def test_of_two_that_take_over_at_once_one_alone_has_it(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "LEASE_S", 3)
    leased(shared, tmp_path / "one").take()
    rivals, told = [leased(shared, tmp_path / name) for name in ("two", "three")], []

    both = threading.Barrier(2)

    def take(rival):
        both.wait()  # nobody renews: who came when the lease had run out again would have it too
        try:
            rival.take()
            told.append("taken")
        except ServerError as error:
            told.append(error.code)

    threads = [threading.Thread(target=take, args=(rival,)) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["SFBATCH_SERVER_REFUSED", "taken"]


def test_a_server_whose_lease_another_one_took_runs_no_job_and_takes_none_in(server):
    with sqlite3.connect(server.home / "jobs/jobs.db", timeout=60) as connection:
        connection.execute("UPDATE servers SET nonce = 'another', directory = '/elsewhere'")
    health = f"{server.url}/actuator/health"
    eventually(lambda: server.api.get(health, timeout=60).status_code == 503)
    assert "in /elsewhere" in server.api.get(health, timeout=60).json()["components"]["dispatcher"]["details"]["error"]
    answer = server.post("jobs", server.job(["-c", "true"]))
    assert (answer.status_code, answer.json()["code"]) == (500, "SFBATCH_SERVER_REFUSED")


def test_a_server_whose_id_was_lost_goes_on_with_its_jobs_and_leaves_a_living_servers_alone(shared, tmp_path):
    settings = Settings(home=tmp_path)
    settings.directory.mkdir()
    first_start.fill(shared)
    old_id = server_id(settings.directory)
    leased(shared, settings.directory, old_id).take()
    taken_in(shared, settings)
    living = leased(shared, tmp_path / "elsewhere", "living")
    living.take()
    (settings.directory / "server-id").unlink()
    new_id = server_id(settings.directory)
    new = leased(shared, settings.directory, new_id)
    new.inherit()
    new.take()
    with shared.read() as connection:
        assert connection.scalars(select(jobs.c.server_id)).all() == [new_id] != [old_id]
        assert set(connection.scalars(select(servers.c.id))) == {new_id, "living"}
        living.check(connection)


def test_a_job_whose_server_loses_its_lease_while_it_is_prepared_is_not_started(shared, tmp_path):
    class Slow:
        """Prepares the job for so long that another server takes over meanwhile."""

        told = None

        def reconcile(self, _):
            pass

        def submit(self, launch):
            launch.check()
            with shared.write() as connection:
                connection.execute(update(servers).values(nonce="another"))
            try:
                launch.check()
            except Unwanted as told:
                self.told = told

    settings, backend = Settings(home=tmp_path), Slow()
    settings.directory.mkdir()
    first_start.fill(shared)
    mine = leased(shared, settings.directory, server_id(settings.directory))
    mine.take()
    taken_in(shared, settings)
    dispatcher = Dispatcher(shared, {"local": backend}, settings, mine)
    dispatcher.round()
    eventually(lambda: backend.told)
    with pytest.raises(ServerError, match="is held by a server on"):
        dispatcher.round()


def test_a_home_that_was_deleted_under_the_server_is_told_and_takes_no_job(fresh, tmp_path):
    server = fresh("--database-url", f"sqlite:///{tmp_path / 'elsewhere.db'}").start()
    shutil.rmtree(server.home / "jobs")
    answer = server.post("jobs", server.job(["x"], command="python"))
    assert (answer.status_code, answer.json()["code"]) == (500, "SFBATCH_SERVER_ERROR")
    assert "was deleted or replaced under the running server" in answer.json()["message"]
    assert server.api.get(f"{server.url}/actuator/health", timeout=60).status_code == 503
    assert not (server.home / "jobs/files").exists()


def test_a_namesake_on_another_machine_takes_no_jobs_whose_files_it_has_not(shared, tmp_path):
    settings = Settings(home=tmp_path)
    settings.directory.mkdir()
    first_start.fill(shared)
    theirs = leased(shared, settings.directory, server_id(settings.directory))
    theirs.take()
    taken_in(shared, settings)
    theirs.give_back()  # stopped for an upgrade
    settings.directory.rename(tmp_path / "the other machine's")
    namesake = leased(shared, settings.directory, "another-id")
    namesake.inherit()
    with shared.read() as connection:
        assert connection.scalars(select(jobs.c.server_id)).all() == [theirs.server_id]
