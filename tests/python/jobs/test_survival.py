"""kill -9 of the server at random moments: each job ends with one truthful state, none ran twice, none is orphaned."""

import os
import random
import sqlite3
import threading
import time
from collections import Counter

import requests
from live import FINAL, eventually
from sfbatch.jobs.backends.leftovers import processes_of

KILLS = int(os.environ.get("SFBATCH_TEST_KILLS", "8"))
JOBS = int(os.environ.get("SFBATCH_TEST_JOBS", "40"))
# Each notes that it began, sleeps, and ends as its name says: 0, 3, or by a kill.
SCRIPT = "echo $$ >> began; sleep {seconds}; echo end >> ended; exit {code}"


def test_jobs_outlive_the_server(fresh):
    seed = int(os.environ.get("SFBATCH_TEST_SEED", time.time_ns() % 10**6))
    print(f"seed {seed}, {KILLS} kills, {JOBS} jobs")
    rng = random.Random(seed)
    server = fresh("--memory-mb", "320").start()  # room for 20 jobs of 16 MB
    server.add_command("sh", "/bin/sh", cluster="local")
    wanted = {}
    stop = threading.Event()

    def submit_all():
        """As Netflix's client: again after an error, and 409 means that it was taken."""
        for number in range(JOBS):
            job_id, code = f"job{number}", rng.choice((0, 3))
            body = server.job(["-c", SCRIPT.format(seconds=round(rng.uniform(0, 3), 2), code=code)], id=job_id)
            wanted[job_id] = {"SUCCEEDED"} if code == 0 else {"FAILED"}
            kill = rng.random() < 0.2
            while not stop.is_set():
                try:
                    answer = server.post("jobs", body)
                    if answer.status_code in {202, 409}:
                        if kill:
                            wanted[job_id].add("KILLED")
                            server.api.delete(f"{server.base}/jobs/{job_id}", timeout=10)
                        break
                except requests.RequestException:
                    pass
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 0.1))

    submitter = threading.Thread(target=submit_all)
    submitter.start()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.02, 1.2))
        server.kill9()
        server.start(wait=rng.random() < 0.7)  # now and then killed while it starts
    if server.process.poll() is None:
        server.wait_up()
    submitter.join(60)
    stop.set()

    def all_ended():
        found = server.get("jobs", size=1000).json()["_embedded"]["jobSearchResultList"]
        return (
            len(found) == JOBS
            and all(job["status"] in FINAL for job in found)
            and {j["id"]: j["status"] for j in found}
        )

    states = eventually(all_ended, 90)
    print(Counter(states.values()))
    for job_id, state in states.items():
        assert state in wanted[job_id], (job_id, state, wanted[job_id], server.get(f"jobs/{job_id}").json())
        directory = server.directory(job_id)
        began = (directory / "began").read_text().split() if (directory / "began").exists() else []
        finished = (directory / "ended").exists()
        assert len(began) <= 1, f"{job_id} ran {len(began)} times"
        if state != "KILLED":
            assert len(began) == 1
            assert finished
        assert processes_of(job_id) == []
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


def test_a_kill_asked_for_just_before_the_server_died_is_carried_out(server):
    job_id = server.submit(["-c", "sleep 300"])
    server.running(job_id)
    with sqlite3.connect(
        server.home / "jobs/jobs.db"
    ) as connection:  # as the route does, without the dispatcher's wake
        server.kill9()
        connection.execute("UPDATE jobs SET kill_requested_ms = 1 WHERE id = ?", (job_id,))
    server.start()
    assert server.ended(job_id)["status"] == "KILLED"
    assert processes_of(job_id) == []


def test_two_servers_of_one_database_run_every_job_once(fresh, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one = fresh("--memory-mb", "64", "--database-url", url).start()
    two = fresh("--memory-mb", "64", "--database-url", url).start()
    one.add_command("sh", "/bin/sh", cluster="local")
    ids = [(server, server.submit(["-c", "echo x >> ran; sleep 0.2"])) for _ in range(8) for server in (one, two)]
    for server, job_id in ids:
        assert two.ended(job_id)["status"] == "SUCCEEDED"
        assert (server.directory(job_id) / "ran").read_text() == "x\n"
