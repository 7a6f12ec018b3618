"""1,000 writes by 8 writers on S3 while S3 and the metastore misbehave and writers are killed: nothing lost, doubled or mixed, and nobody was lied to.

`SFBATCH_TEST_WRITES`, `SFBATCH_TEST_KILLS`, `SFBATCH_TEST_SEED`; its report is `faults.json` (kept.py).
"""

import json
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import checker
import pytest
from fleet import Fleet
from hive_metastore import HiveMetastore
from jvm import LIGHT
from kept import stamp, write_report
from metastore_faults import FaultyMetastore
from plan import DAYS, TABLES, plan
from postgres import free_port
from pymetastore.hive_metastore import ttypes
from s3_store import Store, hadoop_settings
from s3a import JARS
from sfbatch.spark import CATALOG, EXTENSION, jar_path
from stock import StockSpark
from truth import Truth

WRITES = int(os.environ.get("SFBATCH_TEST_WRITES", "60"))
KILLS = int(os.environ.get("SFBATCH_TEST_KILLS", WRITES // 10))
SEED = int(os.environ.get("SFBATCH_TEST_SEED", "1"))
MINUTES = float(os.environ.get("SFBATCH_TEST_MINUTES", "120"))  # no write begins later
WRITERS = 8
RESTARTS = max(1, WRITES // 125)
DB = "faults"
#: One table has this many versions before the faults begin, so that the journal's next block (400) begins under them.
BEFORE = 390 if WRITES >= 500 else 4
#: By rollbacks to version 1, without a partition, and 2, with one: the quickest versions there are.
HISTORY = {
    -n: {"id": -n, "kind": "rollback", "table": f"{DB}.parts", "rows": {}, "to": 1 if n % 2 else 2}
    for n in range(1, BEFORE - 1)
}


def session(endpoint, **more):
    """The settings of a session."""
    return {
        "spark.master": "local[1]",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "600m",
        "spark.driver.extraClassPath": JARS.read_text(),
        "spark.sql.session.timeZone": "UTC",
        **{f"spark.hadoop.{key}": value for key, value in hadoop_settings(endpoint).items()},
        **more,
    }


def ours(metastore_uri, options):
    """Settings of a writer. Small time-outs: what is lost or held is soon looked for again."""
    return {
        "spark.driver.extraJavaOptions": " ".join([*LIGHT, *options, "-Xlog:disable"]),
        "spark.jars": str(jar_path()),
        "spark.sql.extensions": EXTENSION,
        "spark.sql.catalog.spark_catalog": CATALOG,
        "spark.sql.codegen.wholeStage": "false",  # nothing is compiled in a JVM that lives a minute
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.hadoop.hive.metastore.uris": metastore_uri,
        "spark.hadoop.hive.metastore.client.socket.timeout": "30s",
        "spark.hadoop.sfbatch.lock.heartbeat-ms": "1000",
        "spark.hadoop.sfbatch.publish.timeout-ms": "20000",
        "spark.hadoop.fs.s3a.attempts.maximum": "6",
        "spark.hadoop.fs.s3a.retry.limit": "5",
        "spark.hadoop.fs.s3a.retry.interval": "100ms",
        "spark.hadoop.fs.s3a.retry.throttle.interval": "50ms",
        "spark.hadoop.fs.s3a.connection.timeout": "20000",
        "spark.hadoop.fs.s3a.threads.max": "8",
    }


class Reader:
    """Looks at each table again and again, each time by one request of the metastore, past the proxy: where do its partitions lie?"""

    def __init__(self, uri):
        self._uri, self._ended, self.reads = uri, threading.Event(), {table: [] for table in TABLES}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ended.wait(0.5):
            for table, (_, partitioned) in TABLES.items():
                asked = time.time()
                try:
                    with checker.Metastore(self._uri) as client:
                        if partitioned:
                            shown = {tuple(p.values): p.sd.location for p in client.get_partitions(DB, table, -1)}
                        else:
                            shown = {(): checker.table_of(client, DB, table).sd.location}
                except Exception:  # it is being restarted
                    continue
                below = {key: place.partition(f"/{table}/")[2] for key, place in shown.items()}
                seen = {key: place for key, place in below.items() if place != "_sfbatch/empty"}
                reads = self.reads[table]
                if reads and reads[-1][2] == seen:
                    reads[-1] = (reads[-1][0], asked, seen)
                else:
                    reads.append((time.time(), asked, seen))

    def end(self):
        self._ended.set()
        self._thread.join()


@pytest.mark.timeout(600 + 12 * WRITES)
def test_writes_under_faults(tmp_path, capsys):
    seconds = time.monotonic()

    def say(text):
        with capsys.disabled():
            print(f"{time.monotonic() - seconds:7.1f} s  {text}", flush=True)

    store = Store(tmp_path / "store")
    place = Path(
        tempfile.mkdtemp(prefix="sfbatch-faults-")
    )  # PostgreSQL does not run as root, and pytest's directories are root's
    metastore = HiveMetastore(
        "2.3.9", "postgres", place, JARS.read_text().split(":"), hadoop_settings(store.endpoint)
    ).start()
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("s3_faults.py")), store.endpoint, str(port), str(SEED)]
    s3_faults = subprocess.Popen([*command, str(tmp_path / "s3_faults.json")])
    writers = None
    try:
        with FaultyMetastore(metastore.uri, SEED) as proxy:
            writers = prepared_fleet(tmp_path, metastore, proxy, store.endpoint, f"http://127.0.0.1:{port}")
            say("the tables are there; the faults begin")
            reader = Reader(metastore.uri)
            proxy.troubled = True
            s3_faults.send_signal(signal.SIGUSR1)
            restarts = under_faults(writers, metastore, say)
            proxy.troubled = False
            s3_faults.send_signal(signal.SIGUSR2)
            proxy.wait_for_late_ones()
            time.sleep(13)  # and those of S3
            reader.end()
            say("the faults are over; recover")
            for table in TABLES:
                answer = writers.writers[0].do({"kind": "recover", "table": f"{DB}.{table}", "attempt": "0.1"})
                assert answer == "done", "recover failed"
        writers.close()
        s3_faults.terminate()
        s3_faults.wait()
        say("the truth")
        (tmp_path / "seen.pickle").write_bytes(pickle.dumps((reader.reads, proxy.changes, proxy.met)))
        report, found = judged(tmp_path, store, metastore, writers, reader, proxy, restarts)
        report["seconds"] = round(time.monotonic() - seconds)
        write_report("faults", report, whole=writers.count >= 1000)
        say(json.dumps(report["outcomes"]))
        assert not found, f"{tmp_path} is kept; " + "\n".join(found[:50])
    finally:
        s3_faults.kill()
        if writers:
            writers.close()
        metastore.close()
        store.close()


def prepared_fleet(folder, metastore, proxy, endpoint, faulty_endpoint):
    """The tables, made by a first session whose classes are archived, so that the 100 that follow start in half the time."""
    with checker.Metastore(metastore.uri) as client:
        client.create_database(ttypes.Database(name=DB, locationUri=f"s3a://lake/{DB}"))
    archive = folder / "classes.jsa"

    def fleet(writers, option, endpoint):
        settings = folder / f"{option}.json"
        settings.write_text(json.dumps(session(endpoint, **ours(proxy.uri, [f"-XX:{option}={archive}"]))))
        return Fleet(writers, folder, settings)

    first = fleet(1, "ArchiveClassesAtExit", endpoint)
    (writer,) = first.writers
    for table, (columns, partitioned) in TABLES.items():
        ops = [{"kind": "create", "columns": columns}]
        ops += [{"kind": "append", "id": 0, "partitioned": partitioned, "rows": {DAYS[0] if partitioned else "": 1}}]
        for attempt, op in enumerate(ops):
            assert writer.do({**op, "table": f"{DB}.{table}", "attempt": f"0.{table}{attempt}"}) == "done", table
    for number, op in HISTORY.items():
        assert writer.do({**op, "attempt": f"{number}.1"}) == "done", op
    writer.end()
    assert archive.exists(), "the JVM archived no classes"
    return fleet(WRITERS, "SharedArchiveFile", faulty_endpoint)


def under_faults(writers, metastore, say):
    """All writes; the metastore is killed and started again in between. How often."""
    writers.run(plan(SEED, WRITES, KILLS, WRITERS, DB), time.monotonic() + 60 * MINUTES)
    restarts, told = 0, 0
    while writers.running:
        time.sleep(1)
        assert not writers.errors, writers.errors
        if writers.count >= (restarts + 1) * WRITES / (RESTARTS + 1) and restarts < RESTARTS:
            metastore.stop()
            time.sleep(2)
            metastore.start()
            restarts += 1
        if writers.count >= told + 25:
            told = writers.count
            say(
                f"{told} writes, {writers.kills} kills, {restarts} restarts, {statistics.median(writers._usual):.1f} s a write"
            )
    assert not writers.errors, writers.errors
    return restarts


def ledger_of(writers, folder):
    """attempt -> what its writer said last."""
    told = {}
    for path in sorted(folder.glob("writer-*.jsonl")):
        for line in path.read_text().splitlines():
            said = json.loads(line)
            told[said["attempt"]] = {**told.get(said["attempt"], {}), "says": "killed"} | (
                said if said["says"] != "begins" else {"to": said["to"], "began": said["at"]}
            )
    return told


def judged(folder, store, metastore, writers, reader, proxy, restarts):
    """The report, and everything that is not as it must be."""
    mirror = store.mirror(folder / "mirror")
    ledger = ledger_of(writers, folder)
    ops = {op["id"]: op for one in plan(SEED, WRITES, KILLS, WRITERS, DB) for op in one}
    changes = changes_of(proxy)
    found, tables, expected, reads, explained = [], {}, {}, 0, Counter()
    for table, (_, partitioned) in TABLES.items():
        found += [f"{table}: {line}" for line in checker.problems(metastore.uri, DB, table, mirror)]
        first = {"id": 0, "kind": "append", "table": f"{DB}.{table}", "rows": {DAYS[0] if partitioned else "": 1}}
        truth = Truth(mirror / "lake" / DB / table, {**ops, 0: first, **HISTORY}, ledger)
        found += [f"{table}: {line}" for line in truth.problems()]
        by_late, wrong = truth.misread(reader.reads[table], changes[table])
        found += [f"{table} {line}" for line in wrong]
        reads, explained = reads + len(reader.reads[table]), explained + by_late
        last = truth.rows[max(truth.rows)]
        tables[table] = {
            "versions": len(truth.entries), "aborted": len(truth.aborted), "rows": sum(map(len, last.values())),
            "operations": dict(Counter(entry["operation"] for entry in truth.entries)),
        }  # fmt: skip
        expected[table] = [[op, k, *values] for values, rows in last.items() for op, k in rows]
    found += stock_differs(folder, store, metastore, expected)
    under_faults = [one for attempt, one in ledger.items() if int(attempt.split(".")[0]) > 0]
    said = Counter(one["code"] if one["says"] == "failed" else one["says"] for one in under_faults)
    others = Counter(one["text"][:160] for one in under_faults if one["says"] == "failed" and one["code"] == "OTHER")
    if any(writer.deaths for writer in writers.writers):
        found.append("a writer died by itself: see its log")
    s3_requests = json.loads((folder / "s3_faults.json").read_text())
    found += too_little(writers, said, reader, restarts, proxy.met, s3_requests)
    report = {
        **stamp(), "metastore": "Hive 2.3.9 on PostgreSQL", "seed": SEED, "writers": WRITERS, "writes": writers.count, "attempts": len(under_faults), "kills": writers.kills,
        "metastore_restarts": restarts, "outcomes": dict(said.most_common()), "spark_errors": dict(others.most_common(12)), "tables": tables,
        "states_seen_by_readers": reads, "of_which_by_a_late_call": explained["late"], "of_which_by_an_overtaken_writer": explained["overtaken"], "median_s": round(statistics.median(writers.took_s), 2),
        "p99_s": round(statistics.quantiles(writers.took_s, n=100)[98], 2), "late_changes": sum(late for *_, late in proxy.changes),
        "metastore_calls": dict(sorted(proxy.met.items())), "s3_requests": s3_requests,
        "problems": found,
    }  # fmt: skip
    return report, found


def too_little(writers, said, reader, restarts, *met):
    """A run in which little happened proves little."""
    if writers.count < WRITES and "SFBATCH_TEST_MINUTES" not in os.environ:
        yield f"{writers.count} of {WRITES} writes began"
    if said["done"] < 0.8 * writers.count:
        yield f"{said['done']} of {writers.count} writes were done"
    if writers.kills < 0.9 * KILLS * writers.count / WRITES or not restarts:
        yield f"{writers.kills} kills, {restarts} restarts of the metastore"
    yield from (f"no reader saw {table}" for table, reads in reader.reads.items() if not reads)
    for kind in ("lose", "cut", "late", "throttled", "conflict", "lost", "broken_off"):
        if not any(times for counts in met for name, times in counts.items() if kind in name):
            yield f"no request met the fault {kind}"


def changes_of(proxy):
    """table -> [(sent, answered, {values: place below the root, None when it leaves}, late)] of what the metastore carried out."""
    changes = {table: [] for table in TABLES}
    for began, ended, name, sent, late in proxy.changes:
        if name == "alter_table_with_environment_context":
            table, shown = sent.tbl_name, {(): sent.new_tbl.sd.location}
        elif name == "drop_partitions_req":
            table = sent.req.tblName
            shown = {(one.partition("=")[2],): None for one in sent.req.parts.names}
        else:
            parts = sent.new_parts
            table, shown = parts[0].tableName, {tuple(part.values): part.sd.location for part in parts}
        places = {key: place and place.partition(f"/{table}/")[2] for key, place in shown.items()}
        empty = {key: None if place == "_sfbatch/empty" else place for key, place in places.items()}
        changes[table].append((began, ended, empty, late))
    return changes


def stock_differs(folder, store, metastore, expected):
    """What a stock Spark reads in the end, against what the journal and the writers' intents say; `expected`: table -> rows."""
    conf = folder / "stock"
    conf.mkdir()
    settings = session(store.endpoint).items()
    (conf / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in settings))
    stock = StockSpark(metastore.uri, folder, env={"SPARK_CONF_DIR": str(conf)})
    try:
        for table, rows in expected.items():
            seen = sorted(stock.sql(f"SELECT * FROM {DB}.{table}"))
            if seen != sorted(rows):
                yield f"{table}: a stock session reads {len(seen)} rows, not the {len(rows)} there must be"
    finally:
        stock.close()
