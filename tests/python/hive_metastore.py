"""Hive's own metastore servers on a database server: 2.3.9 from PySpark's jars, 3.1.3 and 4.0.1 from their releases. `make build/.metastores` fetches them."""

import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

from checker import Metastore
from mariadb import MariaDb
from postgres import Postgres, free_port
from sfbatch.installed import installed_spark

PARTS = Path(__file__).parents[2] / "build" / "metastores.parts"
DATABASES = {"postgres": Postgres, "mariadb": MariaDb}
SCHEMA = {
    "2.3.9": ["hive-schema-1.2.0", *(f"upgrade-{step}" for step in ("1.2.0-to-2.0.0", "2.0.0-to-2.1.0", "2.1.0-to-2.2.0", "2.2.0-to-2.3.0"))],
    "3.1.3": ["hive-schema-3.1.0"],
    "4.0.1": ["hive-schema-4.0.0"],
}  # fmt: skip


class HiveMetastore:
    """`.uri`, `.warehouse`, `.pid`; `stop` and `start` keep the port and the tables. `jars`, `settings`: of a file system it is to know."""

    def __init__(self, version, database, folder, jars=(), settings=(), **database_settings):
        assert PARTS.exists(), "run `make build/.metastores`"
        parts = PARTS.read_text().split()
        jars = [*(part for part in parts if part.endswith(".jar")), *jars]
        self.folder = folder
        scripts = self._release(parts, "4.0.1") / "scripts/metastore/upgrade"  # it has those of all versions
        self.database = DATABASES[database](Path(f"{folder}-{database}"), **database_settings).start()
        self.port = free_port()
        self.uri, self.warehouse = f"thrift://127.0.0.1:{self.port}", str(folder / "warehouse")
        kind = self.database.scripts
        for script in SCHEMA[version]:
            self.database.run(scripts / kind / f"{script}.{kind}.sql")
        self._configure(settings)
        with_spark = sorted(str(path) for path in installed_spark().jars.glob("*.jar"))
        if version != "2.3.9":
            # The release has neither Hadoop nor slf4j: PySpark's behind it, but no Hive of PySpark's, and its own logging first.
            rest = [jar for jar in with_spark if not Path(jar).name.startswith(("hive-", "datanucleus-"))]
            logging = [jar for jar in rest if Path(jar).name.startswith(("slf4j-api-", "log4j-"))]
            with_spark = [*logging, f"{self._release(parts, version)}/lib/*", *rest]
        class_path = ":".join([str(folder), *jars, *with_spark])
        self._command = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", class_path]
        self._command += ["org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(self.port)]

    def _release(self, parts, version):
        (release,) = (part for part in parts if part.endswith(f"{version}-bin.tar.gz"))
        with tarfile.open(release) as archive:
            name = archive.next().name.split("/")[0]
            if not (self.folder / name).exists():
                archive.extractall(self.folder, filter="data")
        return self.folder / name

    def _configure(self, more):
        settings = {
            "javax.jdo.option.ConnectionURL": self.database.jdbc_url,
            "javax.jdo.option.ConnectionDriverName": self.database.jdbc_driver,
            "javax.jdo.option.ConnectionUserName": "sfbatch",
            "javax.jdo.option.ConnectionPassword": "sfbatch",
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
        self.database.stop()
        for folder in (self.folder, self.database.directory):
            shutil.rmtree(folder)
