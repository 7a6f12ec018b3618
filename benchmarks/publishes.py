"""What a publish costs at a Hive metastore on PostgreSQL: beside the bare calls, and as partitions and versions grow. Writes PUBLISHES.md.

Needs `make .venv/spark-3.5/.wheel build/.metastores` and PostgreSQL; run by `make bench-publishes`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
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
from kept import commit  # noqa: E402
from metastore_proxy import Proxy  # noqa: E402

#: Under the lock: from asking for it to giving it back.
PUBLISH = ("locked", "settled", "journalled", "showing", "shown", "done", "returned")

#: What `add_partitions` of Hive 2.3.9 writes; IDs far above its own.
PARTITIONS = """
CREATE TEMPORARY TABLE it AS
  SELECT t."TBL_ID" AS tbl_id, s.*, i, {first_id} + i AS id, 'p' || lpad(i::text, 5, '0') AS value
  FROM "TBLS" t JOIN "SDS" s USING ("SD_ID"), generate_series(0, {last}) i WHERE t."TBL_NAME" = '{name}';
INSERT INTO "SERDES" ("SERDE_ID", "NAME", "SLIB") SELECT id, "NAME", "SLIB" FROM it JOIN "SERDES" USING ("SERDE_ID");
INSERT INTO "SERDE_PARAMS" ("SERDE_ID", "PARAM_KEY", "PARAM_VALUE")
  SELECT id, "PARAM_KEY", "PARAM_VALUE" FROM it JOIN "SERDE_PARAMS" USING ("SERDE_ID");
INSERT INTO "SDS" ("SD_ID", "CD_ID", "INPUT_FORMAT", "IS_COMPRESSED", "IS_STOREDASSUBDIRECTORIES", "LOCATION", "NUM_BUCKETS", "OUTPUT_FORMAT", "SERDE_ID")
  SELECT id, "CD_ID", "INPUT_FORMAT", "IS_COMPRESSED", "IS_STOREDASSUBDIRECTORIES", '{home}/' || value, "NUM_BUCKETS", "OUTPUT_FORMAT", id FROM it;
INSERT INTO "PARTITIONS" ("PART_ID", "CREATE_TIME", "LAST_ACCESS_TIME", "PART_NAME", "SD_ID", "TBL_ID")
  SELECT id, 0, 0, 'part=' || value, id, tbl_id FROM it;
INSERT INTO "PARTITION_KEY_VALS" ("PART_ID", "PART_KEY_VAL", "INTEGER_IDX") SELECT id, value, 0 FROM it;
DROP TABLE it;
ANALYZE;
"""


class Lake:
    """A session with sfbatch on a metastore of its own."""

    def __init__(self, folder: Path) -> None:
        self.added = 0
        self.log = folder / "session.log"
        counted = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "off"}
        self.metastore = HiveMetastore("2.3.9", "postgres", folder / "metastore", **counted).start()
        self.database = self.metastore.database
        self.database.ask("CREATE EXTENSION pg_stat_statements")
        self.proxy = Proxy(self.metastore.uri)  # counts the calls; the bare ones pass it too
        self.proxy.__enter__()
        java = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'} -Dbench.log={self.log}"
        builder = (
            SparkSession.builder.master("local[2]")
            .config("spark.driver.memory", "3g")
            .config("spark.driver.extraJavaOptions", java)
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.warehouse.dir", f"file:{folder}/warehouse")
            .config("spark.hadoop.hive.metastore.uris", self.proxy.uri)
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
        self.proxy.__exit__()
        self.metastore.close()

    def write(self, statement: str) -> tuple[float, float]:
        """Seconds of its publish, and of the whole statement."""
        logged, began = self.log.stat().st_size, time.time()
        self.spark.sql(statement)
        ended = time.time()
        found = steps(self.log, logged, began, ended)
        return sum(found.get(step, 0.0) for step in PUBLISH), ended - began

    def plain(self, name: str, partitions: int) -> None:
        """A Hive table of empty partitions, `p00000` and so on."""
        home = self.folder / name
        self.spark.sql(
            f"CREATE EXTERNAL TABLE bench.{name} (id BIGINT) PARTITIONED BY (part STRING) LOCATION 'file:{home}'"
        )
        for number in range(partitions):
            (home / f"p{number:05}").mkdir(parents=True)
        # A partition takes the metastore some 20 ms: 50,000 are put into its tables instead, as it would.
        self.added += 1
        script = self.folder / f"{name}.sql"
        script.write_text(
            PARTITIONS.format(name=name, last=partitions - 1, first_id=1_000_000 * self.added, home=f"file:{home}")
        )
        script.chmod(0o644)
        self.database.run(script)

    def read(self, name: str, partitions: int) -> tuple[float, Any]:
        """Seconds to read the partitions by 1,000 names, and they."""
        names = []
        for first in range(0, partitions, 1000):
            some = [f"part=p{number:05}" for number in range(first, min(first + 1000, partitions))]
            names.append(self.jvm.java.util.ArrayList(some))
        found = self.jvm.java.util.ArrayList()
        started = time.perf_counter()
        for some in names:
            found.addAll(self.client.getPartitionsByNames("bench", name, some))
        return time.perf_counter() - started, found

    def alter(self, name: str, partitions: Any) -> dict[str, float]:
        """Seconds to send them in one call; the statements that the metastore's database is asked for, and seconds of work there and in the metastore."""
        without_statistics = self.jvm.java.util.HashMap({"DO_NOT_UPDATE_STATS": "true"})
        context = self.jvm.org.apache.hadoop.hive.metastore.api.EnvironmentContext(without_statistics)
        self.database.ask("SELECT pg_stat_statements_reset()")
        worked, started = self.cpu_s(), time.perf_counter()
        self.client.alter_partitions("bench", name, partitions, context)
        seconds, worked = time.perf_counter() - started, self.cpu_s() - worked
        [[statements, database]] = self.database.ask(
            "SELECT sum(calls), sum(total_exec_time) / 1000 FROM pg_stat_statements"
        )
        return {"alter": seconds, "statements": int(statements), "database": float(database), "metastore": worked}

    def cpu_s(self) -> float:
        """Of the metastore's JVM, since its start."""
        fields = Path(f"/proc/{self.metastore.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def beside_bare_calls(lake: Lake, partitions: int, runs: int) -> dict[str, Any]:
    say(f"{partitions:,} partitions at once")
    ours, bare = f"ours_{partitions}", f"bare_{partitions}"
    for name in (bare, ours):
        lake.plain(name, partitions)
    lake.spark.sql(f"CALL sfbatch.adopt(table => 'bench.{ours}')").collect()
    rows = f"SELECT id, format_string('p%05d', id) FROM range(0, {partitions}, 1, 1)"
    states = {}
    for state in ("a", "b"):  # what is sent in turn; made ready beforehand
        _, states[state] = lake.read(bare, partitions)
        for partition in states[state]:
            partition.getSd().setLocation(f"{partition.getSd().getLocation()}-{state}")
    for number, state in enumerate(("a", "b")):
        version, batch = str(number + 2), str(20161101000010 + number)
        kept = {
            "numRows": "1",
            "numFiles": "1",
            "totalSize": "2",
            "sfbatch.version": version,
            "sfbatch.batch-id": batch,
        }
        parameters = lake.jvm.java.util.HashMap(kept)
        for partition in states[state]:
            partition.setParameters(parameters)
    found: dict[str, Any] = {"partitions": partitions}
    measures = ("sfbatch", "whole", "read", "alter", "statements", "database", "metastore")
    found |= {key: [] for key in measures}
    for turn in range(-1 if runs > 1 else 0, runs):
        read, _ = lake.read(bare, partitions)
        alter = lake.alter(bare, states["ab"[turn % 2]])
        publish, whole = lake.write(f"INSERT OVERWRITE bench.{ours} {rows}")
        say(f"  bare {read:.2f} + {alter['alter']:.2f} s, sfbatch {publish:.2f} s of {whole:.2f} s")
        if turn >= 0:
            for key, value in ({"sfbatch": publish, "whole": whole, "read": read} | alter).items():
                found[key].append(value)
    return found


def as_it_grows(lake: Lake, what: str, small: int, large: int, runs: int) -> dict[str, Any]:
    say(f"{small:,} and {large:,} {what}")
    grow = {"versions": with_versions, "partitions": with_partitions}[what]
    found: dict[str, Any] = {"what": what, "small": small, "large": large}
    for size in (small, large):
        grow(lake, f"{what}_{size}", size)
    times: dict[int, list[tuple[float, float]]] = {small: [], large: []}
    calls: dict[int, set[tuple[tuple[str, int], ...]]] = {small: set(), large: set()}
    for turn in range(-2, runs):
        for size, taken in times.items():
            before = len(lake.proxy.calls)
            seconds = lake.write(f"INSERT OVERWRITE bench.{what}_{size} SELECT {turn}, 'p00001'")
            if turn >= 0:
                taken.append(seconds)
                # Heartbeats go by the clock; a connection that is closed says so when it likes.
                asked = Counter(call for call in lake.proxy.calls[before:] if call not in ("heartbeat", "shutdown"))
                calls[size].add(tuple(sorted(asked.items())))
    for key, place in (("seconds", 0), ("whole", 1)):
        found[key] = [[taken[place] for taken in times[size]] for size in (small, large)]
    found["calls"] = [[dict(asked) for asked in sorted(calls[size])] for size in (small, large)]
    say(f"  calls {found['calls']}")
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
        f"Written by `make bench-publishes`, {results['date']}, at {results['commit']}, {results['minutes']} minutes; every number is in `publishes.json`. Hive metastore 2.3.9 on PostgreSQL, Spark 3.5, "
        "files on local disk, 2 cores that also run the metastore, PostgreSQL and a proxy that counts the calls. Medians. A *publish* is all that is done under the lock, from asking for it "
        "to giving it back; the *statement* is the whole INSERT OVERWRITE, its Spark job and the look at what was written too.",
        "",
        "| aim | measured | |",
        "|---|---|---|",
        *_aims(results),
        "",
        "## Beside the bare calls",
        "",
        "*Bare*: read the partitions by 1,000 names, then one `alter_partitions` of all with their new locations and the five parameters that a publish sets too (rows, files, bytes, version, batch ID: "
        "each is a row of the metastore's database), over a connection opened beforehand. sfbatch reads them too, and reads them again after "
        "the alter, locks, writes its journal and looks whether it was overtaken.",
        "",
        "| partitions switched at once | bare: read + alter, s | publish, s | x | statement, s |",
        "|---|---|---|---|---|",
    ]
    for found in results["beside"]:
        read, alter, ours, whole = (statistics.median(found[key]) for key in ("read", "alter", "sfbatch", "whole"))
        lines.append(
            f"| {found['partitions']:,} | {read:.2f} + {alter:.2f} | {ours:.2f} | {ours / (read + alter):.2f} | {whole:.1f} |"
        )
    lines += ["", "### What limits it", ""]
    for found in results["beside"]:
        n = found["partitions"]
        alter, statements, database, metastore = (
            statistics.median(found[key]) for key in ("alter", "statements", "database", "metastore")
        )
        lines.append(
            f"- {n:,} partitions: the bare alter is {statements / n:.1f} statements of the metastore's database a partition, one after the other, {1000 * alter / n:.1f} ms in all; "
            f"{1000 * database / n:.1f} ms of it is PostgreSQL's work on them, {1000 * metastore / n:.1f} ms is CPU of the metastore's own code (Hive's `alterPartitions` by DataNucleus)."
        )
    lines += [
        "",
        "sfbatch adds under the lock what the first table shows; the rest of the statement is Spark's: it writes one directory and file a partition, and lists each.",
        "",
        "## As history and table grow",
        "",
        "| one partition overwritten | publish, s | x | statement, s | x |",
        "|---|---|---|---|---|",
    ]
    for found in results["growing"]:
        (small, large), (first, last) = ([statistics.median(s) for s in found[key]] for key in ("seconds", "whole"))
        sizes = f"{found['small']:,} and {found['large']:,} {found['what']}"
        lines.append(
            f"| {sizes} | {small:.3f} and {large:.3f} | {large / small:.2f} | {first:.2f} and {last:.2f} | {last / first:.2f} |"
        )
    calls = results["growing"][0]["calls"][0][0]
    lines += [
        "",
        f"The statement's calls of the metastore, Spark's own included: {', '.join(f'{n} {name}' for name, n in calls.items())}.",
        "What the publish asks of the file system: `CountsSuite`, which `make bench-publishes` runs at these sizes first.",
    ]
    return "\n".join(lines) + "\n"


def _aims(results: dict[str, Any]) -> list[str]:
    def row(aim: str, measured: str, met: bool) -> str:
        return f"| {aim} | {measured} | {'met' if met else '**not met**'} |"

    rows = []
    for found in results["beside"]:
        bare = statistics.median(found["read"]) + statistics.median(found["alter"])
        ratio = statistics.median(found["sfbatch"]) / bare
        if found["partitions"] == 2000:
            rows.append(row("2,000 partitions: at most 1.2 x the bare calls", f"{ratio:.2f} x", ratio <= 1.2))
    for found in results["growing"]:
        small, large = (statistics.median(s) for s in found["seconds"])
        sizes = f"{found['small']:,} to {found['large']:,} {found['what']}"
        rows.append(row(f"{sizes}: time at most 1.3 x", f"{large / small:.2f} x", large / small <= 1.3))
        of_small, of_large = found["calls"]
        same = of_small == of_large and len(of_small) == 1
        told = f"{sum(of_small[0].values())} calls in every one" if same else f"{of_small} and {of_large}"
        rows.append(row(f"{sizes}: the same metastore calls", told, same))
    return rows


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
    options = parser.parse_args()
    smoke, results = options.smoke, {"commit": commit()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sfbatch-publishes-") as folder, lake_in(Path(folder)) as lake:
        sizes = [(20, 2)] if smoke else [(2000, 4), (10_000, 2)]
        results["beside"] = [beside_bare_calls(lake, n, runs) for n, runs in sizes]
        large = {"versions": 30, "partitions": 300} if smoke else {"versions": 10_000, "partitions": 50_000}
        results["growing"] = [as_it_grows(lake, what, 10, n, 2 if smoke else 11) for what, n in large.items()]
    results["date"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    results["minutes"] = round((time.monotonic() - started) / 60, 1)
    print(report(results))
    if not smoke:
        (HERE / "PUBLISHES.md").write_text(report(results))
        (HERE / "publishes.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
