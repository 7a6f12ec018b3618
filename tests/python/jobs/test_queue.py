"""The queue refuses nobody for load, and its order is fair, explainable and the one that is shown."""

import threading
import time

import pytest
from live import eventually, until
from sfbatch.jobs import catalog, queue
from sfbatch.jobs.database import Database
from sfbatch.jobs.jobs import get as of_id
from sfbatch.jobs.kinds import CLUSTERS, COMMANDS
from sfbatch.jobs.requests import Cluster, Command
from sfbatch.jobs.rush import Rush
from sfbatch.jobs.tables import jobs
from sqlalchemy import insert

ROOMY = queue.Allowed(memory_mb=10**9, per_user=0)


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    database.migrate()
    with database.write() as connection:
        common = {"user": "ops", "version": "1"}
        catalog.create(
            connection,
            COMMANDS,
            Command(id="c", name="c", status="ACTIVE", executable="c", checkDelay=1, tags=["type:c"], **common),
        )
    yield database
    database.close()


def cluster(database, name, **limits):
    with database.write() as connection:
        asked = Cluster(
            id=name,
            name=name,
            user="ops",
            version="1",
            status="UP",
            tags=[f"on:{name}", "any"],
            metadata={"sfbatch": limits},
        )
        catalog.create(connection, CLUSTERS, asked)
        catalog.set_children(connection, CLUSTERS, name, ["c"])


def add(database, job_id, user, status="ACCEPTED", created=0, priority=0, on="any", memory=10, cluster_id=None):
    request = {"clusterCriterias": [{"tags": [on]}], "commandCriteria": ["type:c"]}
    row = {
        "id": job_id, "name": "n", "user": user, "version": "1", "status": status, "created_ms": created, "updated_ms": 0,
        "request": request, "applications": [], "priority": priority, "route": on, "timeout_s": 1, "memory_mb": memory,
        "server_id": "s", "directory": "d", "attachments": 0, "attachments_bytes": 0, "cluster_id": cluster_id,
        "claimed_by": "s" if status == "RUNNING" else None, "backend": "local" if status == "RUNNING" else None,
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(jobs).values(**row))


def order(database, allowed=ROOMY):
    with database.read() as connection:
        return [row.id for row, _ in queue.ready(connection, "s", allowed)]


def test_users_take_turns_however_many_jobs_one_of_them_has(database):
    cluster(database, "x")
    for number in range(5):
        add(database, f"greedy{number}", "greedy", created=number)
    add(database, "modest0", "modest", created=100)
    add(database, "modest1", "modest", created=101)
    assert order(database) == ["greedy0", "modest0", "greedy1", "modest1", "greedy2", "greedy3", "greedy4"]


def test_who_has_more_running_waits_longer(database):
    cluster(database, "x")
    for number in range(3):
        add(database, f"running{number}", "busy", status="RUNNING", cluster_id="x")
    add(database, "busy0", "busy", created=1)
    add(database, "idle0", "idle", created=2)
    add(database, "idle1", "idle", created=3)
    add(database, "idle2", "idle", created=4)
    assert order(database) == ["idle0", "idle1", "idle2", "busy0"]


def test_a_higher_priority_goes_first_whoever_asks(database):
    cluster(database, "x")
    add(database, "low", "a", created=1, priority=-5)
    add(database, "normal", "a", created=2)
    add(database, "urgent", "b", created=3, priority=5)
    assert order(database) == ["urgent", "normal", "low"]


def test_the_shown_position_is_the_order(database):
    cluster(database, "x")
    for number in range(4):
        add(database, f"a{number}", "a", created=number)
        add(database, f"b{number}", "b", created=10 + number, priority=number % 2)
    in_order = order(database)
    with database.read() as connection:
        assert [queue.position(connection, job_id) for job_id in in_order] == list(range(1, 9))
        assert queue.position(connection, "nobody") is None


def test_a_full_cluster_holds_up_only_its_own_jobs(database):
    cluster(database, "full", maxRunningJobs=1)
    cluster(database, "free")
    add(database, "running", "z", status="RUNNING", cluster_id="full")
    for number in range(50):
        add(database, f"stuck{number}", "a", created=number, on="on:full")
    add(database, "passes", "a", created=1000, on="on:free")
    assert order(database) == ["passes"]


def test_a_cluster_takes_no_more_than_its_limits(database):
    cluster(database, "x", maxRunningJobs=3, maxRunningJobsPerUser=2)
    for number in range(4):
        add(database, f"a{number}", "a", created=number)
        add(database, f"b{number}", "b", created=number)
    assert order(database) == ["a0", "b0", "a1"]
    cluster(database, "y", maxRunningJobsPerUser=1)
    add(database, "only1", "c", on="on:y")
    add(database, "only2", "c", on="on:y")
    assert [job for job in order(database) if job.startswith("only")] == ["only1"]


def test_a_user_has_no_more_than_the_servers_limit(database):
    cluster(database, "x")
    for number in range(4):
        add(database, f"a{number}", "a", created=number)
    assert order(database, queue.Allowed(10**9, per_user=2)) == ["a0", "a1"]


def test_local_jobs_ask_for_no_more_memory_than_there_is(database):
    cluster(database, "x")
    add(database, "running", "z", status="RUNNING", cluster_id="x", memory=60)
    add(database, "big", "a", created=1, memory=50)
    add(database, "small", "b", created=2, memory=30)
    assert order(database, queue.Allowed(memory_mb=100, per_user=0)) == ["small"]


def test_a_waiting_job_says_for_what_it_waits(database):
    def waits(job_id, allowed=ROOMY):
        with database.read() as connection:
            return queue.waits_for(connection, of_id(connection, job_id), allowed)

    add(database, "w", "alice", memory=30)
    assert waits("w") == "no cluster with its tags and a command for it is UP"
    cluster(database, "a", backend="local", maxRunningJobs=1)
    cluster(database, "b", backend="local", maxRunningJobsPerUser=1)
    assert waits("w") is None
    add(database, "r1", "bob", "RUNNING", cluster_id="a")
    assert waits("w") is None
    assert waits("w", queue.Allowed(30, 0)) == (
        "cluster a is full (1 running); 30 MB of memory: 10 of 30 MB are in use"
    )
    add(database, "r2", "alice", "RUNNING", cluster_id="b")
    assert waits("w") == "cluster a is full (1 running); alice has no more room on cluster b (1 running)"
    add(database, "x", "alice", on="on:none")
    assert order(database) == []


def test_nobody_is_refused_for_load_and_everything_is_run(fresh, tmp_path):
    go = tmp_path / "go"
    server = fresh("--memory-mb", "40").start()  # room for two jobs of 16 MB
    server.add_command("sh", "/bin/sh", cluster="local")
    ids = [server.submit(["-c", f"{until(go)}; sleep 0.2"], user=f"user{number % 3}") for number in range(20)]
    eventually(lambda: server.get("jobs", status="RUNNING").json()["page"]["totalElements"] == 2)
    seen = server.get(f"jobs/{ids[-1]}").json()
    assert (seen["status"], seen["statusMsg"]) == ("ACCEPTED", "Job Accepted and in initialization phase.")
    assert seen["queuePosition"] == 18
    go.touch()
    most = 0

    def finished():
        nonlocal most
        most = max(most, server.get("jobs", status="RUNNING").json()["page"]["totalElements"])
        return server.get("jobs", status="SUCCEEDED").json()["page"]["totalElements"] == 20

    eventually(finished, 180)
    assert 1 <= most <= 2
    assert server.get(f"jobs/{ids[-1]}").json()["queuePosition"] is None


def test_a_job_larger_than_the_machine_is_invalid(fresh):
    server = fresh("--memory-mb", "40").start()
    server.add_command("sh", "/bin/sh", cluster="local")
    answer = server.post("jobs", server.job(["-c", "true"], id="huge", memory=41))
    assert answer.status_code == 412
    assert answer.json()["message"].endswith("is 40 MB. It is kept as job huge.")
    assert server.get("jobs/huge").json()["status"] == "INVALID"


def test_a_waiting_job_is_killed_at_once_and_never_runs(fresh):
    server = fresh("--memory-mb", "20").start()
    server.add_command("sh", "/bin/sh", cluster="local")
    first = server.submit(["-c", "sleep 300"])
    server.running(first)
    waiting = server.submit(["-c", "touch ran"])
    assert server.api.delete(f"{server.base}/jobs/{waiting}", timeout=60).status_code == 202
    found = server.get(f"jobs/{waiting}").json()
    assert (found["status"], found["started"]) == ("KILLED", None)
    server.api.delete(f"{server.base}/jobs/{first}", timeout=60)
    assert server.ended(first)["status"] == "KILLED"
    assert not (server.directory(waiting) / "ran").exists()


def test_a_waiting_job_does_not_see_later_changes_of_its_dependencies(fresh, tmp_path):
    server = fresh("--memory-mb", "20").start()
    server.add_command("sh", "/bin/sh", cluster="local")
    first = server.submit(["-c", "sleep 300"])
    server.running(first)
    path = tmp_path / "lib.txt"
    path.write_text("then")
    waiting = server.submit(["-c", "cat lib.txt"], dependencies=[path.as_uri()])
    path.write_text("now")
    server.api.delete(f"{server.base}/jobs/{first}", timeout=60)
    assert server.ended(waiting)["status"] == "SUCCEEDED"
    assert server.output(waiting).text == "then"


def test_jobs_start_when_no_submission_is_under_way_and_after_a_while_though_one_is():
    rush, started = Rush(), []

    def start(for_s=60):
        rush.let_pass(for_s)
        started.append(time.monotonic())

    began = time.monotonic()
    start()
    with rush.submission():
        waiting = threading.Thread(target=start)
        waiting.start()
        time.sleep(0.2)
        assert len(started) == 1
    waiting.join(30)
    assert len(started) == 2
    with rush.submission():
        start(0.5)
    assert started[0] - began < 30
    assert 0.4 <= started[2] - started[1] < 30
