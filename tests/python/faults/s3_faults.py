"""A proxy before an S3 server, in a process of its own: throttles, dawdles, cuts connections, loses answers, carries out late, as dice say.

`python s3_faults.py http://127.0.0.1:9000 <port> <seed> <report.json>`; SIGUSR1 begins the faults, SIGUSR2 ends them; on SIGTERM it writes how many requests met
which fault, and ends.
"""

import http.client
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

#: Of every 1,000 requests of a kind, how many meet what. `exclusive`: PUT with If-None-Match.
PER_MILLE = {
    "GET": {"throttled": 8, "slow": 5, "cut": 4, "broken_off": 3},
    "HEAD": {"throttled": 8, "slow": 5, "cut": 4},
    "PUT": {"throttled": 8, "slow": 5, "cut": 4, "lost": 10, "failed_though_done": 5},
    "POST": {"throttled": 8, "slow": 5, "cut": 2, "lost": 3},
    "DELETE": {"throttled": 8, "cut": 2},
    "exclusive": {"throttled": 10, "slow": 10, "cut": 10, "lost": 30, "failed_though_done": 20, "conflict": 30, "late": 10, "late_and_silent": 3},
}  # fmt: skip
#: From when to when, of each four minutes, there are so many times as many: two storms that retries outlast, and one that they do not.
STORMS, CYCLE_S, TIMES = ((60, 66), (120, 126), (180, 206)), 240, 25
ERRORS = {"throttled": (503, "SlowDown"), "conflict": (409, "ConditionalRequestConflict"), "failed_though_done": (500, "InternalError")}  # fmt: skip
HOP = {"connection", "transfer-encoding", "keep-alive", "expect", "date", "server"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend, dice, met, troubled = None, None, Counter(), threading.Event()
    _connection = None

    def _serve(self):
        body = self._body()
        kind = "exclusive" if self.command == "PUT" and self.headers.get("If-None-Match") else self.command
        fault = self._fault(kind)
        self.met[f"{kind} {fault}" if fault else kind] += 1
        if fault == "slow":
            time.sleep(self.dice.uniform(0.1, 2))
        if fault == "cut":
            return self._hang_up()
        if fault in {"late", "late_and_silent"}:
            # Nobody knows of it until it happens: with `late_and_silent` the caller's next attempts meet no object for long.
            wait = self.dice.uniform(0.1, 1) if fault == "late" else self.dice.uniform(2, 12)
            threading.Thread(target=self._late, args=(wait, body, dict(self.headers.items()))).start()
            return self._hang_up()
        if fault in {"throttled", "conflict"}:
            return self._refuse(*ERRORS[fault])
        status, headers, answer = self._ask(body)
        if fault == "lost":
            return self._hang_up()
        if fault == "failed_though_done":
            return self._refuse(*ERRORS[fault])
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers) and status not in {204, 304}:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if fault == "broken_off":
            self.wfile.write(answer[: len(answer) // 2])
            return self._hang_up()
        if self.command != "HEAD":
            self.wfile.write(answer)
        return None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _fault(self, kind):
        if not self.troubled.is_set():
            return None
        now = time.monotonic() % CYCLE_S
        throw = self.dice.uniform(0, 1000) / (TIMES if any(begins <= now < ends for begins, ends in STORMS) else 1)
        for fault, share in PER_MILLE[kind].items():
            throw -= share
            if throw < 0:
                return fault
        return None

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _ask(self, body, headers=None, connection=None):
        kept = {key: value for key, value in (headers or self.headers).items() if key.lower() not in HOP}
        kept["Content-Length"] = str(len(body))
        for again in (True, False):
            if connection is None and self._connection is None:
                self._connection = http.client.HTTPConnection(*self.backend, timeout=60)
            try:
                (connection or self._connection).request(self.command, self.path, body, kept)
                answer = (connection or self._connection).getresponse()
                break
            except (ConnectionError, http.client.RemoteDisconnected):
                # An idle connection that the server closed: it has not seen the request.
                self._connection = None
                if not again or connection:
                    raise
        content = answer.read()
        return answer.status, [(n, v) for n, v in answer.getheaders() if n.lower() not in HOP], content

    def _late(self, wait, body, headers):
        time.sleep(wait)
        self._ask(body, headers, http.client.HTTPConnection(*self.backend, timeout=60))

    def _refuse(self, status, code):
        content = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self):
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that hung up, or was killed."""


def main():
    backend, port, seed, report = sys.argv[1:]
    parsed = urlparse(backend)
    Handler.backend, Handler.dice = (parsed.hostname, parsed.port), random.Random(f"s3 {seed}")
    server = Server(("127.0.0.1", int(port)), Handler)
    signal.signal(signal.SIGUSR1, lambda *_: Handler.troubled.set())
    signal.signal(signal.SIGUSR2, lambda *_: Handler.troubled.clear())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(1):
        pass
    with Path(report).open("w") as file:
        json.dump(dict(sorted(Handler.met.items())), file)


if __name__ == "__main__":
    main()
