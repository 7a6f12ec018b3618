"""A proxy before an S3 server: hands requests on, and counts them."""

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "transfer-encoding", "keep-alive", "expect", "date", "server"}


class Handler(BaseHTTPRequestHandler):
    """`met`: kind -> how many requests. A subclass for each proxy: what is counted is kept on the class."""

    protocol_version = "HTTP/1.1"
    backend, met = None, Counter()
    _counting, _connection = threading.Lock(), None

    @classmethod
    def before(cls, endpoint):
        """A class of its own for a server at `http://host:port`."""
        host, _, port = endpoint.removeprefix("http://").partition(":")
        return type(cls.__name__, (cls,), {"backend": (host, int(port)), "met": Counter()})

    def do_GET(self):
        self.serve(self._body())

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def serve(self, body):
        self.count(self._kind())
        self.answer(*self.ask(body))

    def count(self, kind):
        with self._counting:
            self.met[kind] += 1

    def _kind(self):
        if self.headers.get("x-amz-copy-source"):
            return "COPY"
        return "LIST" if "list-type=" in self.path else self.command

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def ask(self, body, headers=None, connection=None):
        """(status, headers, content) of the server's answer; by a connection of its own, if one is given."""
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

    def answer(self, status, headers, content, broken_off=False):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers) and status not in {204, 304}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if broken_off:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """`.endpoint`, `.met`; `start()` serves in threads of this process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler, port=0):
        super().__init__(("127.0.0.1", port), handler)
        self.endpoint, self.met = f"http://127.0.0.1:{self.server_port}", handler.met

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def handle_error(self, *_):
        """A client that hung up, or was killed."""
