"""An S3 server on this machine, s3proxy, for as long as one comparison lasts; `make build/.s3 build/.s3proxy` fetches it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

JARS = Path(__file__).parents[1] / "build/s3proxy.classpath"
VERSION = "s3proxy 4.1.0"


@contextmanager
def serve(work: Path) -> Iterator[str]:
    """Give the endpoint of a server with an empty bucket `lake`, its objects under `work`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "objects").mkdir(parents=True)
    (work / "logback.xml").write_text('<configuration><root level="OFF"/></configuration>')
    settings = {
        "s3proxy.authorization": "none",
        "s3proxy.endpoint": endpoint,
        "jclouds.provider": "filesystem-nio2",
        "jclouds.filesystem.basedir": work / "objects",
        "jclouds.identity": "any",
        "jclouds.credential": "any",
    }
    (work / "s3proxy.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    command = ["java", "-Xmx600m", "-XX:+UseSerialGC", f"-Dlogback.configurationFile={work / 'logback.xml'}"]
    command += ["-cp", JARS.read_text(), "org.gaul.s3proxy.Main", "--properties", str(work / "s3proxy.conf")]
    with (work / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 60
        while not _made(f"{endpoint}/lake"):
            assert server.poll() is None and time.monotonic() < give_up, (work / "log").read_text()
            time.sleep(0.2)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _made(bucket: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"), timeout=30).close()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True
