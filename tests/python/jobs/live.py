"""A real server in a process of its own, and what tests say to it; killed and started again as a test likes."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests
from sfbatch.jobs import jobs
from sfbatch.jobs.database import Database
from sfbatch.jobs.settings import Settings

FINAL = {"SUCCEEDED", "FAILED", "KILLED", "INVALID"}


# Below those the system gives out, and other ones in each of xdist's workers and in another run of the tests.
PORTS = itertools.count(12000 + 4000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) + os.getpid() % 30 * 100)


def free_port():
    """A port that nobody is given a second time."""
    while True:
        port = next(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def status_of_too_large(api, url, **request):
    """The status of the refusal; None when the server hung up before all was sent."""
    try:
        # No more is read than the status: what was not taken of the request may cut the rest off.
        return api.get(url, timeout=60, stream=True, **request).status_code
    except requests.ConnectionError:
        return None


def until(path):
    """A job's script that goes on once the file is there, or after minutes, when its test has failed."""
    return f"for i in $(seq 3000); do [ -e {path} ] && break; sleep 0.1; done"


def eventually(check, for_s=40.0, every_s=0.05):
    """The first true value of check(); fails when there is none in time."""
    give_up = time.monotonic() + for_s
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < give_up, f"not within {for_s} s: {check}"
        time.sleep(every_s)


class Live:
    """`sfbatch server` with a home of its own. `api` is a session with the first token."""

    def __init__(self, home, *arguments, env=None, url_host="127.0.0.1"):
        self.home, self.arguments, self.port = Path(home), arguments, free_port()
        self.env = {**os.environ, **(env or {}), "SFBATCH_HOME": str(home)}
        self.url = f"http://{url_host}:{self.port}"
        self.base = f"{self.url}/api/v3"
        self.process = None
        self.api = requests.Session()
        self.api.headers["Connection"] = "close"  # else the server may end an idle one just when it is used again

    def start(self, wait=True):
        command = [sys.executable, "-c", "from sfbatch.cli import main; main()", "server", "--port", str(self.port)]
        self.log = (self.home / "server.log").open("ab")
        self.process = subprocess.Popen([*command, *self.arguments], env=self.env, stdout=self.log, stderr=self.log)
        if wait:
            self.wait_up()
        return self

    def wait_up(self, for_s=240.0):
        def up():
            assert self.process.poll() is None, self.log_text()
            try:
                return requests.get(f"{self.url}/actuator/health", timeout=30).status_code == 200
            except requests.RequestException:  # not there yet, or the machine is busy
                return False

        eventually(up, for_s, every_s=0.02)
        if "--no-auth" not in self.arguments:
            self.api.headers["Authorization"] = f"Bearer {self.token}"

    @property
    def token(self):
        return (self.home / "jobs/token").read_text().strip()

    def log_text(self):
        return (self.home / "server.log").read_text()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise

    def kill9(self):
        self.process.kill()
        self.process.wait()

    # -- what tests say to it

    def post(self, path, body, **kwargs):
        return self.api.post(f"{self.base}/{path}", json=body, timeout=30, **kwargs)

    def get(self, path, **params):
        return self.api.get(f"{self.base}/{path}", params=params, timeout=30)

    def add_command(self, name, executable, cluster=None, **more):
        body = {"id": name, "name": name, "user": "ops", "version": "1", "status": "ACTIVE", "executable": executable}
        answer = self.post("commands", {"checkDelay": 100, "memory": 16, "tags": [f"type:{name}"], **body, **more})
        assert answer.status_code == 201, answer.text
        if cluster:
            assert self.post(f"clusters/{cluster}/commands", [name]).status_code == 204
        return name

    def add_cluster(self, name, tags, limits=None, commands=(), status="UP"):
        metadata = {"sfbatch": limits} if limits else None
        body = {"id": name, "name": name, "user": "ops", "version": "1", "status": status, "tags": tags}
        assert self.post("clusters", {**body, "metadata": metadata}).status_code == 201
        if commands:
            assert self.post(f"clusters/{name}/commands", list(commands)).status_code == 204
        return name

    def job(self, args, command="sh", cluster=("env:dev",), **more):
        return {
            "name": "a job",
            "user": "alice",
            "version": "1",
            "commandArguments": args,
            "clusterCriterias": [{"tags": list(cluster)}],
            "commandCriteria": [f"type:{command}"],
            **more,
        }

    def submit(self, args, files=None, **more):
        """Submit, and return the id."""
        body = self.job(args, **more)
        if files is None:
            answer = self.post("jobs", body)
        else:
            parts = [("request", (None, json.dumps(body), "application/json"))]
            parts += [("attachment", (name, content)) for name, content in files.items()]
            answer = self.api.post(f"{self.base}/jobs", files=parts, timeout=30)
        assert answer.status_code == 202, answer.text
        assert answer.content == b""
        return answer.headers["Location"].rpartition("/")[2]

    def status(self, job_id):
        return self.get(f"jobs/{job_id}/status").json()["status"]

    def ended(self, job_id, for_s=60.0):
        """The job, once it has ended."""
        eventually(lambda: self.status(job_id) in FINAL, for_s)
        return self.get(f"jobs/{job_id}").json()

    def running(self, job_id, for_s=40.0):
        """Wait until it runs: one that ends by itself may end before it was seen running."""

        def runs():
            status = self.status(job_id)
            assert status not in FINAL, self.get(f"jobs/{job_id}").json()
            return status == "RUNNING"

        eventually(runs, for_s)

    def output(self, job_id, path="stdout", **kwargs):
        return self.api.get(f"{self.base}/jobs/{job_id}/output/{path}", timeout=30, **kwargs)

    def directory(self, job_id):
        """Where the job runs. A submission that a kill of the server cut short may have left another of this name."""
        found = list((self.home / "jobs/files").glob(f"*/{job_id}-*"))
        if len(found) > 1:
            database = Database(
                Settings(home=self.home, database_url=self.env.get("SFBATCH_JOBS_DATABASE_URL", "")).url
            )
            with database.read() as connection:
                found = [self.home / "jobs" / jobs.get(connection, job_id).directory]
            database.close()
        return found[0]


def cpu_s(process_id):
    """The processor's time that a process has taken."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alive(process_id):
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def end(process_id):
    if alive(process_id):
        os.kill(process_id, signal.SIGKILL)
