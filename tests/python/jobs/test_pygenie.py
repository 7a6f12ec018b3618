"""Netflix's own Python client, as PyPI has it, against the running server: what it asks, and the traps of its retries."""

import json
import os
import sys
import time

import pytest
from live import Live, until


@pytest.fixture(scope="module")
def genie(tmp_path_factory):
    """The server with the client configured for it through its ini file, which both of the client's halves read."""
    server = Live(tmp_path_factory.mktemp("pygenie")).start()
    server.add_command("sh", "/bin/sh", cluster="local")
    ini = server.home / "pygenie.ini"
    ini.write_text(
        f"[genie]\nurl = {server.url}\nusername = alice\nversion = 3\nauth = pygenie.auth.HTTPBasicGenieAuth\n"
        f"[genie_auth]\nusername = alice\npassword = {server.token}\n"
    )
    os.environ["GENIE_CONFIG"] = str(ini)  # read once, when the client is imported
    arguments, sys.argv = sys.argv, sys.argv[:1]
    yield server
    sys.argv = arguments
    server.stop()


@pytest.fixture
def client(genie):
    from pygenie.client import Genie
    from pygenie.conf import GenieConf

    return Genie(GenieConf())


@pytest.fixture
def impatient(monkeypatch):
    """The client waits 75 seconds in all before it believes an error; the pauses are noted instead."""
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def new_job(args, **attachments):
    from pygenie.jobs import GenieJob

    job = GenieJob().job_name("a job").cluster_tags("env:dev").command_tags("type:sh").command_arguments(args)
    for name, data in attachments.items():
        job.dependencies([{"name": f"{name}.sh", "data": data}])
    return job


RESOURCES = {
    "application": {"name": "spark", "user": "ops", "version": "3.5", "status": "ACTIVE", "type": "spark"},
    "command": {
        "name": "submit",
        "user": "ops",
        "version": "3.5",
        "status": "ACTIVE",
        "executable": "x",
        "checkDelay": 100,
    },
    "cluster": {"name": "emr", "user": "ops", "version": "7", "status": "UP"},
}


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_resource_is_made_read_changed_and_deleted(client, kind):
    def call(verb, *arguments):
        return getattr(client, f"{verb}_{kind}")(*arguments)

    document = {**RESOURCES[kind], "id": f"{kind}-1", "tags": ["a:1", "b:2"]}
    assert call("create", document) == f"{kind}-1"
    found = call("get", f"{kind}-1")
    assert (found["name"], found["status"]) == (document["name"], document["status"])
    assert set(found["tags"]) == {"a:1", "b:2", f"genie.id:{kind}-1", f"genie.name:{document['name']}"}
    key = [f"{kind}-1"] if kind == "cluster" else []  # only clusters are updated by id and document
    call("update", *key, {**document, "version": "9"})
    call("patch", f"{kind}-1", [{"op": "replace", "path": "/description", "value": "patched"}])
    found = call("get", f"{kind}-1")
    assert (found["version"], found["description"]) == ("9", "patched")
    named = list(getattr(client, f"get_{kind}s")({"name": document["name"], "tag": ["a:1"]}))
    assert [each["id"] for each in named] == [f"{kind}-1"]
    assert list(getattr(client, f"get_{kind}s")({"name": "nobody"})) in ([], [None])
    call("delete", f"{kind}-1")
    assert call("get", f"{kind}-1") is None


@pytest.mark.parametrize("kind", RESOURCES)
def test_tags_and_configs_are_added_replaced_and_removed(client, kind):
    getattr(client, f"create_{kind}")({**RESOURCES[kind], "id": f"{kind}-2"})

    def own(name):
        return [tag for tag in getattr(client, f"get_{name}_for_{kind}")(f"{kind}-2") if not tag.startswith("genie.")]

    getattr(client, f"add_tags_for_{kind}")(f"{kind}-2", ["x", "y"])
    assert own("tags") == ["x", "y"]
    getattr(client, f"update_tags_for_{kind}")(f"{kind}-2", ["z"])
    assert own("tags") == ["z"]
    getattr(client, f"remove_all_tags_for_{kind}")(f"{kind}-2")
    assert own("tags") == []
    assert len(getattr(client, f"get_tags_for_{kind}")(f"{kind}-2")) == 2  # Genie's own are always there
    assert getattr(client, f"get_configs_for_{kind}")(f"{kind}-2") == []
    getattr(client, f"delete_{kind}")(f"{kind}-2")


def test_links_keep_their_order(client):
    for name in ("c1", "c2", "c3"):
        client.create_command({**RESOURCES["command"], "id": name})
    client.create_application({**RESOURCES["application"], "id": "a1"})
    client.create_cluster({**RESOURCES["cluster"], "id": "k"})
    client.add_commands_for_cluster("k", ["c3"])
    client.add_commands_for_cluster("k", ["c1", "c2"])
    assert [found["id"] for found in client.get_commands_for_cluster("k")] == ["c3", "c1", "c2"]
    client.set_commands_for_cluster("k", ["c2", "c3"])
    assert [found["id"] for found in client.get_commands_for_cluster("k")] == ["c2", "c3"]
    client.remove_commands_for_cluster("k", "c2")
    assert [found["id"] for found in client.get_commands_for_cluster("k")] == ["c3"]
    client.add_applications_for_command("c3", ["a1"])
    assert [found["id"] for found in client.get_applications_for_command("c3")] == ["a1"]
    assert [found["id"] for found in client.get_commands_for_application("a1")] == ["c3"]


def test_a_job_runs_with_its_attachments_and_tells_all_about_itself(genie):
    job = (
        new_job("main.sh 1 2", main="echo out $*\necho err >&2\n")
        .tags(["t:1"])
        .description("d")
        .email("a@b.c")
        .group("g")
    )
    running = job.execute()
    running.wait(sleep_seconds=0.1, suppress_stream=True)
    assert running.is_done
    assert running.is_successful
    assert (running.stdout(), running.stderr()) == ("out 1 2\n", "err\n")
    assert "Handling exit signal (code: 0)" in running.genie_log()
    assert (running.status, running.status_msg) == ("SUCCEEDED", "Job finished successfully.")
    assert (running.cluster_name, running.username, running.job_name) == ("dev", "alice", "a job")
    assert running.command_args == "main.sh 1 2"
    assert list(running.tags) == ["t:1"]
    assert 0 <= running.duration < 60_000
    assert running.start_time <= running.finish_time
    assert running.request_data["email"] == "a@b.c"
    assert genie.api.get(running.stdout_url, timeout=60).text == "out 1 2\n"
    assert genie.api.get(running.output_uri, timeout=60).status_code == 200
    assert genie.api.get(running.job_link, timeout=60).status_code == 200


def test_a_file_a_directory_and_an_address_are_dependencies(genie, tmp_path):
    (tmp_path / "dir").mkdir()
    for name in ("one.txt", "dir/two.txt", "three.txt"):
        (tmp_path / name).write_text(name)
    job = new_job("main.sh", main="cat one.txt two.txt three.txt")
    job.dependencies([str(tmp_path / "one.txt"), str(tmp_path / "dir"), f"file://{tmp_path}/three.txt"])
    running = job.execute()
    running.wait(sleep_seconds=0.1, suppress_stream=True)
    assert running.stdout() == "one.txtdir/two.txtthree.txt"


def test_a_failed_job_is_done_and_not_successful(genie):
    running = new_job("-c 'exit 3'").execute()
    running.wait(sleep_seconds=0.1, suppress_stream=True)
    assert (running.is_done, running.is_successful, running.status) == (True, False, "FAILED")


def test_a_killed_job_is_killed(genie):
    running = new_job("-c 'sleep 60'").execute()
    genie.running(running.job_id)
    running.kill()
    running.wait(sleep_seconds=0.1, suppress_stream=True)
    assert (running.status, running.status_msg) == ("KILLED", "Job was killed by user.")


def test_a_waiting_job_is_not_done(genie, tmp_path):
    """Any name but Genie's own would make the client believe that the job has failed."""
    from pygenie.jobs.running import RunningJob

    genie.add_cluster("full", ["env:full"], limits={"maxRunningJobs": 1}, commands=["sh"])
    first, waiting = (genie.submit(["-c", until(tmp_path / "go")], cluster=("env:full",)) for _ in range(2))
    genie.running(first)
    job = RunningJob(waiting)
    assert (genie.status(waiting), job.status, job.is_done) == ("ACCEPTED", "ACCEPTED", False)
    (tmp_path / "go").touch()
    job.wait(sleep_seconds=0.2, suppress_stream=True)
    assert job.is_successful


def test_the_same_id_reattaches(genie):
    first = new_job("-c 'echo once >> ran'").job_id("same-id").execute()
    again = new_job("-c 'echo twice >> ran'").job_id("same-id").execute()
    assert again.job_id == first.job_id == "same-id"
    again.wait(sleep_seconds=0.1, suppress_stream=True)
    assert genie.output("same-id", "ran").text == "once\n"


def test_a_job_that_matches_nothing_is_found_failed_by_the_retry(genie, impatient):
    running = new_job("x").cluster_tags("env:none").job_id("no-match").execute()
    assert len(impatient) >= 1  # the first answer, 412, was not believed
    assert running.status == "FAILED"
    assert running.status_msg.startswith(
        "No cluster/command combination found for the given criteria. Unable to continue"
    )


def test_a_retry_that_lost_its_attachments_is_told_so(genie):
    """After a 5xx of a proxy the client sends file attachments again with 0 bytes."""
    body = genie.job(["main.sh"], id="second-try")
    parts = [("request", ("", json.dumps(body), "application/json")), ("attachment", ("main.sh", b""))]
    answer = genie.api.post(f"{genie.base}/jobs", files=parts, timeout=60)
    assert answer.status_code == 412
    assert "arrived empty" in genie.get("jobs/second-try").json()["statusMsg"]


def test_jobs_are_searched_over_many_pages(genie, client):
    ids = {genie.submit(["-c", "true"], user="searcher", tags=[f"n:{number}", "paged"]) for number in range(12)}
    found = list(client.get_jobs({"user": "searcher", "tag": ["paged"]}))
    assert {job["id"] for job in found} == ids
    assert len(found) == 12
    assert [job["id"] for job in client.get_jobs({"tag": ["paged", "n:7"]})] != []
    assert client.get_job(next(iter(ids)))["user"] == "searcher"
    assert client.get_job("nobody") is None


def test_a_job_can_be_submitted_as_a_dictionary(genie, client):
    body = genie.job(["-c", "echo plain"], id="plain")
    client.submit_job(body)
    genie.ended("plain")
    assert genie.output("plain").text == "plain\n"


def test_the_log_can_be_followed_without_losing_or_repeating_a_line(genie, monkeypatch):
    running = new_job("-c 'for i in 1 2 3 4; do echo line $i >&2; sleep 0.3; done'").execute()
    written = []
    monkeypatch.setattr(running, "_write_to_stream", lambda text: written.append(str(text)))
    running.watch_stderr(interval=0.1)
    text = "".join(written)
    assert [text.count(f"line {number}") for number in (1, 2, 3, 4)] == [1, 1, 1, 1]
