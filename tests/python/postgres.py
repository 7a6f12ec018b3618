"""A PostgreSQL server of the tests' own, from the machine's packages."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *map(Path, os.environ["PATH"].split(":"))]
BIN = next((place for place in PLACES if (place / "initdb").exists()), None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """It refuses to run as root, and then runs as the user postgres; so its directory must be open to that user."""

    jdbc_driver, scripts = "org.postgresql.Driver", "postgres"

    def __init__(self, directory, **settings):
        assert BIN, "no PostgreSQL here: install Debian's postgresql"
        self.port, self.directory = free_port(), directory
        self._settings = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.options = {"user": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        directory.mkdir()
        if self.options:
            shutil.chown(directory, "postgres")
        subprocess.run(
            [BIN / "initdb", "-D", directory, "-U", "sfbatch", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, cwd="/", **self.options,
        )  # fmt: skip
        self.jdbc_url = f"jdbc:postgresql://127.0.0.1:{self.port}/postgres"
        self.url = f"postgresql://sfbatch@127.0.0.1:{self.port}/postgres"

    def start(self):
        where = [
            "-D",
            self.directory,
            "-p",
            str(self.port),
            "-k",
            self.directory,
            "-c",
            "listen_addresses=127.0.0.1",
            *self._settings,
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        self.process = subprocess.Popen([BIN / "postgres", *where], **quiet, **self.options)
        give_up = time.monotonic() + 30
        while subprocess.run([BIN / "pg_isready", "-q", "-d", self.url], check=False).returncode:
            assert self.process.poll() is None and time.monotonic() < give_up, "PostgreSQL did not start"
            time.sleep(0.05)
        return self

    def stop(self):
        """At once: connections are cut."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def run(self, script, database="postgres"):
        """A file of SQL, from its own directory: it may include others."""
        url = self.url.replace("/postgres", f"/{database}")
        command = [BIN / "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", script.name]
        subprocess.run(command, check=True, capture_output=True, cwd=script.parent)

    def ask(self, query):
        """The rows, each a list of texts."""
        command = [BIN / "psql", "-X", "-t", "-A", "-F", "\t", "-d", self.url, "-c", query]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
        return [line.split("\t") for line in answer.splitlines()]
