"""A requirements.txt or uv.lock becomes an environment once, of wheels alone, and the job's Python has it."""

import hashlib
import io
import json
import subprocess
import tarfile
import threading
import zipfile

import pytest
from live import alive, eventually
from sfbatch.jobs import environments
from sfbatch.jobs.environments import Environments, Python
from sfbatch.jobs.problem import ServerError

WHEEL = "mine-1.0-py3-none-any.whl"


def wheel(answer="42"):
    """The smallest there is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mine.py", f"ANSWER = {answer}\n")
        archive.writestr("mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        archive.writestr(
            "mine-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            "mine-1.0.dist-info/RECORD",
            "mine.py,,\nmine-1.0.dist-info/METADATA,,\nmine-1.0.dist-info/WHEEL,,\nmine-1.0.dist-info/RECORD,,\n",
        )
    return buffer.getvalue()


def lock(content):
    digest = hashlib.sha256(content).hexdigest()
    return f"""
version = 1
requires-python = ">=3.8"

[[package]]
name = "job"
version = "0.0.0"
source = {{ virtual = "." }}
dependencies = [{{ name = "mine" }}]

[package.metadata]
requires-dist = [{{ name = "mine", specifier = "==1.0" }}]

[[package]]
name = "mine"
version = "1.0"
source = {{ registry = "https://index.invalid/simple" }}
wheels = [{{ url = "https://index.invalid/{WHEEL}", hash = "sha256:{digest}" }}]
"""


PROJECT = '[project]\nname = "job"\nversion = "0.0.0"\nrequires-python = ">=3.8"\ndependencies = ["mine==1.0"]\n'


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")


@pytest.fixture
def made(tmp_path):
    return Environments(tmp_path / "environments")


@pytest.fixture
def source(tmp_path):
    """A job's directory with requirements and a wheel."""
    directory = tmp_path / "job"
    directory.mkdir()
    (directory / WHEEL).write_bytes(wheel())
    path = directory / "requirements.txt"
    path.write_text(f"# ours\n./{WHEEL}\n")
    return path


def answer(python):
    return subprocess.run(
        [python, "-c", "import mine; print(mine.ANSWER)"], capture_output=True, text=True, cwd="/"
    ).stdout.strip()


def test_its_python_has_the_packages_and_none_of_the_servers(made, source):
    python = made.get(source, Python.here()) / "bin/python"
    assert answer(python) == "42"
    found = subprocess.run([python, "-c", "import sqlalchemy"], capture_output=True, text=True, cwd="/")
    assert "ModuleNotFoundError" in found.stderr


def test_the_same_content_is_built_once_however_many_ask_at_once(made, source, monkeypatch):
    builds = []
    build = environments._build
    monkeypatch.setattr(environments, "_build", lambda *args: builds.append(1) or build(*args))
    found = []
    threads = [threading.Thread(target=lambda: found.append(made.get(source, Python.here()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(found)), len(found), len(builds)) == (1, 4, 1)
    (source.parent / WHEEL).write_bytes(wheel("43"))
    assert answer(made.get(source, Python.here()) / "bin/python") == "43"
    assert len(builds) == 2


def test_another_clusters_python_gets_an_environment_of_its_own(made, source, tmp_path):
    python = Python("/usr/bin/python3.9", "3.9", "x86_64-manylinux_2_28")
    found = made.get(source, python)
    assert (found / "bin/python").readlink().as_posix() == "/usr/bin/python3.9"
    assert "home = /usr/bin\n" in (found / "pyvenv.cfg").read_text()
    with tarfile.open(made.archive(found)) as archive:
        names = archive.getnames()
        assert {"bin/python", "lib/python3.9/site-packages/mine.py", "pyvenv.cfg"} <= set(names)
        archive.extractall(tmp_path / "elsewhere", filter="fully_trusted")
    (tmp_path / "elsewhere/bin/python").unlink()
    here = Python.here()
    (tmp_path / "elsewhere/bin/python").symlink_to(here.path)
    assert (tmp_path / "elsewhere/lib/python3.9/site-packages/mine.py").exists()


def test_an_archive_works_where_it_is_unpacked(made, source, tmp_path):
    archive = made.archive(made.get(source, Python.here()))
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "elsewhere", filter="fully_trusted")
    assert answer(tmp_path / "elsewhere/bin/python") == "42"


def test_a_uv_lock_is_as_good(made, source):
    directory = source.parent
    (directory / "uv.lock").write_text(lock(wheel()))
    with pytest.raises(ServerError, match="attach it too"):
        made.get(directory / "uv.lock", Python.here())
    (directory / "pyproject.toml").write_text(PROJECT)
    assert answer(made.get(directory / "uv.lock", Python.here()) / "bin/python") == "42"
    (directory / WHEEL).write_bytes(wheel("666"))  # not the one that was locked
    with pytest.raises(ServerError, match="SFBATCH_ENVIRONMENT_FAILED"):
        made.get(directory / "uv.lock", Python.here())


@pytest.mark.parametrize(
    "line",
    [
        "-r /etc/passwd", "-e .", "--index-url https://evil.invalid/simple", "mine --index-url https://evil.invalid", "-f /tmp",
        "mine @ https://evil.invalid/mine.whl", "mine @ file:///etc/passwd", "https://evil.invalid/mine.whl", "../mine.whl",
        "./other-1.0-py3-none-any.whl", "git+https://evil.invalid/x", "/etc/passwd", "mine; x @ https://evil.invalid/m", "${HOME}",
    ],
)  # fmt: skip
def test_what_could_lead_elsewhere_is_refused(source, line):
    source.write_text(f"mine==1.0\n{line}\n")
    with pytest.raises(ServerError, match="line 2"):
        environments.check(source)


@pytest.mark.parametrize(
    "line",
    ["mine", "Mine[extra,other]>=1.0,<2 ; python_version >= '3.9' # why", "mine==1.0 --hash=sha256:00", "mine (>=1.0)", "", "# mine", "mine==1.0 \\\n    --hash=sha256:00",
     "mine~=1.0 ; sys_platform == 'linux' and (extra == \"a\" or python_version < \"3.12\")"],
)  # fmt: skip
def test_plain_requirements_are_not(source, line):
    source.write_text(f"{line}\n")
    environments.check(source)


def test_uv_reads_only_what_was_looked_through(source, tmp_path):
    source.write_text("mine==1.0 # why\n\n  # what\nother \\\n  >=2\n")
    assert environments.requirements(source, tmp_path) == "mine==1.0\nother    >=2\n"
    source.write_text("# what \\\n--index-url https://evil.invalid/simple\n")
    with pytest.raises(ServerError, match="line 2"):
        environments.check(source)


def test_a_source_distribution_is_not_built(made, source):
    (source.parent / "mine-2.0.tar.gz").write_bytes(b"")
    source.write_text("mine==2.0\n")
    with pytest.raises(ServerError, match="the packages cannot be installed"):
        made.get(source, Python.here())
    assert not [path for path in made._directory.iterdir() if path.name.startswith(".scratch")]


def test_no_secret_of_the_index_is_told(made, source, monkeypatch):
    monkeypatch.delenv("UV_OFFLINE")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://me:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "2")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    source.write_text("mine==3.0\n")
    with pytest.raises(ServerError) as error:
        made.get(source, Python.here())
    assert "hunter2" not in str(error.value)


def test_a_job_runs_with_its_packages(server):
    files = {
        "requirements.txt": f"./{WHEEL}\n".encode(),
        WHEEL: wheel(),
        "job.py": b"import mine, sys; print(mine.ANSWER, sys.prefix)",
    }
    job_id = server.submit(["job.py"], files, command="python", pythonEnvironment="requirements.txt")
    assert server.ended(job_id, 120)["status"] == "SUCCEEDED"
    assert server.output(job_id).text.startswith(f"42 {server.home / 'jobs/environments'}")
    answer = server.post("jobs", server.job(["job.py"], command="python", pythonEnvironment="requirements.txt"))
    assert (answer.status_code, "there is no attachment" in answer.json()["message"]) == (412, True)
    parts = [
        ("request", (None, json.dumps(server.job([], pythonEnvironment="r.txt")), "application/json")),
        ("attachment", ("r.txt", b"-r x")),
    ]
    answer = server.api.post(f"{server.base}/jobs", files=parts, timeout=30)
    assert (answer.status_code, "'-r x' is not allowed" in answer.json()["message"]) == (412, True)
    failing = server.submit(
        ["job.py"],
        {"requirements.txt": b"mine==9", "job.py": b"x"},
        command="python",
        pythonEnvironment="requirements.txt",
    )
    assert server.ended(failing, 120)["status"] == "FAILED"
    assert "[SFBATCH_ENVIRONMENT_FAILED]" in server.output(failing, "initFailureDetails.txt").text


def test_what_is_being_built_ends_with_the_server_and_what_waits_begins_nothing(made, source, monkeypatch):
    monkeypatch.setattr(environments, "_stopping", threading.Event())
    slow = source.parent / "slow"
    slow.write_text("#!/bin/sh\necho x >> ../../began; exec sleep 600\n")
    slow.chmod(0o700)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(slow))
    began, raised = made._directory.parent / "began", []

    def get():
        try:
            made.get(source, Python.here())
        except environments.Unwanted as unwanted:  # no verdict on the job: the next server builds it
            raised.append(unwanted)

    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: began.exists() and began.read_text())
    environments.stop()
    for thread in threads:
        thread.join(60)
    assert len(raised) == 2
    assert began.read_text() == "x\n"


def test_a_killed_job_waits_for_no_build_neither_its_own_nor_anothers(made, source, monkeypatch, tmp_path):
    slow = source.parent / "slow"
    slow.write_text("#!/bin/sh\nsleep 600 & echo $! > began; wait\n")
    slow.chmod(0o700)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(slow))
    other = tmp_path / "other/requirements.txt"
    other.parent.mkdir()
    other.write_text(source.read_text())
    for wheel_file in source.parent.glob("*.whl"):
        (other.parent / wheel_file.name).write_bytes(wheel_file.read_bytes())
    raised = {}

    def get(asked):
        try:
            made.get(asked, Python.here())
        except environments.Unwanted:
            raised[asked] = True

    first, second = (threading.Thread(target=get, args=(asked,)) for asked in (source, other))
    first.start()
    began = eventually(lambda: next(made._directory.glob(".scratch-*/began"), None))
    second.start()
    child = int(eventually(began.read_text))
    environments.cancel(other.parent)
    second.join(60)
    assert raised == {other: True}
    environments.cancel(source.parent)
    first.join(60)
    assert raised == {other: True, source: True}
    eventually(lambda: not alive(child))
    environments.forget(other.parent)
    environments.forget(source.parent)


def test_a_kill_during_a_build_is_carried_out_at_once(fresh, tmp_path):
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nexec sleep 600\n")
    uv.chmod(0o700)
    patch = tmp_path / "patch/sitecustomize.py"
    patch.parent.mkdir()
    patch.write_text(f"import uv\nuv.find_uv_bin = lambda: {str(uv)!r}\n")
    server = fresh("--memory-mb", "4096", env={"PYTHONPATH": str(patch.parent)}).start()
    files = {"requirements.txt": b"x==1\n", "job.py": b"1"}
    ids = [
        server.submit(["job.py"], files, command="python", pythonEnvironment="requirements.txt", user=f"u{n}")
        for n in range(4)  # more than are built at once
    ]
    eventually(lambda: [server.status(job_id) for job_id in ids] == ["INIT"] * 4)
    for job_id in reversed(ids):
        server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60)
    for job_id in ids:
        assert server.ended(job_id)["status"] == "KILLED"
