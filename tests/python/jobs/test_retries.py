"""A job that failed runs again when it asked for that, under the same id, and no attempt is lost or counted twice."""

import pytest
from live import eventually
from sfbatch.jobs import attempts
from sfbatch.jobs.backends import Phase, Reason, Report
from sfbatch.jobs.backends.local import launched

# Fails until its third attempt; counts outside its directory's own files, which are set aside.
SCRIPT = "n=$(cat count 2>/dev/null || echo 0); n=$((n+1)); echo $n > count; echo attempt $n; echo $SFBATCH_JOB_ID; [ $n -ge 3 ]"


def test_a_failed_job_runs_again_under_its_own_id_until_it_succeeds(server):
    job_id = server.submit(["-c", SCRIPT], id="again", retries=3, retryDelay=0)
    job = server.ended(job_id)
    assert (job["status"], job["statusMsg"]) == ("SUCCEEDED", "Job finished successfully.")
    assert server.output(job_id).text == "attempt 3\nagain\n"
    assert server.output(job_id, "attempts/1/stdout").text == "attempt 1\nagain\n"
    assert server.output(job_id, "attempts/2/stdout").text == "attempt 2\nagain\n"
    assert server.output(job_id, "attempts/3/stdout").status_code == 404


@pytest.mark.parametrize("stream", [1, 2])
def test_a_job_whose_write_may_have_been_committed_does_not_run_again(server, stream):
    script = f"echo x >> ran; echo '[SFBATCH_PUBLISH_UNCLEAR] version 3 of db.t is committed' >&{stream}; exit 1"
    job_id = server.submit(["-c", script], retries=3, retryDelay=0)
    assert server.ended(job_id)["status"] == "FAILED"
    assert (server.directory(job_id) / "ran").read_text() == "x\n"


def test_after_its_last_attempt_it_has_failed(server):
    job_id = server.submit(["-c", "echo x >> ran; echo 'ValueError: no rows' >&2; exit 3"], retries=1, retryDelay=0)
    assert server.ended(job_id)["status"] == "FAILED"
    assert server.get(f"jobs/{job_id}/execution").json()["exitCode"] == 3
    assert (server.directory(job_id) / "ran").read_text() == "x\nx\n"


def test_between_two_attempts_it_waits_and_says_why(server):
    job_id = server.submit(["-c", "exit 4"], retries=2, retryDelay=100)
    waiting = eventually(
        lambda: (
            (found := server.get(f"jobs/{job_id}").json())["queuePosition"]
            and "Attempt" in found["statusMsg"]
            and found
        )
    )
    assert (waiting["status"], waiting["statusMsg"]) == (
        "ACCEPTED",
        "Attempt 1 of 3: Job failed. The next one begins in 100 s.",
    )
    assert (waiting["started"], waiting["finished"]) == (None, None)
    assert server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60).status_code == 202
    assert server.status(job_id) == "KILLED"


@pytest.mark.parametrize("more", [{"timeout": 1}, {}])
def test_a_job_that_was_killed_or_took_too_long_does_not_run_again(server, more):
    job_id = server.submit(["-c", "echo x >> ran; sleep 60"], retries=5, retryDelay=0, **more)
    if not more:
        server.running(job_id)
        server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60)
    assert server.ended(job_id)["status"] == "KILLED"
    assert (server.directory(job_id) / "ran").read_text() == "x\n"


@pytest.mark.parametrize(("retries", "ran"), [(0, "x\n"), (1, "x\nx\n")])
def test_what_a_job_itself_calls_attempts_changes_nothing(server, retries, ran):
    script = "mkdir -p attempts/1; touch attempts/1/mine; echo x >> ran; exit 5"
    job_id = server.submit(["-c", script], retries=retries, retryDelay=0)
    assert server.ended(job_id)["status"] == "FAILED"
    assert server.get(f"jobs/{job_id}/execution").json()["exitCode"] == 5
    assert (server.directory(job_id) / "ran").read_text() == ran
    assert (server.directory(job_id) / "attempts/1/attempts/mine").exists() == bool(retries)


def test_a_job_that_stands_in_the_way_of_its_next_attempt_has_none(server):
    job_id = server.submit(["-c", "echo x >> ran; touch attempts; exit 5"], retries=3, retryDelay=0)
    assert server.ended(job_id)["status"] == "FAILED"
    assert (server.directory(job_id) / "ran").read_text() == "x\n"


def test_an_attempt_is_set_aside_once_whenever_the_server_dies(tmp_path):
    (tmp_path / "genie").mkdir()
    (tmp_path / "genie/genie.done").write_text("1")
    launched(tmp_path).write_text("1")
    (tmp_path / "stdout").write_text("first")
    part = tmp_path / "attempts/.1.part"
    part.mkdir(parents=True)
    (tmp_path / "stdout").rename(part / "stdout")  # it died here: its end is still told
    assert not attempts.is_set_aside(tmp_path, 1)
    (tmp_path / "genie").rename(part / "genie")  # or here: launched and no end, so it is lost, and set aside again
    assert not attempts.is_set_aside(tmp_path, 1)
    attempts.set_aside(tmp_path, 1)
    attempts.set_aside(tmp_path, 1)
    assert attempts.is_set_aside(tmp_path, 1)
    assert not attempts.is_set_aside(tmp_path, 2)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "attempts/1/genie/genie.done", "attempts/1/stdout",
    ]  # fmt: skip
    assert not launched(tmp_path).exists()


def test_only_a_failure_of_its_own_or_of_its_cluster_is_tried_again():
    assert attempts.may_run_again(Report(Phase.LOST))
    assert attempts.may_run_again(Report(Phase.ENDED, exit_code=1, reason=Reason.EXITED))
    assert attempts.may_run_again(Report(Phase.ENDED, reason=Reason.INTERRUPTED))
    assert not attempts.may_run_again(Report(Phase.ENDED, exit_code=0, reason=Reason.EXITED))
    for reason in (Reason.KILLED, Reason.TIMEOUT, Reason.STDOUT, Reason.STDERR, Reason.NOT_STARTED, Reason.CANCELLED):
        assert not attempts.may_run_again(Report(Phase.ENDED, exit_code=1, reason=reason))


def test_the_delay_doubles_up_to_ten_minutes():
    waits = [attempts.next_attempt(n, 9, 100, "")["status_msg"].split()[-2] for n in range(1, 6)]
    assert waits == ["100", "200", "400", "600", "600"]
    assert attempts.next_attempt(3, 2, 100, "") is None
