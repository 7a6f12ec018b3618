"""HDFS of the tests' own: Hadoop's minicluster in a process, looked into by WebHDFS, that is without Hadoop's client."""

import json
import subprocess
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

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
        self.uri, self._http = line.split()

    def restart_name_node(self):
        print(file=self._process.stdin, flush=True)
        assert self._process.stdout.readline().strip() == "restarted"

    def files(self, path):
        """The files under a directory: `["a/b.json"]`, relative to it, sorted."""
        return sorted(name for name, directory in self._walk(path) if not directory)

    def mirror(self, path, folder):
        """Everything under a directory of HDFS, in a local one."""
        for name, directory in self._walk(path):
            here = folder / name
            (here if directory else here.parent).mkdir(parents=True, exist_ok=True)
            if not directory:
                here.write_bytes(self._ask(f"{path}/{name}", "OPEN"))

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _walk(self, path, above=""):
        for status in json.loads(self._ask(path, "LISTSTATUS"))["FileStatuses"]["FileStatus"]:
            name = above + status["pathSuffix"]
            yield name, status["type"] == "DIRECTORY"
            if status["type"] == "DIRECTORY":
                yield from self._walk(f"{path}/{status['pathSuffix']}", f"{name}/")

    def _ask(self, path, operation):
        with urlopen(f"{self._http}/webhdfs/v1{quote(path)}?op={operation}&user.name=root") as answer:
            return answer.read()
