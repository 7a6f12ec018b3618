"""A local job runs once, in a group and directory of its own, and its end is told truthfully."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from live import alive, eventually, until
from sfbatch.jobs import attempts, environments
from sfbatch.jobs.backends import Launch, Phase, Reason, wrapper
from sfbatch.jobs.backends.leftovers import processes_of
from sfbatch.jobs.backends.local import LocalBackend, launched
from sfbatch.jobs.settings import Settings
from sfbatch.jobs.verdict import root_cause


@pytest.fixture
def backend(tmp_path):
    return LocalBackend(Settings(home=tmp_path, kill_grace_s=0.5, max_output_bytes=100_000))


def launch(tmp_path, script, job_id="j", **more):
    directory = tmp_path / job_id
    directory.mkdir(exist_ok=True)
    given = {
        "timeout_s": 60,
        "memory_mb": 1,
        "environment": {"SFBATCH_USER": "alice"},
        "fetch": {},
        "cluster": None,
        **more,
    }
    return Launch(job_id, directory, ["/bin/sh", "-c", script], **given)


def ended(backend, asked, for_s=60):
    def report():
        found = backend.poll(asked.job_id, asked.directory)
        return found if found.phase in {Phase.ENDED, Phase.LOST} else None

    return eventually(report, for_s)


def running(backend, asked):
    def report():
        found = backend.poll(asked.job_id, asked.directory)
        return found if found.phase is Phase.RUNNING else None

    return eventually(report)


def wrapper_of(asked):
    return json.loads(launched(asked.directory).read_text())["wrapperId"]


def test_a_job_has_its_directory_group_output_and_exit_code(backend, tmp_path):
    asked = launch(tmp_path, "pwd; echo oops >&2; ps -o pgid= -p $$ | tr -d ' '; echo $$; exit 7")
    backend.submit(asked)
    report = ended(backend, asked)
    assert (report.phase, report.exit_code, report.reason) == (Phase.ENDED, 7, Reason.EXITED)
    where, group, process = (asked.directory / "stdout").read_text().split()
    assert (where, group) == (str(asked.directory), process)
    assert int(group) != os.getpgrp()
    assert (asked.directory / "stderr").read_text() == "oops\n"
    assert abs(report.finished_ms / 1000 - time.time()) < 10
    assert report.started_ms <= report.finished_ms


def test_submitting_again_and_at_once_runs_it_once(backend, tmp_path):
    asked = launch(tmp_path, "echo ran >> runs; sleep 0.3")
    threads = [threading.Thread(target=backend.submit, args=(asked,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended(backend, asked)
    backend.submit(asked)
    time.sleep(0.5)
    assert (asked.directory / "runs").read_text() == "ran\n"


def test_a_killed_job_ends_with_its_whole_group_though_it_ignores_sigterm(backend, tmp_path):
    asked = launch(tmp_path, "trap '' TERM; sleep 300 & echo $! > child; wait; sleep 300")
    backend.submit(asked)
    report = running(backend, asked)
    child = int(eventually(lambda: (asked.directory / "child").exists() and (asked.directory / "child").read_text()))
    for _ in range(3):
        backend.kill(asked.job_id, asked.directory)
    assert ended(backend, asked).reason is Reason.KILLED
    eventually(lambda: not alive(child) and not alive(report.process_id))


def test_a_killed_job_cannot_hide_a_process_in_another_session(backend, tmp_path):
    asked = launch(tmp_path, "setsid sleep 300 & sleep 0.2; ps -C sleep -o pid=,args= ; echo ready > ready; sleep 300")
    backend.submit(asked)
    eventually(lambda: (asked.directory / "ready").exists())
    eventually(lambda: len(processes_of(asked.directory)) >= 3)
    backend.kill(asked.job_id, asked.directory)
    assert ended(backend, asked).reason is Reason.KILLED
    eventually(lambda: processes_of(asked.directory) == [])


def test_what_a_job_leaves_in_its_group_dies_with_it(backend, tmp_path):
    asked = launch(tmp_path, "sleep 300 & echo $! > child")
    backend.submit(asked)
    assert ended(backend, asked).exit_code == 0
    child = int((asked.directory / "child").read_text())
    eventually(lambda: not alive(child))


def test_a_job_killed_before_it_started_never_starts(backend, tmp_path):
    asked = launch(tmp_path, "touch ran")
    backend.kill(asked.job_id, asked.directory)
    backend.submit(asked)
    time.sleep(0.5)
    report = backend.poll(asked.job_id, asked.directory)
    assert (report.phase, report.reason) == (Phase.ENDED, Reason.KILLED)
    assert not (asked.directory / "ran").exists()


@contextmanager
def room_for(size):
    """No file may become larger: what a full disk is to who writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 40])  # no room for the proof, or for it alone
def test_a_kill_before_the_start_that_finds_the_disk_full_is_done_when_there_is_room(backend, tmp_path, size):
    asked = launch(tmp_path, "touch ran")
    for _ in range(2):
        with room_for(size), pytest.raises(OSError, match="too large"):
            backend.kill(asked.job_id, asked.directory)
    assert backend.poll(asked.job_id, asked.directory).phase is Phase.NOT_STARTED
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    backend.kill(asked.job_id, asked.directory)
    assert backend.poll(asked.job_id, asked.directory).reason is Reason.KILLED


def test_a_running_job_is_killed_though_the_disk_is_full(backend, tmp_path):
    asked = launch(tmp_path, "sleep 300")
    backend.submit(asked)
    running(backend, asked)
    with room_for(0):
        backend.kill(asked.job_id, asked.directory)
    assert ended(backend, asked).reason is Reason.KILLED


def test_a_server_that_ends_an_unstarted_job_signals_nobody_and_least_itself(backend, tmp_path):
    asked = launch(tmp_path, "")
    held = wrapper.hold(str(launched(asked.directory)))
    backend.kill(asked.job_id, asked.directory)  # SIGTERM would end this process
    os.close(held)


def test_a_job_that_is_not_to_be_started_after_all_is_not(backend, tmp_path):
    def unwanted():
        raise environments.Unwanted

    asked = launch(tmp_path, "touch ran", check=unwanted)
    with pytest.raises(environments.Unwanted):
        backend.submit(asked)
    assert backend.poll(asked.job_id, asked.directory).phase is Phase.NOT_STARTED


def test_a_job_that_runs_too_long_is_ended(backend, tmp_path):
    asked = launch(tmp_path, "sleep 300", timeout_s=1)
    backend.submit(asked)
    assert ended(backend, asked).reason is Reason.TIMEOUT


@pytest.mark.parametrize(("script", "reason"), [("{}", Reason.STDOUT), ("{} >&2", Reason.STDERR)])
def test_a_job_that_writes_too_much_is_ended(backend, tmp_path, script, reason):
    many = "for i in $(seq 1 20000); do echo 1234567890; done"
    asked = launch(tmp_path, f"{script.format(f'({many})')}; sleep 60")
    backend.submit(asked)
    assert ended(backend, asked).reason is reason


def test_a_job_whose_watcher_is_killed_is_lost_and_leaves_nothing_behind(backend, tmp_path):
    asked = launch(tmp_path, "setsid sleep 300 & sleep 300")
    backend.submit(asked)
    report = running(backend, asked)
    os.kill(wrapper_of(asked), signal.SIGKILL)
    assert ended(backend, asked).phase is Phase.LOST
    eventually(lambda: not alive(report.process_id))


def test_a_missing_executable_or_file_is_told(backend, tmp_path):
    asked = launch(tmp_path, "")
    asked = Launch(**{**asked.__dict__, "arguments": ["/no/such/program"]})
    backend.submit(asked)
    assert ended(backend, asked).reason is Reason.NOT_STARTED
    assert "/no/such/program could not be started" in (asked.directory / wrapper.DETAILS).read_text()
    for number, address in enumerate(("file:///no/such/file", "s3://bucket/x.jar", "relative.txt")):
        asked = launch(tmp_path, "true", job_id=f"f{number}", fetch={"x": address})
        backend.submit(asked)
        assert ended(backend, asked).reason is Reason.NOT_STARTED
        assert address.removeprefix("file://") in (asked.directory / wrapper.DETAILS).read_text()


def test_a_dependency_of_this_machine_is_fetched(backend, tmp_path):
    (tmp_path / "lib.txt").write_text("hello")
    asked = launch(tmp_path, "cat lib.txt", fetch={"lib.txt": f"file://{tmp_path}/lib.txt"})
    backend.submit(asked)
    ended(backend, asked)
    assert (asked.directory / "stdout").read_text() == "hello"


def test_a_job_sees_no_secret_of_the_servers_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k3y-v4lue")
    monkeypatch.setenv("SFBATCH_JOBS_DATABASE_URL", "postgresql://u:k3y-v4lue@h/d")
    monkeypatch.setenv("ALLOWED", "yes")
    backend = LocalBackend(Settings(home=tmp_path, pass_env=("ALLOWED",)))
    asked = launch(tmp_path, "env")
    backend.submit(asked)
    ended(backend, asked)
    seen = dict(line.split("=", 1) for line in (asked.directory / "stdout").read_text().splitlines())
    assert "k3y-v4lue" not in str(seen)
    assert (seen["ALLOWED"], seen["SFBATCH_JOB_ID"], seen["SFBATCH_USER"]) == ("yes", "j", "alice")


@pytest.mark.parametrize("has_it", [False, True])
def test_the_servers_own_python_is_the_jobs_unless_the_path_says_where_it_comes(tmp_path, monkeypatch, has_it):
    own = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"/usr/bin:/bin:{own}" if has_it else "/usr/bin:/bin")  # systemd's has no venv
    backend = LocalBackend(Settings(home=tmp_path))
    asked = launch(tmp_path, "echo $PATH; command -v python3")
    backend.submit(asked)
    ended(backend, asked)
    path, python = (asked.directory / "stdout").read_text().split()
    assert path == (f"/usr/bin:/bin:{own}" if has_it else f"{own}:/usr/bin:/bin")
    assert has_it or python == f"{own}/python3"


def test_what_a_job_writes_over_the_wrappers_files_changes_nothing(backend, tmp_path):
    asked = launch(
        tmp_path, "echo '{\"exitCode\": 1}' > genie/genie.done; echo x > genie/process.json; sleep 0.5; exit 3"
    )
    backend.submit(asked)
    assert ended(backend, asked).exit_code == 3


def test_the_arguments_meet_no_shell(server):
    server.add_command("echo", "/bin/echo 'a b'", cluster="local")
    job_id = server.submit(["$HOME", "`id`", "x;y", "*"], command="echo")
    server.ended(job_id)
    assert server.output(job_id).text == "a b $HOME `id` x;y *\n"


def test_command_args_are_split_as_a_shell_would(server):
    body = server.job(None, command="sh", commandArgs='-c \'echo "$1-$2"\' name "a  b" c')
    del body["commandArguments"]
    job_id = server.post("jobs", body).headers["Location"].rpartition("/")[2]
    server.ended(job_id)
    assert server.output(job_id).text == "a  b-c\n"
    assert server.post("jobs", {**body, "commandArgs": "un'closed"}).status_code == 412


def test_a_failed_job_says_why(server):
    failing = server.submit(
        [
            "-c",
            "echo 'java.io.IOException: outer' >&2; echo 'Caused by: java.lang.IllegalStateException: the cause' >&2; exit 1",
        ]
    )
    job = server.ended(failing)
    assert (job["status"], job["statusMsg"]) == ("FAILED", "Job failed. java.lang.IllegalStateException: the cause")
    assert server.get(f"jobs/{failing}/execution").json()["exitCode"] == 1
    late = server.ended(server.submit(["-c", "sleep 60"], timeout=1))
    assert (late["status"], late["statusMsg"]) == ("KILLED", "Job exceeded timeout.")
    gone = server.ended(
        server.submit([], commandCriteria=[f"type:{server.add_command('gone', '/no/such', cluster='local')}"])
    )
    assert gone["statusMsg"].startswith("Job initialization failed")
    assert "/no/such could not be started: [Errno 2]" in gone["statusMsg"]


SPARK_LOG = """26/11/21 10:00:00 ERROR Executor: Exception in task 0.0 in stage 0.0 (TID 0)
org.apache.spark.SparkException: [TASK_WRITE_FAILED] Task failed while writing rows to file:/x.
\tat org.apache.spark.sql.errors.QueryExecutionErrors$.taskFailedWhileWritingRowsError(QueryExecutionErrors.scala:1)
Caused by: java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
\t... 16 more
26/11/21 10:00:01 INFO ShutdownHookManager: Shutdown hook called
"""
PY4J = """Traceback (most recent call last):
  File "/job/main.py", line 3, in <module>
    df.write.save("x")
py4j.protocol.Py4JJavaError: An error occurred while calling o30.save.
: org.apache.spark.SparkException: Job aborted.
\tat org.apache.spark.Driver.run(Driver.scala:1)
Caused by: java.lang.ArithmeticException: / by zero
\tat Main.main(Main.java:1)
"""
ANALYSIS = """Traceback (most recent call last):
  File "/job/main.py", line 3, in <module>
    spark.table("nope")
  File "/spark/python/pyspark/errors/exceptions/captured.py", line 1, in deco
    raise converted from None
pyspark.errors.exceptions.captured.AnalysisException: [TABLE_OR_VIEW_NOT_FOUND] The table or view `nope` cannot be found.
"""
EXITED = 'Exception in thread "main" org.apache.spark.SparkUserAppException: User application exited with 1\n\tat x.y(Z.scala:1)\n'


@pytest.mark.parametrize(
    ("stderr", "stdout", "cause"),
    [
        (SPARK_LOG, "", "java.io.IOException: No space left on device"),
        (PY4J, "", "java.lang.ArithmeticException: / by zero"),
        (SPARK_LOG, PY4J.partition("Caused by")[0], "org.apache.spark.SparkException: Job aborted."),
        (SPARK_LOG + EXITED, ANALYSIS, ANALYSIS.splitlines()[-1]),
        ("x" * 100, "Traceback (most recent call last):\n  File 'a'\nKeyboardInterrupt\n", "KeyboardInterrupt"),
        (EXITED, "", "org.apache.spark.SparkUserAppException: User application exited with 1"),
        ("", "all fine, no Error: here", None),
    ],
)
def test_the_root_cause_is_found(stderr, stdout, cause):
    assert root_cause(stderr, stdout) == cause


def test_the_wrapper_alone_needs_nothing_but_python(tmp_path):
    (tmp_path / "genie/logs").mkdir(parents=True)
    asked = {"arguments": ["/bin/sh", "-c", "echo hi"], "timeoutS": 60, "killGraceS": 1, "maxOutputBytes": 10**6}
    (tmp_path / wrapper.LAUNCH).write_text(json.dumps(asked))
    subprocess.run([sys.executable, "-I", "-S", wrapper.__file__, str(tmp_path)], check=True, env={}, timeout=120)
    assert json.loads((tmp_path / wrapper.DONE).read_text())["exitCode"] == "0"
    assert Path(tmp_path / "stdout").read_text() == "hi\n"
    assert "Handling exit signal (code: 0)" in (tmp_path / wrapper.LOG).read_text()


def test_a_job_that_empties_its_directory_runs_once_and_its_end_is_told(server, tmp_path):
    job_id = server.submit(["-c", f"echo x >> {tmp_path}/ran; rm -rf ./*; sleep 1; exit 3"])
    assert server.ended(job_id)["status"] == "FAILED"
    assert server.get(f"jobs/{job_id}/execution").json()["exitCode"] == 3
    assert (tmp_path / "ran").read_text() == "x\n"


@pytest.mark.parametrize("what", ["./.[!.]* ./*", "$GENIE_JOB_DIR"])
def test_a_job_that_deletes_its_files_before_the_server_knew_it_runs_does_not_run_twice(backend, tmp_path, what):
    asked = launch(tmp_path, f"echo x >> {tmp_path}/ran; rm -rf {what}; touch {tmp_path}/gone; sleep 1")
    backend.submit(asked)
    eventually(lambda: (tmp_path / "gone").exists())
    successor = LocalBackend(backend._settings)  # of a server that was killed just now
    assert successor.poll(asked.job_id, asked.directory).phase is not Phase.NOT_STARTED
    successor.submit(asked)
    ended(successor, asked)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_job_that_deletes_what_tells_how_it_is_ends_as_lost(server, tmp_path):
    wait = until(tmp_path / "go")
    job_id = server.submit(["-c", f"echo x >> {tmp_path}/ran; {wait}; rm -rf ../.*.launched ./*; sleep 300"])
    server.running(job_id)
    (tmp_path / "go").touch()
    assert server.ended(job_id)["statusMsg"].startswith("Job was lost: the files")
    assert server.get(f"jobs/{job_id}/execution").json()["exitCode"] == 666
    assert (tmp_path / "ran").read_text() == "x\n"
    eventually(lambda: processes_of(server.directory(job_id)) == [])


def test_a_wrapper_that_comes_too_late_starts_nothing_and_is_in_nobodys_way(backend, tmp_path):
    asked = launch(tmp_path, "echo x >> ran; exit 1")
    backend.submit(asked)
    assert ended(backend, asked).exit_code == 1
    attempts.set_aside(asked.directory, 1)
    subprocess.run([sys.executable, "-I", "-S", wrapper.__file__, str(asked.directory)], check=True, timeout=60)
    assert backend.poll(asked.job_id, asked.directory).phase is Phase.NOT_STARTED
    assert (asked.directory / "ran").read_text() == "x\n"
