"""The client from Python: what it sends, that it sends it once, and that it bears a server that goes away."""

import contextlib
import os
import signal
import socket
import threading
import zipfile
from io import BytesIO

import httpx
import pytest
import sfbatch
from live import free_port
from sfbatch.errors import SfBatchError
from sfbatch.jobs.api import Api, JobServerError
from sfbatch.jobs.parcel import pack


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "job.py"
    path.write_text("import sys; print('ran', *sys.argv[1:])")
    return path


@pytest.fixture
def api(live):
    return Api(live.url, live.token)


def test_a_job_is_submitted_watched_and_read(api, script):
    job = sfbatch.jobs.submit(script, ["a b", 1], command="python", name="nightly", job_tags=["team:x"], api=api)
    state = job.wait(timeout_s=120)
    assert (state.status, state.exit_code, state.cluster, state.command) == ("SUCCEEDED", 0, "dev", "python")
    assert state.cluster_id == "local"
    assert job.log() == "ran a b 1\n"
    assert [found["id"] for found in sfbatch.jobs.search(api, tag="team:x")] == [job.id]
    assert sfbatch.jobs.find(job.id, api).state() == state
    assert job.batches() == []


def test_a_failed_job_raises_its_reason_and_one_that_goes_on_raises_too(api, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("raise KeyError('day')")
    job = sfbatch.jobs.submit(path, command="python", api=api)
    with pytest.raises(sfbatch.jobs.JobFailedError, match="KeyError: 'day'") as raised:
        job.wait(timeout_s=120)
    assert (raised.value.code, raised.value.exit_code, raised.value.state.status) == ("SFBATCH_JOB_FAILED", 1, "FAILED")
    assert job.wait(check=False).exit_code == 1
    path.write_text("import time; time.sleep(60)")
    job = sfbatch.jobs.submit(path, command="python", api=api)
    with pytest.raises(sfbatch.jobs.JobFailedError, match="SFBATCH_JOB_UNFINISHED"):
        job.wait(timeout_s=0.5)
    job.kill()
    assert job.wait(120, check=False).status == "KILLED"


def test_an_id_sent_again_finds_its_job_and_another_job_of_that_id_is_refused(api, script):
    first = sfbatch.jobs.submit(script, ["1"], command="python", job_id="once", api=api)
    again = sfbatch.jobs.submit(script, ["1"], command="python", job_id="once", api=api)
    assert again.wait(120).created == first.state().created
    with pytest.raises(JobServerError, match="SFBATCH_ID_TAKEN.*its arguments are job.py 1, not job.py 2. Give"):
        sfbatch.jobs.submit(script, ["2"], command="python", job_id="once", api=api)
    script.write_text("print('other')")
    script.with_name("new.csv").write_text("")
    with pytest.raises(JobServerError, match="another: the file job.py has changed; the file new.csv is new. Give"):
        sfbatch.jobs.submit(
            script, ["1"], command="python", files=[script.with_name("new.csv")], job_id="once", api=api
        )


class Deaf:
    """A proxy before a server that swallows the answers to the first few POSTs: the request was heard, the client cannot know."""

    def __init__(self, port, swallow):
        self.target, self.swallow, self.posts = port, swallow, 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        upstream = socket.create_connection(("127.0.0.1", self.target))
        mute = threading.Event()

        def there():
            while data := client.recv(65536):
                if data.startswith(b"POST"):
                    self.posts += 1
                    if self.posts <= self.swallow:
                        mute.set()
                upstream.sendall(data)

        def back():
            while data := upstream.recv(65536):
                if mute.is_set():
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)

        for work in (there, back):
            threading.Thread(target=_quietly, args=(work,), daemon=True).start()


def _quietly(work):
    with contextlib.suppress(OSError):
        work()


def test_a_submission_whose_answer_was_lost_is_repeated_and_runs_once(live, tmp_path):
    path = tmp_path / "job.py"
    path.write_text("print('ran')")
    proxy = Deaf(live.port, swallow=2)
    try:
        api = Api(proxy.url, live.token)
        before = live.get("jobs", name="lost").json()["page"]["totalElements"]
        job = sfbatch.jobs.submit(path, command="python", name="lost", api=api)
    finally:
        proxy.server.close()
    assert proxy.posts == 3
    assert live.ended(job.id)["status"] == "SUCCEEDED"
    assert live.output(job.id).text == "ran\n"  # the attachment came whole with each try
    assert live.get("jobs", name="lost").json()["page"]["totalElements"] == before + 1


def test_who_waits_bears_a_server_that_is_killed_and_comes_back(fresh, tmp_path):
    server = fresh().start()
    path = tmp_path / "job.py"
    go = tmp_path / "go"
    path.write_text(
        f"import os, time\nfor _ in range(3000):\n  if os.path.exists({str(go)!r}): break\n  time.sleep(0.1)\nprint('through')"
    )
    job = sfbatch.jobs.submit(path, command="python", api=Api(server.url, server.token))
    server.running(job.id)
    states = []
    waiting = threading.Thread(target=lambda: states.append(job.wait(timeout_s=240)))
    waiting.start()
    server.kill9()
    server.start()
    go.touch()
    waiting.join(240)
    assert [state.status for state in states] == ["SUCCEEDED"]
    assert job.log() == "through\n"


def test_one_question_is_asked_for_seconds_and_a_wait_says_that_it_goes_on(monkeypatch, caplog):
    for name in ("api.COMES_UP_S", "client.BRIEFLY_S", "client.AWAY_S"):
        monkeypatch.setattr(f"sfbatch.jobs.{name}", 0.3)
    nobody = Api(f"http://127.0.0.1:{free_port()}")
    job = sfbatch.jobs.Job("x", nobody)
    with pytest.raises(JobServerError, match=f"no job server answers at {nobody.url}.*Start one: `sfbatch server`"):
        job.state()
    assert not caplog.records
    with pytest.raises(JobServerError, match="SFBATCH_SERVER_DOWN"):
        job.wait()
    assert "the job runs on meanwhile" in caplog.text


def test_a_submission_waits_for_a_server_that_is_coming_up_and_its_first_token(fresh, script, monkeypatch):
    server = fresh()
    monkeypatch.setenv("SFBATCH_HOME", str(server.home))
    monkeypatch.setattr("sfbatch.jobs.api.COMES_UP_S", 60)
    server.start(wait=False)
    job = sfbatch.jobs.submit(script, command="python", api=Api(server.url))
    assert job.wait(120).status == "SUCCEEDED"


def test_the_beginning_of_an_id_that_was_made_up_finds_its_job(api, script):
    made, given = (
        sfbatch.jobs.submit(script, command="python", job_id=given, api=api) for given in (None, "abcdef0-mine")
    )
    assert sfbatch.jobs.find(made.id[:8], api).id == made.id
    with pytest.raises(JobServerError, match="SFBATCH_NOT_FOUND.*6 characters are needed"):
        sfbatch.jobs.find(made.id[:5], api)
    for text in ("abcdef0", "fffffffff", "abcdef%"):
        with pytest.raises(JobServerError, match="SFBATCH_NOT_FOUND"):
            sfbatch.jobs.find(text, api)
    twin = f"{made.id[:8]}-0000-0000-0000-000000000000"
    sfbatch.jobs.submit(script, command="python", job_id=twin, api=api)
    with pytest.raises(JobServerError, match="2 jobs' ids begin with"):
        sfbatch.jobs.find(made.id[:8], api)
    assert sfbatch.jobs.find(given.id, api).id == given.id


def test_a_jobs_files_are_listed_and_copied(api, tmp_path):
    path = tmp_path / "job.py"
    path.write_text("import os; print('first'); os.mkdir('sub'); open('sub/out.bin', 'wb').write(b'\\0\\xff')")
    job = sfbatch.jobs.submit(path, command="python", api=api)
    job.wait(120)
    assert {"sub/", "stdout", "job.py"} <= {each["name"] for each in job.files()}
    assert job.files("sub/")[0]["size"] == 2
    here = tmp_path / "here"
    copied = job.fetch("sub/out.bin", here)
    assert copied == here / "sub/out.bin"
    assert copied.read_bytes() == b"\0\xff"
    copied.write_text("my own")
    with pytest.raises(JobServerError, match="sub/out.bin is here already"):
        job.fetch("sub/out.bin", here)
    assert copied.read_text() == "my own"
    assert job.fetch("sub/out.bin", here, force=True).read_bytes() == b"\0\xff"
    for name in ("sub", "gone", "../../token"):
        with pytest.raises(JobServerError):
            job.fetch(name, here)
    assert [path for path in here.rglob("*") if path.is_file()] == [copied]


def test_a_token_of_this_machine_goes_to_no_other(monkeypatch, live):
    monkeypatch.setenv("SFBATCH_HOME", str(live.home))
    monkeypatch.delenv("SFBATCH_JOBS_TOKEN", raising=False)
    assert Api(live.url)._http.headers["authorization"] == f"Bearer {live.token}"
    assert "authorization" not in Api("http://jobs.example:8080")._http.headers


def test_the_server_of_this_home_is_found_on_any_port_and_what_is_given_comes_first(monkeypatch, live, tmp_path):
    monkeypatch.setenv("SFBATCH_HOME", str(live.home))
    monkeypatch.delenv("SFBATCH_JOBS_TOKEN", raising=False)
    monkeypatch.delenv("SFBATCH_JOBS_URL", raising=False)
    assert Api().call("GET", "me")["authenticated"]
    assert Api().url == live.url
    assert Api("http://jobs.example:1").url == "http://jobs.example:1"
    left = tmp_path / "jobs"
    left.mkdir()
    for name, text in {"url": "http://192.0.2.1:9", "token": "secret", "server.lock": ""}.items():
        (left / name).write_text(text)
    monkeypatch.setenv("SFBATCH_HOME", str(tmp_path))  # its server has ended: another may have its address
    assert Api().url == "http://127.0.0.1:8080"
    monkeypatch.setenv("SFBATCH_JOBS_URL", "http://jobs.example:2")
    assert Api().url == "http://jobs.example:2"


def test_without_a_token_it_is_told_that_none_was_sent(monkeypatch, live, tmp_path):
    monkeypatch.setenv("SFBATCH_HOME", str(tmp_path))
    monkeypatch.delenv("SFBATCH_JOBS_TOKEN", raising=False)
    with pytest.raises(JobServerError, match=f"No token was sent to {live.url}: set SFBATCH_JOBS_TOKEN"):
        Api(live.url).call("GET", "jobs")
    with pytest.raises(JobServerError, match="knows no such token"):
        Api(live.url, "wrong").call("GET", "jobs")
    assert f"the answer of {live.url} was 404 Not Found" in str(Api(live.url)._told(httpx.Response(404)))


@pytest.mark.parametrize("url", ["jobs.example", "ftp://jobs.example", "http://"])
def test_what_is_no_address_is_refused_at_once(url):
    with pytest.raises(JobServerError, match="SFBATCH_BAD_REQUEST"):
        Api(url)


def test_a_directory_becomes_the_same_archive_each_time_without_what_is_hidden(tmp_path, script):
    library = tmp_path / "lib"
    (library / "pkg/__pycache__").mkdir(parents=True)
    for name in ("pkg/__init__.py", "pkg/a.py", "pkg/__pycache__/a.pyc", ".secret", "pkg/.env"):
        (library / name).write_text(name)
    first = pack(str(script), env="dev", py_files=[str(library)]).files["lib.zip"]
    os.utime(library / "pkg/a.py", (1, 1))
    assert pack(str(script), env="dev", py_files=[str(library)]).files["lib.zip"] == first
    assert zipfile.ZipFile(BytesIO(first)).namelist() == ["pkg/__init__.py", "pkg/a.py"]


def test_a_python_job_finds_the_modules_that_go_along(api, tmp_path):
    (tmp_path / "lib/pkg").mkdir(parents=True)
    (tmp_path / "lib/pkg/__init__.py").write_text("ANSWER = 42")
    (tmp_path / "beside.py").write_text("MORE = 1")
    path = tmp_path / "job.py"
    path.write_text("import beside, pkg; print(pkg.ANSWER + beside.MORE)")
    modules = [tmp_path / "lib", tmp_path / "beside.py"]
    job = sfbatch.jobs.submit(path, command="python", py_files=modules, api=api)
    job.wait(120)
    assert job.log() == "43\n"
    with pytest.raises(SfBatchError, match="python takes files of this machine alone, not s3://b/x.zip"):
        sfbatch.jobs.submit(path, command="python", py_files=["s3://b/x.zip"], api=api)


def test_requirements_go_along_and_a_lock_file_with_its_project(tmp_path, script):
    for name in ("requirements.txt", "uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text("")
    found = pack(str(script), env="dev", requirements=str(tmp_path / "requirements.txt"))
    assert (found.request["pythonEnvironment"], list(found.files)) == (
        "requirements.txt",
        ["job.py", "requirements.txt"],
    )
    found = pack(str(script), env="dev", requirements=str(tmp_path / "uv.lock"))
    assert (found.request["pythonEnvironment"], list(found.files)) == (
        "uv.lock",
        ["job.py", "uv.lock", "pyproject.toml"],
    )


def test_what_cannot_be_sent_is_told_before_anything_is(tmp_path, script):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/job.py").write_text("")
    (tmp_path / "empty").mkdir()
    cases = {
        "not there": {"py_files": [str(tmp_path / "gone.zip")]},
        "two files are called job.py": {"files": [str(tmp_path / "other/job.py")]},
        "holds no file": {"py_files": [str(tmp_path / "empty")]},
        "spark-submit's": {"conf": {"a": "b"}, "command": ["python"]},
        "is a directory": {"files": [str(tmp_path)]},
    }
    for message, given in cases.items():
        with pytest.raises(SfBatchError, match=message) as raised:
            pack(str(script), env="dev", **given)
        assert raised.value.code == "SFBATCH_BAD_SUBMISSION"


def test_a_stopped_server_is_a_time_out_that_says_so(fresh, monkeypatch):
    server = fresh().start()
    monkeypatch.setattr("sfbatch.jobs.api.TIMEOUT_S", 0.5)
    api = Api(server.url, server.token)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(JobServerError, match=r"SFBATCH_SERVER_DOWN.*ReadTimeout|SFBATCH_SERVER_DOWN.*timed out"):
            api.call("GET", "jobs")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    api._http.timeout = 60.0
    assert api.call("GET", "jobs")
