"""What a publish costs at a Hive metastore on PostgreSQL: beside the bare calls, and as partitions and versions grow. Writes PUBLISHES.md.

Needs `make .venv/spark-3.5/.wheel build/.metastores` and PostgreSQL; run by `make bench-publishes`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sfbatch
from pyspark.sql import SparkSession
from worker import steps

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests/python"))  # its metastore on PostgreSQL
from hive_metastore import HiveMetastore  # noqa: E402

#: Under the lock: from asking for it to giving it back.
PUBLISH = ("locked", "settled", "journalled", "showing", "shown", "done", "returned")


class Lake:
    """A session with sfbatch on a metastore of its own."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "session.log"
        self.metastore = HiveMetastore("2.3.9", "postgres", folder / "metastore").start()
        java = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'} -Dbench.log={self.log}"
        builder = (
            SparkSession.builder.master("local[2]")
            .config("spark.driver.memory", "3g")
            .config("spark.driver.extraJavaOptions", java)
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.warehouse.dir", f"file:{folder}/warehouse")
            .config("spark.hadoop.hive.metastore.uris", self.metastore.uri)
        )
        self.spark = sfbatch.configure_spark(builder).getOrCreate()
        self.spark.sql(f"CREATE DATABASE bench LOCATION 'file:{folder}/bench'")
        self.folder = folder / "bench"
        jvm = self.jvm = self.spark._jvm
        conf = jvm.org.apache.hadoop.hive.conf.HiveConf(
            self.spark._jsc.hadoopConfiguration(), jvm.java.lang.Class.forName("org.apache.hadoop.hive.conf.HiveConf")
        )
        conf.set("hive.metastore.client.socket.timeout", "3600s")
        self.client = jvm.org.apache.hadoop.hive.metastore.HiveMetaStoreClient(conf)

    def close(self) -> None:
        self.spark.stop()
        self.metastore.close()

    def write(self, statement: str) -> float:
        """Seconds of its publish."""
        logged, began = self.log.stat().st_size, time.time()
        self.spark.sql(statement)
        found = steps(self.log, logged, began, time.time())
        return sum(found.get(step, 0.0) for step in PUBLISH)

    def plain(self, name: str, partitions: int) -> None:
        """A Hive table of empty partitions, added by 100."""
        self.spark.sql(
            f"CREATE EXTERNAL TABLE bench.{name} (id BIGINT) PARTITIONED BY (part STRING) LOCATION 'file:{self.folder}/{name}'"
        )
        table = self.client.getTable("bench", name)
        for first in range(0, partitions, 100):
            some = self.jvm.java.util.ArrayList()
            for number in range(first, min(first + 100, partitions)):
                value = f"p{number:05}"
                partition = self.jvm.org.apache.hadoop.hive.metastore.api.Partition()
                partition.setDbName("bench")
                partition.setTableName(name)
                partition.setValues(self.jvm.java.util.Collections.singletonList(value))
                partition.setSd(table.getSd().deepCopy())
                partition.getSd().setLocation(f"file:{self.folder}/{name}/{value}")
                partition.setParameters(self.jvm.java.util.HashMap())
                some.add(partition)
            self.client.add_partitions(some)

    def alter_all(self, name: str, partitions: int, turn: int) -> float:
        """Seconds of what nobody can do without: read the partitions by 1,000 names, send them back with other locations in one call."""
        started = time.perf_counter()
        changed = self.jvm.java.util.ArrayList()
        for first in range(0, partitions, 1000):
            names = self.jvm.java.util.ArrayList()
            for number in range(first, min(first + 1000, partitions)):
                names.add(f"part=p{number:05}")
            changed.addAll(self.client.getPartitionsByNames("bench", name, names))
        read = time.perf_counter() - started
        for partition in changed:  # by a socket to the JVM: not timed
            partition.getSd().setLocation(f"{partition.getSd().getLocation().partition('#')[0]}#{turn}")
        without_statistics = self.jvm.java.util.HashMap({"DO_NOT_UPDATE_STATS": "true"})
        context = self.jvm.org.apache.hadoop.hive.metastore.api.EnvironmentContext(without_statistics)
        started = time.perf_counter()
        self.client.alter_partitions("bench", name, changed, context)
        return read + time.perf_counter() - started


def beside_bare_calls(lake: Lake, partitions: int, runs: int) -> dict[str, Any]:
    say(f"{partitions:,} partitions at once")
    ours, bare = f"ours_{partitions}", f"bare_{partitions}"
    lake.plain(bare, partitions)
    lake.spark.sql(
        f"CREATE TABLE bench.{ours} (id BIGINT, part STRING) USING sfbatch OPTIONS (format 'text') PARTITIONED BY (part)"
    )
    rows = f"SELECT id, format_string('p%05d', id) FROM range(0, {partitions}, 1, 1)"
    added = lake.write(f"INSERT OVERWRITE bench.{ours} {rows}")
    found: dict[str, Any] = {"partitions": partitions, "added": added, "sfbatch": [], "bare": []}
    for turn in range(runs):
        found["bare"].append(lake.alter_all(bare, partitions, turn))
        found["sfbatch"].append(lake.write(f"INSERT OVERWRITE bench.{ours} {rows}"))
        say(f"  bare {found['bare'][-1]:.2f} s, sfbatch {found['sfbatch'][-1]:.2f} s")
    return found


def as_it_grows(lake: Lake, what: str, small: int, large: int, runs: int) -> dict[str, Any]:
    say(f"{small:,} and {large:,} {what}")
    grow = {"versions": with_versions, "partitions": with_partitions}[what]
    found: dict[str, Any] = {"what": what, "small": small, "large": large}
    for size in (small, large):
        grow(lake, f"{what}_{size}", size)
    times: dict[int, list[float]] = {small: [], large: []}
    for turn in range(-2, runs):
        for size, taken in times.items():
            seconds = lake.write(f"INSERT OVERWRITE bench.{what}_{size} SELECT {turn}, 'p00001'")
            if turn >= 0:
                taken.append(seconds)
    found["seconds"] = [times[small], times[large]]
    return found


def with_partitions(lake: Lake, name: str, partitions: int) -> None:
    lake.plain(name, partitions)
    lake.spark.sql(f"CALL sfbatch.adopt(table => 'bench.{name}')").collect()


def with_versions(lake: Lake, name: str, versions: int) -> None:
    """A history of anchors, written as PROTOCOL.md says."""
    lake.spark.sql(f"CREATE TABLE bench.{name} (id BIGINT, part STRING) USING sfbatch PARTITIONED BY (part)")
    lake.spark.sql(f"INSERT INTO bench.{name} VALUES (0, 'p00001')")
    journal = lake.folder / name / "_sfbatch/journal"
    last = json.loads(gzip.decompress((journal / f"00000000/{2:012}.json.gz").read_bytes()))
    kept = {
        key: last[key] for key in ("protocol", "timestamp", "user", "host", "schema", "partition_columns", "storage")
    }
    for version in range(3, versions + 1):
        block = journal / f"{(version - 1) // 400:08}"
        block.mkdir(exist_ok=True)
        entry = {**kept, "version": version, "nonce": str(uuid.uuid4()), "operation": "anchor", "partitions": []}
        entry |= {"anchor": "a", "anchor_version": 2}
        (block / f"{version:012}.json.gz").write_bytes(gzip.compress(json.dumps(entry).encode()))
        (block / f"{version:012}.done").touch()


def report(results: dict[str, Any]) -> str:
    lines = [
        "# What a publish costs at the metastore",
        "",
        f"Written by `make bench-publishes`, {results['date']}, {results['minutes']} minutes; every number is in `publishes.json`. Hive metastore 2.3.9 on PostgreSQL, Spark 3.5, "
        "files on local disk, 2 cores that also run the metastore and PostgreSQL. Medians; a publish is all that is done under the lock, from asking for it to giving it back.",
        "",
        "## Beside the bare calls",
        "",
        "*Bare*: read the partitions by 1,000 names, then one `alter_partitions` of all, over a connection opened beforehand; sfbatch also locks, journals, compares before and reads back after.",
        "",
        "| partitions switched at once | bare s | sfbatch s | x | added for the first time, by 100 and one alter |",
        "|---|---|---|---|---|",
    ]
    for found in results["beside"]:
        bare, ours = statistics.median(found["bare"]), statistics.median(found["sfbatch"])
        lines.append(
            f"| {found['partitions']:,} | {bare:.2f} | {ours:.2f} | {ours / bare:.2f} | {found['added']:.1f} s |"
        )
    lines += ["", "## As history and table grow", "", "| a publish of one partition | s | x |", "|---|---|---|"]
    for found in results["growing"]:
        small, large = (statistics.median(s) for s in found["seconds"])
        sizes = f"{found['small']:,} and {found['large']:,} {found['what']}"
        lines.append(f"| {sizes} | {small:.3f} and {large:.3f} | {large / small:.2f} |")
    lines += [
        "",
        "How many calls and requests are made does not grow at all: `CountsSuite` and `make test-s3` assert it.",
    ]
    return "\n".join(lines) + "\n"


def say(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S}  {what}", flush=True)


@contextmanager
def lake_in(folder: Path) -> Iterator[Lake]:
    folder.chmod(0o711)  # PostgreSQL runs as a user of its own
    (folder / "metastore").mkdir()
    lake = Lake(folder)
    try:
        yield lake
    finally:
        lake.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small numbers, nothing kept: does it run?")
    smoke = parser.parse_args().smoke
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sfbatch-publishes-") as folder, lake_in(Path(folder)) as lake:
        beside = [beside_bare_calls(lake, n, runs) for n, runs in ([(20, 2)] if smoke else [(2000, 5), (10_000, 2)])]
        sizes = {"versions": 30, "partitions": 300} if smoke else {"versions": 10_000, "partitions": 50_000}
        growing = [as_it_grows(lake, what, 10, large, 2 if smoke else 15) for what, large in sizes.items()]
    results = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "beside": beside,
        "growing": growing,
    }
    print(report(results))
    if not smoke:
        (HERE / "PUBLISHES.md").write_text(report(results))
        (HERE / "publishes.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
