"""The session that was captured from Netflix's own server (3.3.20), played again: same statuses, same shapes, but for a listed few.

Each capture is a curl line, the answer's head, and its body. Ids, times and numbers are not compared; keys and types are.
"""

import json
import re
import shlex
from pathlib import Path

import pytest
from live import Live, eventually, until

CAPTURES = sorted(Path(__file__).with_name("captures").glob("*.txt"))
GATE = until("$SFBATCH_HOME/go")  # j1, which was to sleep for 3 s, is seen running several times before
FILES = {
    "main.sh": 'echo "out $* $(cat data.txt 2>/dev/null)"\necho "err $*" >&2\n'
    f"if [ $1 = 3 ]; then {GATE}; else sleep $1; fi\nexit $2\n",
    "data.txt": "DATA\n",
}
# Where we differ on purpose (contract.md): a missing file is 404 and not 406, an impossible range 416 and not 406, and
# what the client did wrong is never a 500.
STATUSES = {
    "50_job_stdout_range_416": 416,
    "51_job_output_missing": 404,
    "79_job_output_missingjob": 404,
    "86_jobs_list_badsort": 400,
    "88_cl_delete_inuse": 204,  # only unfinished jobs hold a cluster
}
OURS = {
    "code",
    "clusterId",
    "queuePosition",
    "waitsFor",
    "attempt",
    "exception",
    "components",
    "errors",
    "sfbatch",
}  # keys that only we send
THEIRS = {"git"}  # and only they
# Netflix archives jobs and we do not; the rest depends on how far the job is.
MAY_BE_NULL = {"archiveLocation", "started", "finished", "exitCode", "processId", "clusterName", "commandName"}
ENDED = {"36_job_status": "j1", "67_job_baddep_get": "bd", "74_job_killed_get": "long"}
RUNNING = {"32_job_status_running": "j1", "70_job_long_running": "long"}


def parse(path):
    command, _, answer = path.read_text().partition("\n\n")
    head, _, body = answer.partition("\n\n")
    status, *headers = head.splitlines()
    return shlex.split(command)[2:], int(status.split()[1]), dict(h.split(": ", 1) for h in headers), body


def send(server, arguments):
    """What curl would have sent."""
    method, url, headers, data, parts = None, None, {}, None, []
    words = iter(arguments)
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            headers[name] = value.strip()
        elif word == "-d":
            data = next(words)
        elif word == "-F":
            name, _, value = next(words).partition("=")
            if value.startswith("@"):
                parts.append((name, (value[3:], FILES[value[3:]])))
            else:
                parts.append((name, (None, value.removesuffix(";type=application/json"), "application/json")))
        else:
            url = re.sub(r"^http://127\.0\.0\.1:18080", server.url, word)
    headers.setdefault("Accept", "*/*")
    body = {"files": parts} if parts else {"data": data}
    verb = method or ("POST" if data or parts else "GET")
    return server.api.request(verb, url, headers=headers, timeout=30, allow_redirects=False, **body)


def differences(expected, got, where=""):
    """How the shapes differ, one line each."""
    if isinstance(expected, dict) and isinstance(got, dict):
        if where.endswith("/metadata"):  # the user's own
            return []
        lines = [f"{where}: no {key}" for key in expected if key not in got and key not in THEIRS]
        lines += [f"{where}: new {key}" for key in got if key not in expected and key not in OURS]
        return lines + [
            line for key in expected if key in got for line in differences(expected[key], got[key], f"{where}/{key}")
        ]
    if isinstance(expected, list) and isinstance(got, list):
        if where == "/errors":  # which of Spring's many keys clients read is unknown: ours has four of them
            return []
        return differences(expected[0], got[0], f"{where}[0]") if expected and got else []
    key = where.rpartition("/")[2]
    if type(expected) is type(got) or (key in MAY_BE_NULL and None in (expected, got)):
        return []
    return [f"{where}: {type(expected).__name__} became {type(got).__name__}"]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """Every capture's name, with what Netflix's server answered and what ours does."""
    server = Live(tmp_path_factory.mktemp("replayed")).start()
    answers = {}
    for path in CAPTURES:
        name = path.stem
        arguments, status, headers, body = parse(path)
        if name == "36_job_status":
            (server.home / "go").touch()
        if name == "80_jobs_list":
            server.ended(answers["58_job_submit_json_ok"][3].headers["Location"].rpartition("/")[2])
        if name in ENDED:
            server.ended(f"{ENDED[name]}-21527")
        if name in RUNNING:
            server.running(f"{RUNNING[name]}-21527")
        if name == "48_job_stdout":
            eventually(lambda: server.output("j1-21527").status_code == 200)
        answers[name] = (status, headers, body, send(server, arguments))
    yield answers, server
    server.stop()


@pytest.mark.parametrize("name", [path.stem for path in CAPTURES])
def test_an_answer_has_the_captured_status_and_shape(replayed, name):
    answers, _ = replayed
    status, headers, body, got = answers[name]
    wanted = STATUSES.get(name, status)
    assert got.status_code == wanted, got.text
    if wanted != status:
        return
    assert ("Location" in headers) == ("Location" in got.headers)
    if status < 400 and "Content-Type" in headers and "actuator" not in headers["Content-Type"]:
        assert got.headers["Content-Type"] == headers["Content-Type"]
    if "json" in headers.get("Content-Type", ""):
        assert differences(json.loads(body), got.json()) == []
    elif not headers.get("Content-Type", "").startswith("text"):
        assert got.content == b""


def test_the_answers_say_the_same_where_they_can(replayed):
    answers, server = replayed

    def got(number):
        return next(answer[3] for name, answer in answers.items() if name.startswith(f"{number}_"))

    why = got("60").json()["statusMsg"]
    assert got("12").json()["message"] == "A command with id sparksubmit-21527 already exists"
    assert got("19").json()["message"] == "No cluster with id none exists."
    assert got("22").json()["message"] == "All commands need to exist to add to a cluster"
    assert got("37").json()["statusMsg"] == "Job finished successfully."
    assert got("48").text == "out 3 0 x DATA\n"
    assert (got("49").text, got("49").headers["Content-Range"]) == ("out ", "bytes 0-3/15")
    assert got("50").headers["Content-Range"] == "bytes */15"
    assert got("59").json()["message"] == f"{why} It is kept as job nc-21527."
    assert got("60").json()["status"] == "FAILED"
    assert got("67").json()["statusMsg"].startswith("Job initialization failed, further details")
    assert (got("74").json()["status"], got("74").json()["statusMsg"]) == ("KILLED", "Job was killed by user.")
    assert got("75").json()["exitCode"] == 999
    assert got("80").json()["page"] == {"size": 2, "totalElements": 3, "totalPages": 2, "number": 0}
    assert set(got("80").json()["_links"]) == {"self", "first", "next", "last"}
    assert set(got("81").json()["_links"]) == {"self", "first", "prev", "last"}
    self_link = "/api/v3/jobs?tag=t:21527{&id,name,user,status,clusterName,clusterId,commandName,commandId,"
    assert got("80").json()["_links"]["self"]["href"].startswith(server.url + self_link)
    assert (
        got("83")
        .json()["_links"]["self"]["href"]
        .startswith(f"{server.url}/api/v3/jobs?name=job.%25&user=alice{{&id,status,")
    )
    assert got("92").headers["Allow"]
