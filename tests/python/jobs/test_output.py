"""A job's files can be read while it writes them, and no path leads out of its directory."""

import os
import socket

import pytest
from live import eventually
from sfbatch.jobs import output
from sfbatch.jobs.problem import Problem


@pytest.fixture(scope="module")
def done(live):
    script = "printf 0123456789; mkdir sub; echo deep > 'sub/a b.txt'; ln -s /etc/passwd out; ln -s stdout in; mkfifo pipe; ln -s / root"
    job_id = live.submit(["-c", script], files={"data.txt": b"DATA\n", "empty.txt": b""})
    live.ended(job_id)
    return job_id


def test_a_file_grows_while_it_is_read(server):
    job_id = server.submit(["-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.3; done"])
    eventually(lambda: server.output(job_id).status_code == 200)
    seen = b""

    def tail():
        nonlocal seen
        answer = server.output(job_id, headers={"Range": f"bytes={len(seen)}-"})
        if answer.status_code == 206:
            assert answer.headers["Content-Range"].startswith(f"bytes {len(seen)}-")
            seen += answer.content
        else:
            assert answer.status_code == 416
        return seen.endswith(b"8\n")

    eventually(tail, every_s=0.1)
    assert seen == b"1\n2\n3\n4\n5\n6\n7\n8\n"


@pytest.mark.parametrize(
    ("asked", "status", "content", "part"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-100", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=4-100", 206, b"456789", "bytes 4-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        (f"bytes={'9' * 5000}-", 200, b"0123456789", None),
    ],
)
def test_ranges(live, done, asked, status, content, part):
    answer = live.output(done, headers={"Range": asked})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, part)
    if content is not None:
        assert answer.content == content
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Accept-Ranges"] == "bytes"


def test_an_empty_file_is_empty(live, done):
    assert (live.output(done, "empty.txt").status_code, live.output(done, "empty.txt").content) == (200, b"")
    assert live.output(done, "empty.txt", headers={"Range": "bytes=0-"}).status_code == 416


def test_what_a_job_wrote_is_no_page_for_a_browser(server):
    job_id = server.submit(["-c", "echo '<script>alert(1)</script>' > x.html; touch '<b>'"])
    server.ended(job_id)
    answer = server.output(job_id, "x.html")
    assert answer.headers["Content-Type"] == "text/plain;charset=UTF-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    page = server.output(job_id, "", headers={"Accept": "text/html"})
    assert "<b></a>" not in page.text
    assert "&lt;b&gt;" in page.text


def test_directories_are_listed(live, done):
    top = live.output(done, "", headers={"Accept": "application/json"}).json()
    names = [entry["name"] for entry in top["files"]]
    assert top["parent"] is None
    assert {"stdout", "stderr", "data.txt", "in", "out"} <= set(names)
    assert [entry["name"] for entry in top["directories"]] == ["genie/", "root/", "sub/"]
    sub = live.output(done, "sub").json()
    assert sub["parent"]["url"] == f"{live.base}/jobs/{done}/output"
    assert live.api.get(sub["files"][0]["url"], timeout=60).text == "deep\n"


@pytest.mark.parametrize(
    "path",
    ["../../../../token", "..%2f..%2f..%2f..%2ftoken", "%2e%2e/%2e%2e/%2e%2e/token", "/etc/passwd", "//etc/passwd", "out", "root/etc/passwd",
     "sub/../../../../token", "..\\..\\token", "pipe", "nothing", "stdout/x", "%00", "a" * 5000],
)  # fmt: skip
def test_no_path_leads_out(live, done, path):
    with socket.create_connection(("127.0.0.1", live.port), timeout=60) as raw:  # no client tidies the path up
        head = f"GET /api/v3/jobs/{done}/output/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {live.token}\r\nConnection: close\r\n\r\n"
        raw.sendall(head.encode())
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk
    assert answer.split()[1] in {b"404", b"400"}, answer[:300]
    assert live.token.encode() not in answer
    assert b"root:" not in answer


def test_a_link_inside_is_followed(live, done):
    assert live.output(done, "in").text == "0123456789"


def test_every_address_of_netflixs_client_leads_to_the_output(live, done):
    assert live.api.get(f"{live.url}/file/{done}/output/stdout", timeout=60).text == "0123456789"
    assert live.api.get(f"{live.url}/output/{done}/output/stdout", timeout=60).text == "0123456789"
    assert "stdout" in live.api.get(f"{live.url}/output/{done}/output", timeout=60).text
    assert live.api.get(f"{live.url}/jobs", params={"id": done, "rowId": done}, timeout=60).status_code == 200


def test_a_file_that_shrinks_while_it_is_sent_is_not_sent_whole(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * (2 * output.CHUNK_BYTES))
    opened = output.open_inside(tmp_path, "f")
    chunks = output.content(opened, 0, opened.size_bytes - 1)
    next(chunks)
    os.truncate(tmp_path / "f", 10)
    with pytest.raises(OSError, match="became shorter"):
        next(chunks)


def test_a_link_that_is_exchanged_after_the_look_does_not_help(tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "job/link").symlink_to("../secret")
    with pytest.raises(Problem):
        output.open_inside(tmp_path / "job", "link")
    (tmp_path / "job2").mkdir()  # a name that only begins like the job's directory
    (tmp_path / "job2/file").write_text("s")
    with pytest.raises(Problem):
        output.open_inside(tmp_path / "job", "../job2/file")
