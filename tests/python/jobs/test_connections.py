"""Clients that are slow, silent or many: the others are served."""

import asyncio
import contextlib
import resource
import socket
import threading
import time
from contextlib import contextmanager

import requests
import uvicorn
from live import eventually, free_port, status_of_too_large
from sfbatch.jobs import connections


def test_huge_headers_and_slow_clients_hurt_nobody(live):
    large = {"X-Large": "x" * 200_000}
    assert status_of_too_large(live.api, f"{live.base}/jobs", headers=large) in {400, 431, None}
    slow = []
    for _ in range(200):
        raw = socket.create_connection(("127.0.0.1", live.port), timeout=60)
        raw.sendall(b"POST /api/v3/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
        slow.append(raw)
    began = time.monotonic()
    assert live.get("jobs").status_code == 200
    assert time.monotonic() - began < connections.REQUEST_WITHIN_S / 2
    for raw in slow:
        raw.close()


def test_who_sends_nothing_keeps_no_descriptor_that_others_need(server):
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (260, 260))
    silent, began = [], time.monotonic()
    for _ in range(300):
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        raw.sendall(b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"[: 20 + len(silent) % 60])
        silent.append(raw)
        time.sleep(0.003)
    assert server.ended(server.submit(["-c", "true"]))["status"] == "SUCCEEDED"
    assert time.monotonic() - began < connections.REQUEST_WITHIN_S  # none was hung up on for being slow
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
    thread.join(60)


def test_a_request_has_a_time_to_come_in(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_WITHIN_S", 2)

    async def hello(_, receive, send):
        assert (await receive())["type"] == "http.request"
        await asyncio.sleep(3)  # an answer has all the time it needs
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    with served(hello) as port:
        for sent in (b"", b"GET / HTTP/1.1\r\nHo"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
                raw.sendall(sent)
                with contextlib.suppress(ConnectionResetError):
                    assert raw.recv(10) == b""
        session = requests.Session()
        assert [session.get(f"http://127.0.0.1:{port}/", timeout=60).text for _ in range(2)] == ["hi", "hi"]


def test_an_answer_on_its_way_gives_way_to_nobody(monkeypatch):
    monkeypatch.setattr(connections, "most", lambda: 1)
    size, sent = 30_000_000, threading.Event()

    async def much(_, receive, send):
        length = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"x" * size})
        sent.set()

    with served(much) as port, socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sent.wait(60)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as further:
            with contextlib.suppress(ConnectionResetError):
                assert further.recv(10) == b""  # it is the only one that waits for its client
            received = 0
            while received < size:
                piece = slow.recv(1_000_000)
                assert piece, f"cut after {received} bytes"
                received += len(piece)
