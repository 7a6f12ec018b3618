"""Requests that are wrong, too large or sent twice: what they are told, and that nothing comes of them."""

import http.client
import json
import threading

import pytest
import requests
from live import status_of_too_large
from sfbatch.jobs.requests import _tellable


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "stdout", "genie", "a\x01b", "x" * 201])
def test_an_attachment_stays_in_the_jobs_directory(live, name):
    boundary = "b0undary"
    request = json.dumps(live.job(["-c", "true"], id="attached"))
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="request"\r\nContent-Type: application/json\r\n\r\n{request}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="attachment"; filename="{name}"\r\n\r\nx\r\n--{boundary}--\r\n'
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = live.api.post(f"{live.base}/jobs", data=body, headers=headers, timeout=60)
    assert answer.status_code == 412, answer.text
    assert live.get("jobs/attached").status_code == 404


def test_an_empty_attachment_that_the_arguments_name_is_a_lost_one(live):
    body = live.job(["main.sh"], id="lost-bytes")
    parts = [("request", (None, json.dumps(body), "application/json")), ("attachment", ("main.sh", b""))]
    answer = live.api.post(f"{live.base}/jobs", files=parts, timeout=60)
    assert (answer.status_code, answer.json()["message"][:22]) == (412, "The attachment main.sh")
    assert live.get("jobs/lost-bytes").json()["status"] == "FAILED"
    assert live.api.post(f"{live.base}/jobs", files=parts, timeout=60).status_code == 409


def test_too_much_is_refused_whatever_its_length_header_says(fresh):
    server = fresh("--max-upload-mb", "1").start()
    told = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
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
        status = server.api.post(
            f"{server.base}/jobs", data=chunks(), headers=headers, timeout=60, stream=True
        ).status_code
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
    assert live.api.post(f"{live.base}/jobs", data=body, headers=headers, timeout=60).status_code == status


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
    long = {"name": "%" * 60_000}
    assert status_of_too_large(live.api, f"{live.base}/{path}", params=long) in {400, 414, None}
    assert live.get(path, sort=["id,asc", "id,desc", "name"]).status_code == 200
