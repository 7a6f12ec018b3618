"""Who may do what, from which page, under which name, and what of it is on record."""

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests
from live import eventually
from sfbatch.jobs import tokens
from sfbatch.jobs.database import Database
from sfbatch.jobs.tokens import READER, Authority, issue
from sqlalchemy.exc import TimeoutError as NoFreeConnection


def cli(server, *arguments):
    command = [sys.executable, "-c", "from sfbatch.cli import main; main()", "tokens", *arguments]
    return subprocess.run(
        command, env=server.env, capture_output=True, text=True, timeout=120, check=True
    ).stdout.strip()


def session(token, basic=False):
    made = requests.Session()
    made.headers["Connection"] = "close"
    if basic:
        made.auth = ("whoever", token)
    else:
        made.headers["Authorization"] = f"Bearer {token}"
    return made


@pytest.fixture(scope="module")
def people(live):
    return {
        name: session(cli(live, "add", name, "--role", role))
        for name, role in (("alice", "submitter"), ("bob", "submitter"), ("rita", "reader"), ("anna", "admin"))
    }


def delete(live, who, job_id):
    return who.delete(f"{live.base}/jobs/{job_id}", timeout=60).status_code


def test_without_a_token_nothing_is_told(live):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest x"},
    ):
        answer = requests.get(f"{live.base}/jobs", headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (401, "SFBATCH_UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert requests.get(f"{live.url}/metrics", timeout=60).status_code == 401
    assert requests.get(f"{live.url}/openapi.json", timeout=60).status_code == 401


def test_basic_with_the_token_as_password_is_as_good(live):
    assert session(live.token, basic=True).get(f"{live.base}/jobs", timeout=60).status_code == 200


def test_the_database_holds_no_token(live):
    content = b"".join(path.read_bytes() for path in (live.home / "jobs").glob("jobs.db*"))
    assert live.token.encode() not in content


def test_a_reader_reads_only(live, people):
    assert people["rita"].get(f"{live.base}/jobs", timeout=60).status_code == 200
    assert people["rita"].post(f"{live.base}/jobs", json=live.job([], user="rita"), timeout=60).status_code == 403
    assert people["rita"].delete(f"{live.base}/jobs/x", timeout=60).status_code == 403


def test_a_submitter_submits_in_their_own_name_and_changes_no_cluster(live, people):
    alice = people["alice"]
    assert alice.post(f"{live.base}/jobs", json=live.job(["-c", "true"]), timeout=60).status_code == 202
    assert alice.post(f"{live.base}/jobs", json=live.job([], user="bob"), timeout=60).status_code == 403
    assert alice.post(f"{live.base}/jobs", json=live.job([], priority=1), timeout=60).status_code == 403
    for method, path in (
        ("POST", "clusters"),
        ("DELETE", "commands"),
        ("PUT", "clusters/local"),
        ("PATCH", "commands/sh"),
        ("POST", "commands/sh/tags"),
    ):
        assert alice.request(method, f"{live.base}/{path}", json={}, timeout=60).status_code == 403, path


def test_everybody_sees_a_job_but_only_its_user_and_an_admin_kill_it(live, people):
    job_id = (
        people["alice"]
        .post(f"{live.base}/jobs", json=live.job(["-c", "sleep 60"]), timeout=60)
        .headers["Location"]
        .rpartition("/")[2]
    )
    assert people["bob"].get(f"{live.base}/jobs/{job_id}", timeout=60).status_code == 200
    assert delete(live, people["bob"], job_id) == 403
    assert delete(live, people["rita"], job_id) == 403
    assert delete(live, people["alice"], job_id) == 202
    assert live.ended(job_id)["status"] == "KILLED"
    other = live.submit(["-c", "sleep 60"])
    assert delete(live, people["anna"], other) == 202
    assert live.ended(other)["status"] == "KILLED"


def test_a_revoked_token_ends_within_seconds(live):
    eve = session(cli(live, "add", "eve"))
    assert eve.get(f"{live.base}/jobs", timeout=60).status_code == 200
    assert cli(live, "revoke", "eve") == "revoked 1 tokens of eve"
    eventually(lambda: eve.get(f"{live.base}/jobs", timeout=60).status_code == 401, for_s=15)
    assert next(t for t in json.loads(cli(live, "list", "--json")) if t["user"] == "eve")["revoked"]


def test_to_revoke_what_is_not_there_is_an_error(live):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cli(live, "revoke", "nobody")
    assert refused.value.stderr.startswith("[SFBATCH_NOT_FOUND] nobody has no token")


def test_strangers_do_not_keep_the_database_busy_nor_those_it_knows_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "FRESH_S", 60)
    entered, hold = threading.Event(), threading.Event()
    hold.set()

    class Slow(Database):
        reads, broken = 0, False

        @contextmanager
        def read(self):
            self.reads += 1
            entered.set()
            hold.wait(60)
            if self.broken:
                raise NoFreeConnection
            with super().read() as connection:
                yield connection

    database = Slow(f"sqlite:///{tmp_path}/jobs.db")
    database.migrate()
    known = f"Bearer {issue(database, 'eve', READER)}"
    authority = Authority(database)
    assert authority.identify(known).user == "eve"
    database.reads = 0
    time.sleep(tokens.UNKNOWN_S)  # until the table is read again for who is not known
    entered.clear()
    hold.clear()
    with ThreadPoolExecutor(30) as pool:
        strangers = [pool.submit(authority.identify, f"Bearer {number}") for number in range(30)]
        assert entered.wait(60)
        assert authority.recall(known).user == "eve"
        assert authority.identify(known).user == "eve"
        monkeypatch.setattr(tokens, "FRESH_S", 0)
        assert authority.identify(known).user == "eve"  # nor when it is to be looked up again
        eventually(lambda: sum(stranger.done() for stranger in strangers) == 29)
        assert database.reads == 1
        hold.set()
        assert not any(stranger.result() for stranger in strangers)
    database.broken = True
    assert authority.recall(known) is None
    assert authority.identify(known).user == "eve"
    database.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_is_not_ours_is_refused(live, host):
    assert live.api.get(f"{live.base}/jobs", headers={"Host": host}, timeout=60).status_code == 403


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:80", socket.gethostname()])
def test_our_own_names_are_not(live, host):
    assert live.api.get(f"{live.base}/jobs", headers={"Host": host}, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://", "http://["]
)
def test_a_page_of_another_origin_is_refused(live, origin):
    for method in ("GET", "POST", "OPTIONS"):
        assert live.api.request(method, f"{live.base}/jobs", headers={"Origin": origin}, timeout=60).status_code == 403


def test_our_own_page_is_not_and_another_sites_form_is(live):
    assert live.api.get(f"{live.base}/jobs", headers={"Origin": live.url}, timeout=60).status_code == 200
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert live.api.post(f"{live.base}/jobs", json=live.job([]), headers=headers, timeout=60).status_code == 403


def test_a_further_name_can_be_allowed(fresh):
    server = fresh("--allowed-host", "jobs.example.com").start()
    headers = {"Host": "jobs.example.com", "Origin": "https://jobs.example.com"}
    assert server.api.get(f"{server.base}/jobs", headers=headers, timeout=60).status_code == 200


def test_links_lead_through_the_proxy(live):
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "jobs.example.com",
        "X-Forwarded-Port": "8443",
        "X-Forwarded-Prefix": "/genie",
    }
    self_link = live.api.get(f"{live.base}/clusters/local", headers=headers, timeout=60).json()["_links"]["self"][
        "href"
    ]
    assert self_link == "https://jobs.example.com:8443/genie/api/v3/clusters/local"
    headers = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": 'evil/"><script>'}
    self_link = live.api.get(f"{live.base}/clusters/local", headers=headers, timeout=60).json()["_links"]["self"][
        "href"
    ]
    assert self_link == f"{live.base}/clusters/local"


def test_the_audit_log_tells_who_changed_what(live, people):
    alice = people["alice"]
    alice.post(f"{live.base}/jobs", json=live.job(["-c", "true"], id="audited"), timeout=60)
    alice.post(f"{live.base}/clusters", json={}, timeout=60)
    path = live.home / "jobs/audit.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.stat().st_mode & 0o777 == 0o600
    assert any(
        line["user"] == "alice" and line.get("location", "").endswith("/jobs/audited") and line["status"] == 202
        for line in lines
    )
    assert any(line["path"] == "/api/v3/clusters" and line["status"] == 403 for line in lines)
    assert not any(line["method"] == "GET" for line in lines)
    secret = base64.b64encode(f"x:{live.token}".encode()).decode()
    assert live.token not in path.read_text()
    assert secret not in path.read_text()
