"""HDFS of the tests' own: Hadoop's minicluster in a process."""

import subprocess
from pathlib import Path

from sfbatch.installed import installed_spark
from sfbatch.local_metastore import java

CLASSES = Path(__file__).parents[3] / "build" / f"hdfs-{installed_spark().line}.classpath"


class HdfsCluster:
    """`.uri` is `hdfs://127.0.0.1:<port>`."""

    def __init__(self, folder):
        assert CLASSES.exists(), "run `make build/.hdfs`"
        with (folder / "hdfs.log").open("wb") as log:
            self._process = subprocess.Popen(
                [java(), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{CLASSES.read_text()}:{installed_spark().jars}/*", str(Path(__file__).with_name("Cluster.java")), str(folder / "hdfs")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder,
            )  # fmt: skip
        line = self._process.stdout.readline()
        assert line.startswith("hdfs://"), (folder / "hdfs.log").read_text()[-3000:]
        self.uri = line.strip()

    def restart_name_node(self):
        print(file=self._process.stdin, flush=True)
        assert self._process.stdout.readline().strip() == "restarted"

    def files(self, session, path):
        """The files under a directory: `["a/b.json"]`, relative to it, sorted."""
        listed = """
found, result = fs.listFiles(at, True), []
while found.hasNext():
    result.append(found.next().getPath().toString())
"""
        place = f"{self.uri}{path}/"
        return sorted(file.removeprefix(place) for file in session.run(self._at(path) + listed))

    def mirror(self, session, path, folder):
        """Everything under a directory of HDFS, in a local one that is not there yet."""
        copy = (
            f"fs.copyToLocalFile(False, at, spark._jvm.org.apache.hadoop.fs.Path('file:{folder}'), True); result = None"
        )
        session.run(self._at(path) + copy)

    def _at(self, path):
        return f"""
at = spark._jvm.org.apache.hadoop.fs.Path('{self.uri}{path}')
fs = at.getFileSystem(spark._jsc.hadoopConfiguration())
"""

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
