"""Old finished jobs go, with all that is theirs; nothing else does, and nothing goes without --yes."""

import json
import os
import subprocess
import sys
import time

import pytest
from sfbatch.jobs import cleaning
from sfbatch.jobs.backends.local import launched
from sfbatch.jobs.problem import Problem


def clean(server, *arguments, code=0):
    command = [sys.executable, "-c", "from sfbatch.cli import main; main()", "jobs", "clean", *arguments]
    done = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_ages():
    assert [cleaning.seconds(text) for text in ("0m", "90m", "12h", "30d", "2w")] == [0, 5400, 43200, 2592000, 1209600]
    for text in ("30", "d", "-1d", "1y", ""):
        with pytest.raises(Problem, match="SFBATCH_INVALID"):
            cleaning.seconds(text)


def test_finished_jobs_are_shown_then_deleted_and_running_ones_stay(server):
    done = [server.submit(["-c", "echo x"], {"a": b"1"}, tags=["t"]) for _ in range(3)]
    for job_id in done:
        server.ended(job_id)
    running = server.submit(["-c", "sleep 600"], tags=["t"])
    server.running(running)
    files, top = server.home / "jobs/files", server.home / "jobs"
    for name, age_s in (("cut-short", 3 * 24 * 3600), ("being-sent", 60)):
        (files / "20161001" / name).mkdir(parents=True)
        os.utime(files / "20161001" / name, (time.time() - age_s,) * 2)
    for name, age_s in (("0" * 32, 3 * 24 * 3600), ("1" * 32, 0)):
        (top / "environments" / name / "bin").mkdir(parents=True)
        os.utime(top / "environments" / name, (time.time() - age_s,) * 2)
    (top / "environments" / f"{'0' * 32}.tar.gz").write_bytes(b"x")

    assert "nothing to do" not in clean(server, "--older-than", "1h")  # what was cut short, and an unused environment
    shown = clean(server, "--older-than", "0m")
    assert "3 finished jobs" in shown
    assert "nothing was changed" in shown
    assert server.status(done[0]) == "SUCCEEDED"

    told = json.loads(clean(server, "--older-than", "0m", "--yes", "--json"))
    assert (sorted(told["jobs"]), told["leftovers"], told["made"]) == (sorted(done), 1, True)
    assert told["environments"] == 1
    assert [server.get(f"jobs/{job_id}").status_code for job_id in done] == [404] * 3
    assert server.get("jobs", tag="t").json()["page"]["totalElements"] == 1
    assert server.status(running) == "RUNNING"
    left = sorted(path.name for path in files.glob("*/*"))
    where = server.directory(running)
    assert left == sorted(["being-sent", where.name, launched(where).name])
    assert sorted(p.name for p in (top / "environments").iterdir() if not p.name.endswith(".lock")) == ["1" * 32]
    assert clean(server, "--older-than", "0m").startswith("nothing to do")
    again = server.submit(["-c", "true"], id=done[0])  # its id is free again
    assert server.ended(again)["status"] == "SUCCEEDED"
    server.api.delete(f"{server.base}/jobs/{running}", timeout=60)


def test_an_age_that_is_none_is_refused(live):
    assert "[SFBATCH_INVALID] 'soon' is no age" in clean(live, "--older-than", "soon", code=1)
