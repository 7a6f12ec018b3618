"""A job on EMR is started once, whenever its server dies; its state and end are told as a local job's are."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from sfbatch.jobs import attempts
from sfbatch.jobs.backends import Phase, Reason, remote
from sfbatch.jobs.backends.remote import RemoteBackend, Run
from sfbatch.jobs.environments import Unwanted
from sfbatch.jobs.verdict import verdict


def test_a_job_goes_through_its_states_and_its_logs_are_files_of_its_directory(kind):
    launch = kind.launch()
    assert kind.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED
    kind.backend.submit(launch)
    kind.set("PENDING")
    assert kind.poll(launch).phase is Phase.STARTING
    kind.set("RUNNING")
    assert kind.poll(launch).phase is Phase.RUNNING
    kind.log("stdout", "one\n")
    kind.backend.logs("j", launch.directory)
    assert (launch.directory / "stdout").read_text() == "one\n"
    kind.log("stdout", "one\ntwo\n")
    kind.log("stderr", "fine\n")
    kind.set("COMPLETED")
    end = kind.poll(launch)
    assert (end.phase, end.reason, end.exit_code) == (Phase.ENDED, Reason.EXITED, 0)
    assert (launch.directory / "stdout").read_text() == "one\ntwo\n"
    assert verdict(end, launch.directory)["status"] == "SUCCEEDED"
    assert len(kind.runs()) == 1


def test_submitting_again_starts_nothing(kind):
    launch = kind.launch()
    for _ in range(3):
        kind.backend.submit(launch)
    another = RemoteBackend(lambda: kind.service, 3600)  # the server's successor
    another.submit(launch)
    assert len(kind.runs()) == 1


def test_a_crash_between_asking_and_recording_never_starts_a_job_twice(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    recorded = Run.read(launch.directory)
    remote.replace(recorded, run_id=None).write(launch.directory)  # the answer was never written down
    successor = RemoteBackend(lambda: kind.service, 3600)
    successor.submit(launch)
    assert len(kind.runs()) == 1
    assert Run.read(launch.directory).run_id == recorded.run_id


def test_an_answer_that_never_came_is_looked_up_and_only_then_asked_for_again(kind, monkeypatch):
    """The request was carried out, but the answer was lost, and the service does not list the run at once."""
    launch, visible = kind.launch(), []
    real_start, real_find = kind.service.start, kind.service.find

    def lost(run):
        real_start(run)
        raise remote.Unclear("no answer")

    monkeypatch.setattr(kind.service, "start", lost)
    monkeypatch.setattr(kind.service, "find", lambda run: real_find(run) if visible else None)
    kind.backend.submit(launch)
    assert kind.backend.poll("j", launch.directory).phase is Phase.STARTING  # so nobody submits it again
    kind.backend.submit(launch)
    assert len(kind.runs()) == 1
    visible.append(True)
    kind.backend.refresh()
    assert Run.read(launch.directory).run_id == kind.runs()[0].id


def test_a_run_that_never_shows_up_is_asked_for_again_later(kind, monkeypatch):
    launch = kind.launch()
    kind.backend.submit(launch)
    long_ago = remote.now_ms() - remote.SETTLE_MS - 1
    remote.replace(Run.read(launch.directory), run_id=None, asked_ms=long_ago).write(launch.directory)
    monkeypatch.setattr(kind.service, "find", lambda run: None)
    assert kind.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED
    kind.backend.submit(launch)
    assert len(kind.runs()) == 2  # moto knows no client tokens; AWS would answer with the first


def test_a_failed_job_says_why(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    trouble = (
        "org.apache.spark.SparkException: Job aborted\nCaused by: java.io.FileNotFoundException: s3://lake/in\n\tat x\n"
    )
    kind.log("stderr", trouble)
    if kind.name == "steps":
        kind.log(
            "controller",
            "2026-11-21 INFO Command exiting with ret '13'\nWARN Step failed with exitCode 13 and took 9 seconds\n",
        )
        kind.set("FAILED")
    else:
        kind.set("FAILED", state_details="Job failed, please check complete logs. ExitCode: 13.")
    end = kind.poll(launch)
    assert (end.phase, end.reason, end.exit_code) == (Phase.ENDED, Reason.EXITED, 13)
    found = verdict(end, launch.directory)
    assert found["status_msg"] == "Job failed. java.io.FileNotFoundException: s3://lake/in"
    assert (found["status"], found["exit_code"]) == ("FAILED", 13)


def test_the_end_of_a_failed_job_waits_for_its_log_but_not_for_ever(kind, monkeypatch):
    launch = kind.launch()
    kind.backend.submit(launch)
    kind.set("FAILED")
    if kind.name == "serverless":
        monkeypatch.setattr(remote, "now_ms", lambda: int(kind.runs()[0].updated_at.timestamp() * 1000))
    assert kind.poll(launch).phase is Phase.RUNNING
    monkeypatch.setattr(remote, "LOGS_LATE_MS", -1)
    end = kind.poll(launch)
    assert (end.phase, end.exit_code) == (Phase.ENDED, 1)


def test_what_somebody_else_cancelled_was_not_killed_by_our_user(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    kind.set("CANCELLED")
    found = verdict(kind.poll(launch), launch.directory)
    assert (found["status"], found["status_msg"]) == ("KILLED", "Job was cancelled on its cluster, not by this server.")


def test_a_job_that_is_to_end_before_it_was_sent_is_never_sent(kind):
    launch = kind.launch()
    kind.backend.kill("j", launch.directory)
    kind.backend.submit(launch)
    assert kind.runs() == []
    assert kind.backend.poll("j", launch.directory).reason is Reason.KILLED


def test_a_job_that_is_to_end_while_it_is_being_sent_is_not_sent(kind):
    launch = kind.launch()
    kind.service.prepare(launch).write(launch.directory)  # the server died here
    kind.backend.kill("j", launch.directory)
    kind.backend.submit(launch)
    assert kind.runs() == []
    assert kind.backend.poll("j", launch.directory).reason is Reason.KILLED


def test_a_job_that_is_no_longer_wanted_when_it_is_prepared_is_not_sent(kind):
    def unwanted():
        raise Unwanted

    launch = replace(kind.launch(), check=unwanted)
    with pytest.raises(Unwanted):
        kind.backend.submit(launch)
    assert kind.runs() == []
    assert kind.backend.poll("j", launch.directory).phase is Phase.NOT_STARTED


def test_a_run_the_service_forgot_is_lost(kind):
    launch = kind.launch()
    kind.backend.submit(launch)
    kind.runs().clear()
    assert kind.poll(launch).phase is Phase.LOST


def test_a_lost_run_says_nothing_about_the_next_attempt(kind):
    kind.backend.submit(kind.launch())
    kind.runs().clear()
    assert kind.poll(kind.launch()).phase is Phase.LOST
    attempts.set_aside(kind.launch().directory, 1)
    again = kind.launch(attempt=2)
    kind.backend.submit(again)
    assert kind.backend.poll("j", again.directory).phase is Phase.STARTING


def test_a_killed_job_run_is_cancelled(serverless):
    launch = serverless.launch()
    serverless.backend.submit(launch)
    serverless.set("RUNNING")
    serverless.poll(launch)
    serverless.backend.kill("j", launch.directory)
    serverless.backend.refresh()
    assert serverless.runs()[0].state == "CANCELLED"
    found = verdict(serverless.poll(launch), launch.directory)
    assert (found["status"], found["status_msg"], found["exit_code"]) == ("KILLED", "Job was killed by user.", 999)


def test_a_job_run_that_takes_too_long_is_cancelled(serverless):
    launch = serverless.launch(timeout_s=1)
    serverless.backend.submit(launch)
    serverless.set("RUNNING", created_at=datetime.now(timezone.utc) - timedelta(days=1))
    serverless.poll(launch)
    assert serverless.runs()[0].state == "CANCELLED"
    assert verdict(serverless.poll(launch), launch.directory)["status_msg"] == "Job exceeded timeout."


# -- what is sent
