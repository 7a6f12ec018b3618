"""The pages: who sees them, that hostile text stays text, and that no other site can press their buttons."""

import json
import re

import pytest
import requests
from live import eventually
from test_access import cli

HTML = {"Accept": "text/html,application/xhtml+xml"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


@pytest.fixture
def browser(live):
    """A session that has signed in, as a browser would be: no Authorization, a cookie."""
    return signed_in(live, live.token)


def signed_in(live, token):
    made = requests.Session()
    made.headers.update({**HTML, "Connection": "close"})
    answer = made.post(f"{live.url}/login", data={"token": token, "next": "/"}, headers=ours(live), timeout=60)
    assert (answer.status_code, answer.url) == (200, f"{live.url}/")
    return made


def ours(live):
    return {"Origin": live.url}


def page(live, browser, path, ok=200):
    answer = browser.get(f"{live.url}{path}", timeout=60)
    assert answer.status_code == ok, answer.text
    return answer.text


def test_a_stranger_is_asked_for_a_token_and_comes_back_to_where_they_wanted(live):
    answer = requests.get(f"{live.url}/jobs/x?y=1", headers=HTML, timeout=60, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/jobs/x%3Fy%3D1")
    assert "Basic" not in str(answer.headers)
    form = requests.get(f"{live.url}/", headers=HTML, timeout=60)
    assert form.status_code == 200
    assert 'type="password"' in form.text
    assert f"{live.home}/jobs/token" in form.text
    answer = requests.post(
        f"{live.url}/login", {"token": live.token, "next": "/clusters"}, headers=ours(live), timeout=60, allow_redirects=False
    )  # fmt: skip
    assert (answer.status_code, answer.headers["Location"]) == (303, "/clusters")
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/json"])
@pytest.mark.parametrize("accept", [HTML["Accept"], "*/*"])
def test_a_stranger_sends_the_form_and_nothing_else(live, kind, accept):
    headers = {**ours(live), "Content-Type": kind, "Accept": accept}
    assert requests.post(f"{live.url}/login", data=b"token=x", headers=headers, timeout=60).status_code == 415


def test_behind_https_the_cookie_is_for_https_alone_and_links_have_the_prefix(live):
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/genie"}
    answer = requests.post(
        f"{live.url}/login", {"token": live.token}, headers={**ours(live), **forwarded}, timeout=60, allow_redirects=False
    )  # fmt: skip
    assert "secure" in answer.headers["Set-Cookie"].lower()
    assert answer.headers["Location"] == "/genie/"
    page = requests.get(f"{live.url}/login", headers=forwarded, timeout=60).text
    assert 'href="/genie/static/page.css' in page
    assert str(live.home) not in page
    assert f"{live.home}/jobs/token" in requests.get(f"{live.url}/login", timeout=60).text


def test_programs_are_still_told_401_and_not_sent_to_a_form(live):
    for path, headers in (("/api/v3/jobs", HTML), ("/", {}), ("/jobs/x", {"Accept": "*/*"})):
        answer = requests.get(f"{live.url}{path}", headers=headers, timeout=60, allow_redirects=False)
        assert (answer.status_code, answer.json()["code"]) == (401, "SFBATCH_UNAUTHORIZED")


@pytest.mark.parametrize(
    "there", ["//evil.example", "https://evil.example", "/\\evil.example", "//[", "/x\r\nSet-Cookie: a=b", "x"]
)
def test_signing_in_leads_to_no_other_site(live, there):
    answer = requests.post(
        f"{live.url}/login", {"token": live.token, "next": there}, headers=ours(live), timeout=60, allow_redirects=False
    )  # fmt: skip
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_a_wrong_token_signs_nobody_in(live):
    answer = requests.post(f"{live.url}/login", {"token": "wrong"}, headers={**ours(live), **HTML}, timeout=60)
    assert answer.status_code == 403
    assert "no such token" in answer.text
    assert "Set-Cookie" not in answer.headers
    answer = requests.get(f"{live.base}/jobs", cookies={"sfbatch_token": "wrong"}, timeout=60)
    assert answer.status_code == 401


def test_the_cookie_reads_but_another_site_cannot_use_it(live, browser):
    assert browser.get(f"{live.base}/jobs", headers={"Accept": "*/*"}, timeout=60).status_code == 200
    job_id = live.submit(["-c", "sleep 60"])
    url = f"{live.url}/jobs/{job_id}/kill"
    refused = [
        ({}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ]
    for headers, status in refused:
        assert browser.post(url, headers=headers, timeout=60).status_code == status, headers
        assert browser.delete(f"{live.base}/jobs/{job_id}", headers=headers, timeout=60).status_code == status
    live.running(job_id)
    assert browser.post(url, headers=ours(live), timeout=60).status_code == 200
    assert live.ended(job_id)["status"] == "KILLED"


def test_signing_out_forgets_the_cookie(live, browser):
    browser.post(f"{live.url}/logout", headers=ours(live), timeout=60)
    assert browser.get(f"{live.url}/", timeout=60).url.endswith("/login?next=/")


def test_hostile_names_arguments_and_logs_stay_text(live, browser):
    body = {"name": HOSTILE, "description": HOSTILE, "tags": [HOSTILE], "metadata": {"x": HOSTILE}}
    job_id = live.submit(
        ["-c", "cat log; cat log >&2", HOSTILE],
        files={"log": f"</pre></details>{HOSTILE}\x00\udcff".encode("utf-8", "surrogateescape")},
        **body,
    )
    live.ended(job_id)
    for path in (
        "/",
        f"/jobs/{job_id}",
        f"/?name={requests.utils.quote(HOSTILE)}",
        f"/?status={requests.utils.quote(HOSTILE)}",
    ):
        answer = browser.get(f"{live.url}{path}", timeout=60)
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
    text = page(live, browser, f"/jobs/{job_id}")
    assert "&lt;script&gt;alert(1)" in text
    assert "{{ 7*7 }}" in text


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(live, browser):
    job_id = live.submit(["-c", "echo hi"])
    for path in ("/", f"/jobs/{job_id}", "/clusters", "/login", "/jobs/nobody"):
        answer = browser.get(f"{live.url}{path}", timeout=60)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert re.findall(r"""(?:src|href|action)=["'](?!/|data:,|\?|#)""", answer.text) == []
        assert re.findall(r"<style|<[^>]*\sstyle=|<[^>]*\son\w+=|<script>|javascript:", answer.text) == []
    for name in ("page.css", "page.js"):
        text = requests.get(f"{live.url}/static/{name}", timeout=60).text
        assert "http://" not in text
        assert "https://" not in text
        assert "innerHTML" not in text
    assert browser.get(f"{live.url}/static/../routes.py", timeout=60).status_code == 404


def test_the_list_is_filtered_and_paged(live, browser):
    for n in range(3):
        live.submit(["-c", "true"], name=f"paged {n}", tags=["of:page"])
    text = page(live, browser, "/?name=paged&tag=of:page&size=2")
    assert "3 jobs" in text
    assert re.findall(r">paged (\d)<", text) == ["2", "1"]
    assert "page 1 of 2" in text
    older = re.search(r'href="(\?[^"]*page=1[^"]*)">older', text)[1].replace("&amp;", "&")
    assert "name=paged" in older
    assert "tag=of%3Apage" in older
    assert "No job is like that" in page(live, browser, "/?user=nobody")
    assert page(live, browser, "/?status=SLEEPING", ok=412).count("Unacceptable job status") == 1


def test_a_job_has_its_timeline_its_place_its_batches_and_its_log(live, browser):
    told = {
        "job": "told",
        "table": "dev.t",
        "version": 2,
        "operation": "write",
        "partitions": {"day=20161001": "20161002002334"},
    }
    live.submit(["-c", f"echo out; echo 'sfbatch-published {json.dumps(told)}' >&2; exit 3"], id="told")
    live.ended("told")
    text = page(live, browser, "/jobs/told")
    for wanted in (
        "FAILED",
        "exit code 3",
        "submitted",
        "ended",
        "/bin/sh",
        "env:dev",
        "dev.t",
        "day=20161001",
        "20161002002334",
    ):
        assert wanted in text, wanted
    assert re.search(r"<pre[^>]*>out\n</pre>", text)
    assert "Kill" not in text
    assert "Run again" in text
    job_id = live.submit(["-c", "exit 3"], retries=1, retryDelay=0)
    live.ended(job_id)
    text = re.sub(r"(\s*<[^>]*>\s*)+", " ", page(live, browser, f"/jobs/{job_id}"))
    assert "attempt 2, exit code 3" in text
    assert "for the 2. time" in text
    assert "in the queue" not in text


def test_a_long_log_is_shown_from_near_its_end(live, browser):
    job_id = live.submit(["-c", "seq 1 30000"])
    live.ended(job_id)
    text = page(live, browser, f"/jobs/{job_id}")
    assert "\n30000\n</pre>" in text
    assert ">1\n2\n" not in text
    size = int(re.search(r'output/stdout" data-read="(\d+)"', text)[1])
    assert size == len(live.output(job_id).content)


def test_a_reader_is_shown_no_button_and_a_forged_one_does_nothing(live, browser):
    token = cli(live, "add", "rosa", "--role", "reader")
    known = {"Authorization": f"Bearer {token}"}
    eventually(lambda: requests.get(f"{live.base}/me", headers=known, timeout=60).status_code == 200)
    reader = signed_in(live, token)
    job_id = live.submit(["-c", "sleep 60"])
    text = page(live, reader, f"/jobs/{job_id}")
    assert '<button class="danger">' not in text
    assert "Run again" not in text
    for what in ("kill", "rerun"):
        answer = reader.post(f"{live.url}/jobs/{job_id}/{what}", headers=ours(live), timeout=60)
        assert answer.status_code == 403
    assert '<button class="danger">' in page(live, browser, f"/jobs/{job_id}")
    assert reader.post(f"{live.url}/logout", headers=ours(live), timeout=60).status_code == 200
    live.api.delete(f"{live.base}/jobs/{job_id}", timeout=60)


def test_run_again_leads_to_the_new_job(live, browser):
    job_id = live.submit(["-c", "cat data"], files={"data": b"again"})
    live.ended(job_id)
    answer = browser.post(f"{live.url}/jobs/{job_id}/rerun", headers=ours(live), timeout=60)
    new = answer.url.rpartition("/")[2]
    assert new != job_id
    assert live.ended(new)["status"] == "SUCCEEDED"
    assert live.output(new).text == "again"


def test_clusters_show_their_commands_and_who_follows_whom(server):
    browser = signed_in(server, server.token)
    server.add_cluster("blue", ["env:red-black"], {"maxRunningJobs": 4}, ["sh"])
    job_id = server.submit(["-c", "sleep 60"], cluster=("env:red-black",))
    server.running(job_id)
    server.api.patch(
        f"{server.base}/clusters/blue",
        json=[{"op": "replace", "path": "/status", "value": "OUT_OF_SERVICE"}],
        timeout=60,
    )
    text = page(server, browser, "/clusters")
    part = re.search(r'<article id="blue".*?</article>', text, re.DOTALL)[0]
    for wanted in ("OUT_OF_SERVICE", "1 of 4 job", "to their end", "/bin/sh", "env:red-black"):
        assert wanted in part, wanted
    server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60)


def test_where_genies_client_points_there_is_the_jobs_page(live, browser):
    job_id = live.submit(["-c", "true"])
    assert browser.get(f"{live.url}/jobs?id={job_id}&rowId={job_id}", timeout=60).url == f"{live.url}/jobs/{job_id}"
    assert browser.get(f"{live.url}/output/{job_id}/output", timeout=60).status_code == 200
