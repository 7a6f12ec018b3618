"""Jobs that, by accident or not, stand in the server's way: the others go on, and what is told of each is true."""

import json
import shutil
import subprocess
import time

import pytest
from live import alive, cpu_s, eventually, until
from sfbatch.jobs.backends import leftovers
from sfbatch.jobs.verdict import root_cause

FORGED = {"exitCode": "0", "reason": "exited", "startedMs": 1}


def runs_another(server):
    return server.ended(server.submit(["-c", "exit 0"]))["status"] == "SUCCEEDED"


def kill(server, job_id):
    assert server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60).status_code == 202


@pytest.mark.parametrize("text", ["\n" * 250_000, "ERROR: " * 35_000, " \n" * 120_000, "Caused by: a.b." * 16_000])
def test_a_log_of_any_kind_is_looked_through_quickly(server, text):
    job_id = server.submit(["-c", "cat text >&2; exit 1"], files={"text": text.encode()})
    began_s = cpu_s(server.process.pid)
    assert server.ended(job_id, 120)["statusMsg"].startswith("Job failed.")
    assert cpu_s(server.process.pid) - began_s < 10
    assert root_cause("\n\n  Caused by: java.io.IOException: gone\n", "") == "java.io.IOException: gone"


@pytest.mark.parametrize("finished", [10**23, 10**17, 1_500_000_000_000, "soon"])
def test_an_end_that_the_job_wrote_itself_is_none(server, finished):
    forged = json.dumps({**FORGED, "finishedMs": finished})
    job_id = server.submit(["-c", f"echo '{forged}' > genie/genie.done; touch ready; sleep 300"])
    eventually(lambda: (server.directory(job_id) / "ready").exists())
    assert runs_another(server)
    assert server.status(job_id) in {"INIT", "RUNNING"}
    kill(server, job_id)
    assert server.ended(job_id)["status"] == "KILLED"
    assert server.get("jobs").status_code == 200


@pytest.mark.parametrize("place", ["stderr", "genie/process.json", "genie/genie.done"])
def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(server, place):
    job_id = server.submit(["-c", f"rm -f {place}; mkfifo {place}; exit 1"])
    assert runs_another(server)
    assert server.ended(job_id)["status"] == "FAILED"


@pytest.mark.parametrize("script", ["rm -rf genie; touch genie", "mkdir genie/genie.done", "mkdir -p attempts/1; mv genie attempts/1"])  # fmt: skip
def test_a_job_that_takes_the_place_of_its_end_away_still_ends(server, script):
    job_id = server.submit(["-c", f"{script}; exit 0"])
    assert server.ended(job_id)["status"] in {"FAILED", "SUCCEEDED"}
    job_id = server.submit(["-c", f"{script}; touch ready; exec sleep 300"])
    eventually(lambda: (server.directory(job_id) / "ready").exists())
    kill(server, job_id)
    assert server.ended(job_id)["status"] == "KILLED"
    eventually(lambda: leftovers.processes_of(server.directory(job_id)) == [])


def test_a_job_that_stops_its_watcher_can_be_killed(server):
    job_id = server.submit(["-c", "kill -STOP $PPID; touch ready; exec sleep 300"])
    eventually(lambda: (server.directory(job_id) / "ready").exists())
    kill(server, job_id)
    assert server.ended(job_id)["status"] == "KILLED"


def test_a_kill_before_the_start_is_a_kill(server):
    ids = [server.submit(["-c", "date > began"]) for _ in range(12)]
    for job_id in ids:
        kill(server, job_id)
    for job_id in ids:
        killed = server.ended(job_id)["status"] == "KILLED"
        assert not (killed and server.get(f"jobs/{job_id}/execution").json()["exitCode"] == 0)


@pytest.mark.parametrize(
    "address", ["file:///proc/self/environ", "file:///proc/self/pagemap", "file://{home}/jobs/token"]
)
def test_the_servers_own_secrets_are_no_dependency(server, address):
    job_id = server.submit(["-c", "true"], dependencies=[address.format(home=server.home)])
    assert server.ended(job_id)["status"] == "FAILED"
    told = server.output(job_id, "initFailureDetails.txt").text
    assert "not a file that a job may be given" in told
    assert not any(path.name in {"environ", "pagemap", "token"} for path in server.directory(job_id).rglob("*"))


def test_an_end_on_a_full_disk_is_told_when_there_is_room(fresh, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        server = fresh(home=place).start()
        server.add_command("sh", "/bin/sh", cluster="local")
        fill = "echo x >> ran; cat /dev/zero > fill 2>/dev/null; sleep 1; exit 0"
        job_id = server.submit(["-c", fill], retries=2, retryDelay=0)
        eventually(lambda: shutil.disk_usage(place).free == 0)
        time.sleep(3)
        (server.directory(job_id) / "fill").write_bytes(b"")
        assert server.ended(job_id)["status"] == "SUCCEEDED"
        assert (server.directory(job_id) / "ran").read_text() == "x\n"
        server.stop()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_an_unclear_write_is_seen_however_long_the_log_is(server):
    script = "echo x >> ran; echo '[SFBATCH_PUBLISH_UNCLEAR]' >&2; head -c 700000 /dev/zero | tr '\\0' a >&2; exit 1"
    job_id = server.submit(["-c", script], retries=2, retryDelay=0)
    assert server.ended(job_id)["status"] == "FAILED"
    assert (server.directory(job_id) / "ran").read_text() == "x\n"


def test_what_an_attempt_left_behind_does_not_write_on_beside_the_next(server, tmp_path):
    left = f"rm -f up; setsid sh -c 'echo $$ >> {tmp_path}/left; touch up; exec sleep 300' & {until('up')}"
    again = f"[ -e {tmp_path}/again ] || {{ touch {tmp_path}/again; exit 1; }}"
    job_id = server.submit(["-c", f"{left}; {again}; {until(tmp_path / 'go')}"], retries=1, retryDelay=0)
    pids = eventually(
        lambda: (tmp_path / "left").exists() and len(found := (tmp_path / "left").read_text().split()) == 2 and found
    )
    first = int(pids[0])
    eventually(lambda: not alive(first))  # killed, though it may not be gone yet; the next attempt still runs
    (tmp_path / "go").touch()
    assert server.ended(job_id)["status"] == "SUCCEEDED"
    leftovers.end_all(server.directory(job_id))


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "unicode_escape", "idna"])
def test_a_strange_charset_is_the_senders_fault(server, charset):
    body = b'--b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}\r\n--b--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    assert 400 <= server.api.post(f"{server.base}/jobs", data=body, headers=headers, timeout=60).status_code < 500
