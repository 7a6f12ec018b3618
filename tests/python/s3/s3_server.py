"""An S3 server of the tests' own: moto, in this process, with a protocol of what it was asked and faults on demand."""

import logging
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import unquote

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.WARNING)


REFUSALS = {
    "409": ("409 Conflict", "ConditionalRequestConflict"),
    "403": ("403 Forbidden", "AccessDenied"),
    "501": ("501 Not Implemented", "NotImplemented"),
    "busy": ("503 Slow Down", "SlowDown"),
}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict


class S3Server:
    """`.endpoint`, `.requests`; bucket `deaf` never hears If-None-Match.

    `faults[("PUT", "/lake/key")] = ["409", "lost"]`: the first such request is answered 409, the second is done, but answered 503.
    `opens`, `copies`: the same for requests that open an upload, or have a copy source, whatever their key; None is no fault.
    A copy that is `slow` waits for `.let_go`.
    """

    def __init__(self, *buckets):
        self.requests, self.faults, self.opens, self.copies = [], {}, [], []
        self.let_go = threading.Event()
        self._one_at_a_time = threading.Lock()  # moto looks whether the key is there, then writes: two may find it free
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.client = boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1"
        )  # fmt: skip
        for bucket in (*buckets, "deaf"):
            self.client.create_bucket(Bucket=bucket)

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        headers = {
            key[5:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")
        }
        self.requests.append(Request(method, path, unquote(environ["QUERY_STRING"]), headers))
        if path.startswith("/deaf/"):
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if "x-amz-copy-source" in headers:
            faults = self.copies
        else:
            faults = self.opens if environ["QUERY_STRING"] == "uploads" else self.faults.get((method, path))
        fault = faults.pop(0) if faults else None
        if fault in REFUSALS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return self._error(start_response, *REFUSALS[fault])
        if fault == "lost":
            list(self._moto(environ, lambda *answer: None))
            return self._error(start_response, "503 Slow Down", "SlowDown")
        if fault == "200":  # a copy's answer begins before it ends
            return self._error(start_response, "200 OK", "SlowDown")
        if fault == "slow":
            self.let_go.wait(120)
        with self._one_at_a_time if "HTTP_IF_NONE_MATCH" in environ else nullcontext():
            return self._moto(environ, start_response)

    @staticmethod
    def _error(start_response, status, code):
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]

    def keys(self, bucket, prefix=""):
        """All names under the prefix, markers of directories too."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def close(self):
        self._server.shutdown()
