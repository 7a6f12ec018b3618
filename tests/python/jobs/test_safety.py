"""Who may do what, from which page, under which name, and how much."""

import asyncio
import base64
import contextlib
import http.client
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests
import uvicorn
from live import eventually, free_port
from sfbatch.jobs import connections, tokens
from sfbatch.jobs.database import Database
from sfbatch.jobs.requests import _tellable
from sfbatch.jobs.tokens import READER, Authority, issue
from sqlalchemy.exc import TimeoutError as NoFreeConnection


def cli(server, *arguments):
    command = [sys.executable, "-c", "from sfbatch.cli import main; main()", "tokens", *arguments]
    return subprocess.run(
        command, env=server.env, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def session(token, basic=False):
    made = requests.Session()
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
    return who.delete(f"{live.base}/jobs/{job_id}", timeout=10).status_code


def test_without_a_token_nothing_is_told(live):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest x"},
    ):
        answer = requests.get(f"{live.base}/jobs", headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (401, "SFBATCH_UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert requests.get(f"{live.url}/metrics", timeout=10).status_code == 401
    assert requests.get(f"{live.url}/openapi.json", timeout=10).status_code == 401


def test_basic_with_the_token_as_password_is_as_good(live):
    assert session(live.token, basic=True).get(f"{live.base}/jobs", timeout=10).status_code == 200


def test_the_database_holds_no_token(live):
    content = b"".join(path.read_bytes() for path in (live.home / "jobs").glob("jobs.db*"))
    assert live.token.encode() not in content


def test_a_reader_reads_only(live, people):
    assert people["rita"].get(f"{live.base}/jobs", timeout=10).status_code == 200
    assert people["rita"].post(f"{live.base}/jobs", json=live.job([], user="rita"), timeout=10).status_code == 403
    assert people["rita"].delete(f"{live.base}/jobs/x", timeout=10).status_code == 403


def test_a_submitter_submits_in_their_own_name_and_changes_no_cluster(live, people):
    alice = people["alice"]
    assert alice.post(f"{live.base}/jobs", json=live.job(["-c", "true"]), timeout=10).status_code == 202
    assert alice.post(f"{live.base}/jobs", json=live.job([], user="bob"), timeout=10).status_code == 403
    assert alice.post(f"{live.base}/jobs", json=live.job([], priority=1), timeout=10).status_code == 403
    for method, path in (
        ("POST", "clusters"),
        ("DELETE", "commands"),
        ("PUT", "clusters/local"),
        ("PATCH", "commands/sh"),
        ("POST", "commands/sh/tags"),
    ):
        assert alice.request(method, f"{live.base}/{path}", json={}, timeout=10).status_code == 403, path


def test_everybody_sees_a_job_but_only_its_user_and_an_admin_kill_it(live, people):
    job_id = (
        people["alice"]
        .post(f"{live.base}/jobs", json=live.job(["-c", "sleep 60"]), timeout=10)
        .headers["Location"]
        .rpartition("/")[2]
    )
    assert people["bob"].get(f"{live.base}/jobs/{job_id}", timeout=10).status_code == 200
    assert delete(live, people["bob"], job_id) == 403
    assert delete(live, people["rita"], job_id) == 403
    assert delete(live, people["alice"], job_id) == 202
    assert live.ended(job_id)["status"] == "KILLED"
    other = live.submit(["-c", "sleep 60"])
    assert delete(live, people["anna"], other) == 202
    assert live.ended(other)["status"] == "KILLED"


def test_a_revoked_token_ends_within_seconds(live):
    eve = session(cli(live, "add", "eve"))
    assert eve.get(f"{live.base}/jobs", timeout=10).status_code == 200
    assert cli(live, "revoke", "eve") == "revoked 1 tokens of eve"
    eventually(lambda: eve.get(f"{live.base}/jobs", timeout=10).status_code == 401, for_s=5)
    assert next(t for t in json.loads(cli(live, "list", "--json")) if t["user"] == "eve")["revoked"]


def test_to_revoke_what_is_not_there_is_an_error(live):
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cli(live, "revoke", "nobody")
    assert refused.value.stderr.startswith("[SFBATCH_NOT_FOUND] nobody has no token")


def test_strangers_do_not_keep_the_database_busy_nor_those_it_knows_waiting(tmp_path):
    class Slow(Database):
        reads, broken = 0, False

        @contextmanager
        def read(self):
            self.reads += 1
            time.sleep(0.3)
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
    with ThreadPoolExecutor(30) as pool:
        strangers = [pool.submit(authority.identify, f"Bearer {number}") for number in range(30)]
        began = time.monotonic()
        assert authority.recall(known).user == "eve"
        assert authority.identify(known).user == "eve"
        assert time.monotonic() - began < 0.2
        assert not any(stranger.result() for stranger in strangers)
    assert database.reads <= 3
    database.broken = True
    time.sleep(tokens.FRESH_S)
    assert authority.recall(known) is None
    assert authority.identify(known).user == "eve"
    database.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_is_not_ours_is_refused(live, host):
    assert live.api.get(f"{live.base}/jobs", headers={"Host": host}, timeout=10).status_code == 403


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:80", socket.gethostname()])
def test_our_own_names_are_not(live, host):
    assert live.api.get(f"{live.base}/jobs", headers={"Host": host}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://", "http://["]
)
def test_a_page_of_another_origin_is_refused(live, origin):
    for method in ("GET", "POST", "OPTIONS"):
        assert live.api.request(method, f"{live.base}/jobs", headers={"Origin": origin}, timeout=10).status_code == 403


def test_our_own_page_is_not_and_another_sites_form_is(live):
    assert live.api.get(f"{live.base}/jobs", headers={"Origin": live.url}, timeout=10).status_code == 200
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert live.api.post(f"{live.base}/jobs", json=live.job([]), headers=headers, timeout=10).status_code == 403


def test_a_further_name_can_be_allowed(fresh):
    server = fresh("--allowed-host", "jobs.example.com").start()
    headers = {"Host": "jobs.example.com", "Origin": "https://jobs.example.com"}
    assert server.api.get(f"{server.base}/jobs", headers=headers, timeout=10).status_code == 200


def test_links_lead_through_the_proxy(live):
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "jobs.example.com",
        "X-Forwarded-Port": "8443",
        "X-Forwarded-Prefix": "/genie",
    }
    self_link = live.api.get(f"{live.base}/clusters/local", headers=headers, timeout=10).json()["_links"]["self"][
        "href"
    ]
    assert self_link == "https://jobs.example.com:8443/genie/api/v3/clusters/local"
    headers = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": 'evil/"><script>'}
    self_link = live.api.get(f"{live.base}/clusters/local", headers=headers, timeout=10).json()["_links"]["self"][
        "href"
    ]
    assert self_link == f"{live.base}/clusters/local"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "stdout", "genie", "a\x01b", "x" * 201])
def test_an_attachment_stays_in_the_jobs_directory(live, name):
    boundary = "b0undary"
    request = json.dumps(live.job(["-c", "true"], id="attached"))
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="request"\r\nContent-Type: application/json\r\n\r\n{request}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="attachment"; filename="{name}"\r\n\r\nx\r\n--{boundary}--\r\n'
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = live.api.post(f"{live.base}/jobs", data=body, headers=headers, timeout=10)
    assert answer.status_code == 412, answer.text
    assert live.get("jobs/attached").status_code == 404


def test_an_empty_attachment_that_the_arguments_name_is_a_lost_one(live):
    body = live.job(["main.sh"], id="lost-bytes")
    parts = [("request", (None, json.dumps(body), "application/json")), ("attachment", ("main.sh", b""))]
    answer = live.api.post(f"{live.base}/jobs", files=parts, timeout=10)
    assert (answer.status_code, answer.json()["message"][:22]) == (412, "The attachment main.sh")
    assert live.get("jobs/lost-bytes").json()["status"] == "FAILED"
    assert live.api.post(f"{live.base}/jobs", files=parts, timeout=10).status_code == 409


def test_too_much_is_refused_whatever_its_length_header_says(fresh):
    server = fresh("--max-upload-mb", "1").start()
    told = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    told.putrequest("POST", "/api/v3/jobs")
    for name, value in (("Content-Type", "multipart/form-data; boundary=x"), ("Content-Length", str(2 * 1024 * 1024))):
        told.putheader(name, value)
    told.putheader("Authorization", f"Bearer {server.token}")
    told.endheaders()  # not a byte of the body has been sent
    assert told.getresponse().status == 413

    def chunks():
        yield b'{"name": "a", "user": "a", "version": "1", "clusterCriterias": [{"tags": ["env:dev"]}], "commandCriteria": ["type:python"]'
        for _ in range(9):
            yield b" " * 1024 * 1024
        yield b"}"

    try:
        headers = {"Content-Type": "application/json"}
        status = server.api.post(f"{server.base}/jobs", data=chunks(), headers=headers, timeout=10).status_code
    except requests.ConnectionError:  # hung up on before all was sent
        status = 413
    assert status == 413
    assert server.get("jobs").json()["page"]["totalElements"] == 0


def test_the_same_id_at_once_is_taken_once(live):
    answers = []
    body = live.job(["-c", "echo x >> ran; sleep 0.2"], id="twins")
    threads = [
        threading.Thread(
            target=lambda: answers.append(
                requests.post(f"{live.base}/jobs", json=body, headers=live.api.headers, timeout=30).status_code
            )
        )
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202] + [409] * 11
    live.ended("twins")
    assert (live.directory("twins") / "ran").read_text() == "x\n"
    assert len(list((live.home / "jobs/files").glob("*/twins-*"))) == 1


def test_huge_headers_and_slow_clients_hurt_nobody(live):
    try:
        status = live.api.get(f"{live.base}/jobs", headers={"X-Large": "x" * 200_000}, timeout=10).status_code
    except requests.ConnectionError:  # hung up on before all was sent
        status = 431
    assert status in {400, 431}
    slow = []
    for _ in range(200):
        raw = socket.create_connection(("127.0.0.1", live.port), timeout=10)
        raw.sendall(b"POST /api/v3/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
        slow.append(raw)
    began = time.monotonic()
    assert live.get("jobs").status_code == 200
    assert time.monotonic() - began < 2
    for raw in slow:
        raw.close()


def test_who_sends_nothing_keeps_no_descriptor_that_others_need(server):
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (260, 260))
    silent = []
    for _ in range(300):
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        raw.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"[: 20 + len(silent) % 60])
        silent.append(raw)
        time.sleep(0.003)
    began = time.monotonic()
    assert server.ended(server.submit(["-c", "true"]))["status"] == "SUCCEEDED"
    assert time.monotonic() - began < 10
    for raw in silent:
        raw.close()


@contextmanager
def served(app):
    """The server's way with connections, before another application. Gives its port."""
    port = free_port()
    web = uvicorn.Server(
        uvicorn.Config(app, port=port, http=connections.Impatient, lifespan="off", log_level="warning")
    )
    thread = threading.Thread(target=web.run)
    thread.start()
    eventually(lambda: web.started)
    yield port
    web.should_exit = True
    thread.join(10)


def test_a_request_has_a_time_to_come_in(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_WITHIN_S", 0.5)

    async def hello(_, receive, send):
        assert (await receive())["type"] == "http.request"
        await asyncio.sleep(1)  # an answer has all the time it needs
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    with served(hello) as port:
        for sent in (b"", b"GET / HTTP/1.1\r\nHo"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
                raw.sendall(sent)
                with contextlib.suppress(ConnectionResetError):
                    assert raw.recv(10) == b""
        session = requests.Session()
        assert [session.get(f"http://127.0.0.1:{port}/", timeout=10).text for _ in range(2)] == ["hi", "hi"]


def test_an_answer_on_its_way_gives_way_to_nobody(monkeypatch):
    monkeypatch.setattr(connections, "most", lambda: 1)
    size, sent = 30_000_000, threading.Event()

    async def much(_, receive, send):
        length = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"x" * size})
        sent.set()

    with served(much) as port, socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sent.wait(10)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as further:
            with contextlib.suppress(ConnectionResetError):
                assert further.recv(10) == b""  # it is the only one that waits for its client
            received = 0
            while received < size:
                piece = slow.recv(1_000_000)
                assert piece, f"cut after {received} bytes"
                received += len(piece)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[]", 400), ("null", 400), ('"x"', 400), ("[" * 100_000, 400), ("{", 400), ('{"name": 1e999}', 412),
        ('{"metadata": NaN, "name": "a", "user": "a", "version": "1", "clusterCriterias": [{"tags": ["a"]}], "commandCriteria": ["a"]}', 412),
        ('{"name": "a\\u0000", "user": "a", "version": "1", "clusterCriterias": [{"tags": ["a"]}], "commandCriteria": ["a"]}', 412),
        ('{"id": "a/b", "name": "a", "user": "a", "version": "1", "clusterCriterias": [{"tags": ["a"]}], "commandCriteria": ["a"]}', 412),
        ('{"timeout": 99999999999999999999, "name": "a", "user": "a", "version": "1", "clusterCriterias": [{"tags": ["a"]}], "commandCriteria": ["a"]}', 412),
    ],
)  # fmt: skip
def test_nonsense_is_the_clients_fault(live, body, status):
    headers = {"Content-Type": "application/json"}
    assert live.api.post(f"{live.base}/jobs", data=body, headers=headers, timeout=10).status_code == status


@pytest.mark.parametrize(
    "more",
    [
        {"dependencies": ["file:///tmp/a%00b"]},
        {"configs": ["http://[x"]},
        {"tags": [f"t{n}" for n in range(101)]},
        {"applications": [f"a{n}" for n in range(1001)]},
        {"clusterCriterias": [{"tags": [f"t{n}" for n in range(40_000)]}]},
    ],
)
def test_what_no_job_could_be_started_with_is_refused_at_once(live, more):
    assert live.post("jobs", live.job(["-c", "true"]) | more).status_code == 412


def test_what_no_database_or_process_can_be_told_is_refused_in_a_clusters_limits(live):
    for metadata in ({"sfbatch": {"writeDatabases": ["dev\0"]}}, {"a\0": 1}, [["\0"]]):
        body = {"name": "c", "user": "u", "version": "1", "status": "UP", "metadata": metadata}
        answer = live.post("clusters", body)
        assert (answer.status_code, "NUL" in answer.json()["message"]) == (412, True)


def test_a_nul_is_found_however_deep_it_lies():
    deep = "\0"
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(ValueError, match="NUL"):
        _tellable(deep)


def test_a_dependency_takes_no_attachments_place(live):
    body = live.job(["-c", "cat a.txt"], dependencies=["file:///tmp/other/a.txt"])
    parts = [("request", (None, json.dumps(body), "application/json")), ("attachment", ("a.txt", b"mine"))]
    answer = live.api.post(f"{live.base}/jobs", files=parts, timeout=30)
    assert (answer.status_code, answer.json()["code"]) == (412, "SFBATCH_INVALID")
    assert "would take the place of the attachment a.txt" in answer.json()["message"]


def test_a_dependency_without_an_end_is_not_copied(live):
    job_id = live.submit(["-c", "true"], dependencies=["file:///dev/zero"])
    assert live.ended(job_id)["status"] == "FAILED"
    assert "/dev/zero: not a file that a job may be given" in live.output(job_id, "initFailureDetails.txt").text


def test_a_request_that_comes_as_a_file_is_no_larger_than_any_other(live):
    parts = [("request", ("request.json", b" " * (8 * 1024 * 1024 + 1), "application/json"))]
    assert live.api.post(f"{live.base}/jobs", files=parts, timeout=30).status_code == 413


@pytest.mark.parametrize("path", ["jobs", "clusters"])
def test_a_search_that_no_database_could_make_is_refused(live, path):
    assert live.get(path, name=[f"n{n}%" for n in range(99)]).status_code == 200
    assert live.get(path, name=["n%"] * 2000).status_code == 400
    assert live.get(path, name="%" * 60_000).status_code in {400, 414}
    assert live.get(path, sort=["id,asc", "id,desc", "name"]).status_code == 200


def test_the_audit_log_tells_who_changed_what(live, people):
    alice = people["alice"]
    alice.post(f"{live.base}/jobs", json=live.job(["-c", "true"], id="audited"), timeout=10)
    alice.post(f"{live.base}/clusters", json={}, timeout=10)
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
