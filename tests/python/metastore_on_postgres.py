"""Hive's own metastore servers on PostgreSQL: 2.3.9 from PySpark's jars, 4.0.1 from its release. `make build/.metastores` fetches them."""

import subprocess
import tarfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

from checker import Metastore
from postgres import Postgres, free_port
from sfbatch.installed import installed_spark

PARTS = Path(__file__).parents[2] / "build" / "metastores.parts"
RELEASE = "apache-hive-metastore-4.0.1-bin"
SCHEMA = {
    "2.3.9": ["hive-schema-1.2.0", *(f"upgrade-{step}" for step in ("1.2.0-to-2.0.0", "2.0.0-to-2.1.0", "2.1.0-to-2.2.0", "2.2.0-to-2.3.0"))],
    "4.0.1": ["hive-schema-4.0.0"],
}  # fmt: skip


class MetastoreOnPostgres:
    """`.uri`, `.warehouse`, `.pid`; `stop` and `start` keep the port and the tables. `jars`, `settings`: of a file system it is to know."""

    def __init__(self, version, folder, jars=(), settings=()):
        assert PARTS.exists(), "run `make build/.metastores`"
        parts = PARTS.read_text().split()
        (release,) = (part for part in parts if part.endswith(".tar.gz"))
        jars = [*(part for part in parts if part.endswith(".jar")), *jars]
        with tarfile.open(release) as archive:
            archive.extractall(folder, filter="data")
        self.folder = folder
        self.postgres = Postgres(Path(f"{folder}-postgres")).start()
        self.port = free_port()
        self.uri, self.warehouse = f"thrift://127.0.0.1:{self.port}", str(folder / "warehouse")
        for script in SCHEMA[version]:
            self.postgres.run(folder / RELEASE / f"scripts/metastore/upgrade/postgres/{script}.postgres.sql")
        self._configure(settings)
        spark = installed_spark().jars
        with_spark = sorted(str(path) for path in spark.glob("*.jar"))
        if version == "4.0.1":
            # The release has neither Hadoop nor slf4j: PySpark's behind it, but no Hive of PySpark's, and its own logging first.
            rest = [jar for jar in with_spark if not Path(jar).name.startswith(("hive-", "datanucleus-"))]
            logging = [jar for jar in rest if Path(jar).name.startswith(("slf4j-api-", "log4j-"))]
            with_spark = [*logging, f"{folder / RELEASE}/lib/*", *rest]
        class_path = ":".join([str(folder), *jars, *with_spark])
        self._command = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", class_path]
        self._command += ["org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(self.port)]

    def _configure(self, more):
        settings = {
            "javax.jdo.option.ConnectionURL": f"jdbc:postgresql://127.0.0.1:{self.postgres.port}/postgres",
            "javax.jdo.option.ConnectionDriverName": "org.postgresql.Driver",
            "javax.jdo.option.ConnectionUserName": "sfbatch",
            "javax.jdo.option.ConnectionPassword": "",
            "hive.metastore.warehouse.dir": self.warehouse,
            "hive.metastore.schema.verification": "false",
            "hive.async.log.enabled": "false",
            "metastore.task.threads.always": "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
            "metastore.expression.proxy": "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
            **dict(more),
        }
        rows = "".join(
            f"<property><name>{name}</name><value>{escape(value)}</value></property>"
            for name, value in settings.items()
        )
        for name in ("hive-site.xml", "metastore-site.xml"):
            (self.folder / name).write_text(f"<configuration>{rows}</configuration>")

    def start(self):
        with (self.folder / "metastore.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.pid, give_up = self.process.pid, time.monotonic() + 90
        while True:
            try:
                with Metastore(self.uri) as client:
                    client.get_all_databases()
                return self
            except Exception:
                log = (self.folder / "metastore.log").read_text()[-3000:]
                assert self.process.poll() is None and time.monotonic() < give_up, log
                time.sleep(0.2)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.stop()
        self.postgres.stop()
