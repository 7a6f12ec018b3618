"""`sfbatch submit` and `sfbatch jobs`, from the command line to the job's end."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from cli import COMMAND, environment, said, sfbatch, started
from live import Live, eventually
from sfbatch.cli import app
from sfbatch.jobs.api import Api
from sfbatch.jobs.client import Job
from sfbatch.jobs.watch import Watch
from typer.testing import CliRunner

SUBMIT = ("submit", "--env", "dev", "--command", "python")


@pytest.fixture
def script(tmp_path):
    def write(text, name="job.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def shown_on(terminal):
    """All that is written there, until nobody has it open any more; then it is closed."""
    seen = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 65536):
            seen += chunk
    os.close(terminal)
    return seen


def newest(server):
    return said(server, "jobs", "list", "--limit", "1")[0]["id"]


def test_a_job_that_is_waited_for_shows_its_log_and_ends_as_it_ended(live, script):
    path = script("import sys; print('rows of', *sys.argv[1:]); print('careful', file=sys.stderr)")
    done = sfbatch(live, *SUBMIT, "--wait", path, "--date", "20161001", "--wait")
    assert done.stdout == "rows of --date 20161001 --wait\n"
    assert "careful\n" in done.stderr
    assert "SUCCEEDED on dev with python" in done.stderr


def test_what_is_said_of_a_job_is_one_line_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    api = Api("http://127.0.0.1:1")
    Watch(Job("j", api), api).say("word " * 50)
    assert capsys.readouterr().err.count("\n") == 1


def test_the_exit_code_of_a_failing_job_is_passed_on_and_the_reason_told(live, script):
    done = sfbatch(live, *SUBMIT, "--wait", script("import sys; sys.exit(7)"), ok=7)
    assert "FAILED" in done.stderr
    done = sfbatch(live, *SUBMIT, "--wait", script("raise ValueError('no rows')"), ok=1)
    assert "ValueError: no rows" in done.stderr.splitlines()[-1]


def test_without_wait_the_id_is_all_that_stdout_has(live, script):
    job_id = sfbatch(live, *SUBMIT, "--name", "mine", "--job-tag", "t:1", script("print('done')")).stdout.strip()
    assert live.ended(job_id)["status"] == "SUCCEEDED"
    shown = said(live, "jobs", "show", job_id)
    assert (shown["name"], shown["status"], shown["exit_code"], shown["arguments"]) == (
        "mine",
        "SUCCEEDED",
        0,
        "job.py",
    )
    assert sfbatch(live, "jobs", "logs", job_id).stdout == "done\n"
    assert [job["id"] for job in said(live, "jobs", "list", "--tag", "t:1")] == [job_id]


def test_a_job_killed_by_another_hand_ends_the_wait_with_137(live, script):
    waiting = started(live, *SUBMIT, "--id", "victim", "--wait", script("import time; time.sleep(60)"))
    live.running(eventually(lambda: live.get("jobs/victim").status_code == 200 and "victim", for_s=60), for_s=60)
    assert "asked to end" in sfbatch(live, "jobs", "kill", "victim").stdout
    assert waiting.wait(90) == 137
    assert "KILLED" in waiting.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_a_waiting_command_without_a_terminal_ends_its_job(live, script, number):
    waiting = started(live, *SUBMIT, "--wait", script("import time; print('up', flush=True); time.sleep(60)"))
    assert waiting.stdout.readline() == "up\n"
    waiting.send_signal(number)
    assert waiting.wait(90) == 137
    assert live.get(f"jobs/{newest(live)}").json()["status"] == "KILLED"


def test_a_signal_in_the_middle_of_a_request_waits_for_its_end(monkeypatch):
    """Or it may leave a lock of the HTTP client taken, and the request to kill hangs."""
    asked = []

    def state():
        asked.append("begun")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        asked.append("ended")
        return SimpleNamespace(is_final=False, attempt=1)

    view = Watch(SimpleNamespace(id="x", state=state), None, streams=())
    monkeypatch.setattr(view, "_tell", lambda _: None)
    with pytest.raises(KeyboardInterrupt), view.interruptible():
        view.to_the_end()
    assert asked == ["begun", "ended"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_does_not_wait_for_the_end_of_a_log(monkeypatch):
    def long(attempt):
        yield b"line\n"
        os.kill(os.getpid(), signal.SIGTERM)
        yield b"line\n"
        pytest.fail("it read on")

    view = Watch(SimpleNamespace(id="x", state=lambda: SimpleNamespace(is_final=False, attempt=1)), None, streams=())
    monkeypatch.setattr(view, "_tell", lambda _: None)
    monkeypatch.setattr(view, "_logs", [SimpleNamespace(stream="stdout", new=long)])
    with pytest.raises(KeyboardInterrupt), view.interruptible():
        view.to_the_end()


def test_the_job_runs_on_when_asked_to_be_left(live, script):
    path = script("import time; print('up', flush=True); time.sleep(60)")
    waiting = started(live, *SUBMIT, "--on-interrupt", "leave", "--wait", path)
    assert waiting.stdout.readline() == "up\n"
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(90) == 130
    job_id = newest(live)
    assert job_id in waiting.stderr.read()
    live.running(job_id)
    live.api.delete(f"{live.base}/jobs/{job_id}", timeout=60)


@pytest.mark.parametrize(("answer", "code", "status"), [("y\n", 137, "KILLED"), ("n\n", 130, "RUNNING")])
def test_ctrl_c_on_a_terminal_asks(live, script, answer, code, status):
    path = script("import time; print('up', flush=True); time.sleep(60)")
    master, slave = pty.openpty()
    command = [*COMMAND, *SUBMIT, "--wait", path]
    process = subprocess.Popen(
        command, env=environment(live), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = b""

    def read_until(text):
        nonlocal seen
        while text not in seen:
            seen += os.read(master, 4096)

    read_until(b"up")
    process.send_signal(signal.SIGINT)
    read_until(b"Kill job")
    os.write(master, answer.encode())
    # Else the process may wait for room to write.
    rest = threading.Thread(target=shown_on, args=(master,), daemon=True)
    rest.start()
    assert process.wait(90) == code
    rest.join(60)
    job_id = newest(live)
    eventually(lambda: live.status(job_id) == status)
    live.api.delete(f"{live.base}/jobs/{job_id}", timeout=60)


def test_a_log_is_followed_while_the_job_writes_it(live, script, tmp_path):
    go = tmp_path / "go"
    text = f"import os, time\nfor i in range(4):\n  print(i, flush=True)\n  while i == 1 and not os.path.exists({str(go)!r}): time.sleep(0.1)\n"
    job_id = sfbatch(live, *SUBMIT, script(text)).stdout.strip()
    following = started(live, "jobs", "logs", "-f", "--stdout", job_id)
    lines = [following.stdout.readline() for _ in range(2)]
    live.running(job_id)
    go.touch()
    assert lines + following.stdout.readlines() == ["0\n", "1\n", "2\n", "3\n"]
    assert following.wait(60) == 0


def test_what_could_command_a_terminal_is_not_obeyed(live, script):
    job_id = sfbatch(live, *SUBMIT, "--name", "\x1b]0;owned\x07[red]x", script("print('\\x1b[2Jwiped')")).stdout.strip()
    live.ended(job_id)
    assert "[red]x" in sfbatch(live, "jobs", "list", "--limit", "1").stdout
    master, slave = pty.openpty()
    for arguments in (["jobs", "logs", job_id], ["jobs", "list", "--limit", "1"]):
        subprocess.run(
            [*COMMAND, *arguments], env=environment(live), stdout=slave, stderr=slave, timeout=120, check=True
        )
    os.close(slave)
    seen = shown_on(master)
    assert b"wiped" in seen
    assert b"\x1b[2J" not in seen
    assert b"\x1b]0;" not in seen


def test_rerun_submits_it_again_from_the_files_it_came_with(live, script, tmp_path):
    (tmp_path / "names.txt").write_text("ada\n")
    path = script("print(open('names.txt').read(), end='')")
    first = sfbatch(live, *SUBMIT, "--file", str(tmp_path / "names.txt"), "--wait", path)
    old = newest(live)
    (tmp_path / "names.txt").write_text("changed here\n")
    again = sfbatch(live, "jobs", "rerun", "--wait", old)
    assert again.stdout == first.stdout == "ada\n"
    new = newest(live)
    assert new != old
    assert live.get(f"jobs/{new}").json()["metadata"] == {"sfbatch": {"rerunOf": old}}


def test_a_job_that_changed_its_own_files_is_not_run_again_with_those(live, script, tmp_path):
    (tmp_path / "n.txt").write_text("1")
    done = sfbatch(live, *SUBMIT, "--file", str(tmp_path / "n.txt"), "--wait", script("open('n.txt', 'w').write('2')"))
    assert done.returncode == 0
    refused = sfbatch(live, "jobs", "rerun", newest(live), ok=1)
    assert refused.stderr.startswith("[SFBATCH_INVALID]")
    assert "n.txt" in refused.stderr


def test_a_dry_run_shows_where_it_would_go_and_submits_nothing(live, script):
    path = script("print(1)")
    assert "python" in sfbatch(live, *SUBMIT, "--dry-run", "--name", "dry", path, "--x").stdout
    found = json.loads(sfbatch(live, *SUBMIT, "--dry-run", "--name", "dry", "--json", path, "--json").stdout)
    assert found["choice"]["clusterId"] == "local"
    assert (found["arguments"], found["files"]) == (["job.py", "--json"], ["job.py"])
    refused = sfbatch(live, "submit", "--env", "mars", "--name", "dry", "--dry-run", path, ok=1)
    assert refused.stderr.startswith("[SFBATCH_INVALID] No cluster/command combination")
    assert (
        "a cluster with env:mars and a command with type:spark-submit. UP: local (env:dev, sched:adhoc, type:local) runs type:"
        in refused.stderr
    )
    assert said(live, "jobs", "list", "--name", "dry") == []


def test_spark_settings_and_files_come_before_the_script_and_its_own_after(live, script, tmp_path):
    library = tmp_path / "lib"
    library.mkdir()
    (library / "m.py").write_text("x = 1\n")
    (tmp_path / "a.jar").write_bytes(b"jar")
    path = script("print(1)")
    found = json.loads(
        sfbatch(
            live, "submit", "--dry-run", "--json", "--conf", "a=b=c", "--py-files", str(library), "--jars",
            f"{tmp_path / 'a.jar'},s3://b/c.jar", path, "--conf", "mine",
        ).stdout
    )  # fmt: skip
    assert found["arguments"] == [
        "--conf", "a=b=c", "--py-files", "lib.zip", "--jars", "a.jar,s3://b/c.jar", "job.py", "--conf", "mine",
    ]  # fmt: skip
    assert found["files"] == ["lib.zip", "a.jar", "job.py"]


def test_every_verb_speaks_json(live, script):
    path = script("print('hello')")
    made = json.loads(sfbatch(live, *SUBMIT, "--json", path).stdout)
    live.ended(made["id"])
    assert said(live, "jobs", "show", made["id"])["status"] == "SUCCEEDED"
    lines = [json.loads(line) for line in sfbatch(live, "jobs", "logs", "--json", made["id"]).stdout.splitlines()]
    assert {"stream": "stdout", "text": "hello\n"} in lines
    again = said(live, "jobs", "rerun", made["id"])
    live.ended(again["id"])
    assert said(live, "jobs", "kill", again["id"]) == {"id": again["id"], "killed": False, "status": "SUCCEEDED"}
    lines = sfbatch(live, *SUBMIT, "--json", "--wait", path).stdout.splitlines()
    assert json.loads(lines[-1])["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("submit", "missing.py"), "SFBATCH_BAD_SUBMISSION"),
        (("submit", "--conf", "novalue", "s3://b/job.py"), "SFBATCH_BAD_SUBMISSION"),
        ((*SUBMIT, "--conf", "a=b", "s3://b/job.py"), "SFBATCH_BAD_SUBMISSION"),
        (("jobs", "show", "nobody"), "SFBATCH_NOT_FOUND"),
        (("jobs", "kill", "nobody"), "SFBATCH_NOT_FOUND"),
        (("jobs", "logs", "nobody"), "SFBATCH_NOT_FOUND"),
        (("jobs", "rerun", "nobody"), "SFBATCH_NOT_FOUND"),
        (("jobs", "list", "--status", "SLEEPING"), "SFBATCH_INVALID"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_code(live, arguments, code):
    began = time.monotonic()
    done = sfbatch(live, *arguments, ok=1)
    assert done.stderr.startswith(f"[{code}]")
    assert len(done.stderr.splitlines()) == 1
    assert time.monotonic() - began < 60  # nothing is tried again


def test_a_job_is_a_line_in_a_pipe_and_short_on_a_narrow_terminal(live):
    name = "a name that is longer than any terminal of eighty columns has room for, which is long enough to fold"
    job_id = live.submit(["-c", "true"], name=name, user="ada")
    live.ended(job_id)
    narrow = {**environment(live), "COLUMNS": "80"}
    command = [*COMMAND, "jobs", "list", "--user", "ada"]
    piped = subprocess.run(command, env=narrow, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(piped) == 2
    assert piped[1].split()[0] == job_id
    assert name in piped[1]
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d +\d+s", piped[1])
    master, slave = pty.openpty()
    subprocess.run(command, env=narrow, stdout=slave, check=True)
    os.close(slave)
    assert job_id[:8] in shown_on(master).decode().splitlines()[1].split()
    assert job_id not in [job["id"] for job in said(live, "jobs", "list", "--mine", "--limit", "500")]


def test_files_of_a_job_and_of_its_earlier_attempts_are_read(live, tmp_path):
    job_id = live.submit(["-c", "echo once; exit 1"], retries=1, retryDelay=0)
    live.ended(job_id)
    assert sfbatch(live, "jobs", "files", job_id, "attempts/1/stdout").stdout == "once\n"
    sfbatch(live, "jobs", "files", job_id, "-o", str(tmp_path / "here"))
    assert (tmp_path / "here/stdout").read_text() == "once\n"


def test_a_job_that_could_not_start_says_why_in_place_of_a_log(live):
    live.add_command("none", "/no/such/program", cluster="local")
    job_id = live.submit([], commandCriteria=["type:none"])
    live.ended(job_id)
    assert "/no/such/program could not be started" in sfbatch(live, "jobs", "logs", job_id).stderr


def test_without_a_server_it_says_how_to_start_one(tmp_path):
    nobody = Live(tmp_path)
    done = sfbatch(nobody, "jobs", "show", "x", ok=1)
    assert done.stderr.startswith(f"[SFBATCH_SERVER_DOWN] no job server answers at http://127.0.0.1:{nobody.port}")
    assert "sfbatch server" in done.stderr


def test_a_wrong_token_is_told_at_once(live, tmp_path):
    stranger = Live(tmp_path)
    stranger.url = live.url
    done = sfbatch(stranger, "jobs", "list", ok=1)
    assert done.stderr.startswith("[SFBATCH_UNAUTHORIZED]")
    assert "SFBATCH_JOBS_TOKEN" in done.stderr


def test_every_command_shows_an_example():
    for arguments in (
        ["submit"],
        *(["jobs", verb] for verb in ("list", "show", "logs", "files", "kill", "rerun")),
        ["jobs"],
    ):
        done = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"})
        assert f"sfbatch {' '.join(arguments)}" in done.stdout.partition("Example:")[2], arguments


def test_the_client_needs_no_server_package():
    code = "import sys; import sfbatch.cli, sfbatch.jobs; print([m for m in ('fastapi', 'sqlalchemy', 'httpx') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
