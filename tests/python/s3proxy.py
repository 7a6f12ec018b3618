"""An S3 server that keeps objects as files (s3proxy), in a process of its own; `make build/.s3proxy` fetches it."""

import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from postgres import free_port

JARS = Path(__file__).parents[2] / "build" / "s3proxy.classpath"
LOGBACK = '<configuration><root level="ERROR"/></configuration>'


class S3Proxy:
    """`.endpoint`; bucket `lake`, its objects and the server's log in a folder. Anybody may do anything."""

    def __init__(self, folder, heap="400m"):
        assert JARS.exists(), "run `make build/.s3proxy`"
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        (folder / "objects").mkdir(parents=True)
        (folder / "logback.xml").write_text(LOGBACK)
        settings = {
            "s3proxy.authorization": "none",
            "s3proxy.endpoint": self.endpoint,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": folder / "objects",
            "jclouds.identity": "any",
            "jclouds.credential": "any",
        }
        (folder / "s3proxy.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", f"-Dlogback.configurationFile={folder / 'logback.xml'}"]
        command += ["-cp", JARS.read_text(), "org.gaul.s3proxy.Main", "--properties", str(folder / "s3proxy.conf")]
        with (folder / "s3proxy.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        give_up = time.monotonic() + 60
        while not self._made("lake"):
            assert self._process.poll() is None and time.monotonic() < give_up, (folder / "s3proxy.log").read_text()
            time.sleep(0.2)

    def close(self):
        self._process.kill()
        self._process.wait()

    def _made(self, bucket):
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"{self.endpoint}/{bucket}", method="PUT"), timeout=30
            ).close()
        except (urllib.error.URLError, ConnectionError):
            return False
        return True
