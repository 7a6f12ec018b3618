"""Half an hour of mixed work on one table of 50,000 partitions on S3: memory, requests of S3, metastore calls and latencies at its end are those of its begin.

`SFBATCH_TEST_MINUTES`, `SFBATCH_TEST_PARTITIONS`, `SFBATCH_TEST_SEED`; its report is `soak.json` (kept.py).
"""

import json
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import checker
import pytest
from conftest import small_session
from hive_metastore import HiveMetastore
from kept import stamp, write_report
from metastore_proxy import Proxy
from pymetastore.hive_metastore import ttypes
from s3_proxy import Handler, Server
from s3_store import Store, hadoop_settings
from s3a import JARS

MINUTES = float(os.environ.get("SFBATCH_TEST_MINUTES", "30"))
PARTITIONS = int(os.environ.get("SFBATCH_TEST_PARTITIONS", "50000"))
SEED = os.environ.get("SFBATCH_TEST_SEED", "1")
TABLE = "soak.t"
#: Of 100 statements. `dropped`: somebody drops a partition behind our back, then it is written again.
MIX = {"append": 40, "overwrite": 35, "new": 10, "dropped": 10, "rollback": 5}
#: Statements that do not count: the JVMs load their classes.
WARM_UP = 20
#: The last fifth against the first: what a JVM's and a machine's moods may do. Calls and requests have no moods.
SLACK = 1.3
#: A rollback reads the journal from the checkpoint before its target on: up to so many entries.
BETWEEN_CHECKPOINTS = 100


@pytest.mark.timeout(60 * MINUTES + 3000)
def test_nothing_grows(tmp_path, capsys):
    def say(text):
        with capsys.disabled():
            print(text, flush=True)

    store = Store(tmp_path / "store")
    s3 = Server(Handler.before(store.endpoint)).start()
    place = Path(tempfile.mkdtemp(prefix="sfbatch-soak-"))  # PostgreSQL does not run as root
    metastore = HiveMetastore("2.3.9", "postgres", place, JARS.read_text().split(":"), hadoop_settings(store.endpoint))
    session = None
    try:
        with Proxy(metastore.start().uri) as proxy:
            began = time.monotonic()
            hive_table(metastore.uri, tmp_path / "store" / "objects" / "lake" / "soak" / "t")
            say(f"{PARTITIONS} partitions of a Hive table after {time.monotonic() - began:.0f} s")
            os.chdir(tmp_path)
            hadoop = {"hive.metastore.uris": proxy.uri, **hadoop_settings(s3.endpoint)}
            session = small_session(
                **{f"spark.hadoop.{key}": value for key, value in hadoop.items()},
                **{"spark.driver.extraClassPath": JARS.read_text()},
            )
            began = time.monotonic()
            session.sql(f"CALL sfbatch.adopt(table => '{TABLE}')")
            say(f"adopted in {time.monotonic() - began:.0f} s, {dict(s3.met)}")
            samples = soaked(session, metastore, proxy, s3, say)
        say("the checker")
        problems = checker.problems(metastore.uri, *TABLE.split("."), store.mirror(tmp_path / "mirror"))
        report, grown = compared(samples)
        whole = MINUTES >= 30 and PARTITIONS >= 50000
        write_report("soak", {**report, "problems": problems + grown}, whole=whole)
        say(json.dumps(report, indent=1))
        assert not problems + grown
    finally:
        if session:
            session.stop()
        metastore.close()
        store.close()


def day(number):
    return f"d{number:06d}"


def hive_table(uri, root):
    """An ordinary Hive table of text, as somebody else left it: a directory and a row in each partition. `root` is where the server of S3 keeps `s3a://lake/soak/t`."""
    columns = [ttypes.FieldSchema(name="id", type="bigint"), ttypes.FieldSchema(name="item", type="string")]
    text = ttypes.SerDeInfo(
        serializationLib="org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe", parameters={"serialization.format": "1"}
    )

    def storage(location):
        return ttypes.StorageDescriptor(
            cols=columns, location=f"s3a://lake/soak/{location}", inputFormat="org.apache.hadoop.mapred.TextInputFormat",
            outputFormat="org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat", serdeInfo=text, numBuckets=-1,
            bucketCols=[], sortCols=[], parameters={}, skewedInfo=ttypes.SkewedInfo([], [], {}), compressed=False,
        )  # fmt: skip

    with checker.Metastore(uri) as client:
        client.create_database(ttypes.Database(name="soak", locationUri="s3a://lake/soak"))
        keys = [ttypes.FieldSchema(name="day", type="string")]
        client.create_table(
            ttypes.Table(dbName="soak", tableName="t", owner="ada", sd=storage("t"), partitionKeys=keys, parameters={"EXTERNAL": "TRUE"}, tableType="EXTERNAL_TABLE")
        )  # fmt: skip
        for start in range(0, PARTITIONS, 200):
            some = [day(number) for number in range(start, min(start + 200, PARTITIONS))]
            for value in some:
                folder = root / f"day={value}"
                folder.mkdir(parents=True)
                (folder / "000000_0").write_text("0\x01hive\n")
            client.add_partitions(
                [ttypes.Partition(dbName="soak", tableName="t", values=[value], sd=storage(f"t/day={value}"), parameters={}) for value in some]
            )  # fmt: skip


def soaked(session, metastore, proxy, s3, say):
    """[{kind, took_s, calls, requests, driver_mb, metastore_mb}] of each statement, in order."""
    dice, samples, newest = random.Random(f"soak {SEED}"), [], PARTITIONS
    ends, told = time.monotonic() + 60 * MINUTES, 0.0
    while time.monotonic() < ends:
        kind = dice.choices(list(MIX), MIX.values())[0]
        days = [day(number) for number in dice.sample(range(PARTITIONS), 5)]
        if kind == "new":
            days, newest = [day(newest)], newest + 1
        if kind == "dropped":
            with checker.Metastore(metastore.uri) as client:
                client.drop_partition("soak", "t", days[:1], False)
        rows = ", ".join(f"({len(samples)}, 'x', '{one}')" for one in days)
        statement = {
            "append": f"INSERT INTO {TABLE} VALUES {rows}",
            "rollback": f"CALL sfbatch.rollback(table => '{TABLE}', to => {last_version(session) - 1 if kind == 'rollback' else 0})",
        }.get(kind, f"INSERT OVERWRITE {TABLE} VALUES {rows}")
        asked, before = Counter(s3.met), len(proxy.calls)
        began, cpu = time.monotonic(), cpu_s(driver_pid(session), metastore.pid)
        session.sql(statement).collect()
        took, cpu = time.monotonic() - began, cpu_s(driver_pid(session), metastore.pid) - cpu
        calls = Counter(
            call for call in proxy.calls[before:] if call not in {"heartbeat", "check_lock", "shutdown", "set_ugi"}
        )
        sample = {"kind": kind, "took_s": took, "cpu_s": cpu, "calls": sum(calls.values()), "requests": s3.met - asked}
        if time.monotonic() > told + 30:
            told = time.monotonic()
            sample |= {"driver_mb": heap_mb(driver_pid(session)), "metastore_mb": heap_mb(metastore.pid)}
            say(f"{len(samples)} statements, {sample}")
        samples.append(sample)
    return samples


def last_version(session):
    return session.sql(f"CALL sfbatch.history(table => '{TABLE}', limit => 1)").collect()[0][0]


def driver_pid(session):
    return session._jvm.java.lang.ProcessHandle.current().pid()


def cpu_s(*pids):
    """What the processes have computed so far: neighbours on the machine do not change it much."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(user) + int(system) for user, system in (some[11:13] for some in fields)) / os.sysconf("SC_CLK_TCK")


def heap_mb(pid):
    """The heap in use after a full collection."""
    subprocess.run(["jcmd", str(pid), "GC.run"], check=True, capture_output=True)
    told = subprocess.run(["jcmd", str(pid), "GC.heap_info"], check=True, capture_output=True, text=True).stdout
    return (
        sum(
            int(used)
            for used in re.findall(r"^ [\w -]*(?:generation|heap)\s+total \d+K, used (\d+)K", told, re.MULTILINE)
        )
        // 1024
    )


def compared(samples):
    """The report, and what grew between the first and the last fifth."""
    samples = samples[WARM_UP:]
    fifth = len(samples) // 5
    ends = {"first": samples[:fifth], "last": samples[-fifth:]}
    report, grown = (
        {
            **stamp(),
            "minutes": MINUTES,
            "partitions": PARTITIONS,
            "statements": len(samples),
        },
        [],
    )
    values = {name: defaultdict(list) for name in ends}
    for name, some in ends.items():
        for sample in some:
            values[name][f"{sample['kind']} s"].append(sample["took_s"])
            values[name][f"{sample['kind']} CPU s"].append(sample["cpu_s"])
            values[name][f"{sample['kind']} metastore calls"].append(sample["calls"])
            values[name][f"{sample['kind']} S3 requests"].append(sum(sample["requests"].values()))
            for heap in ("driver_mb", "metastore_mb"):
                if heap in sample:
                    values[name][heap].append(sample[heap])
    for measure in sorted(values["first"].keys() & values["last"].keys()):
        first, last = (statistics.median(values[name][measure]) for name in ends)
        report[measure] = {"first": round(first, 3), "last": round(last, 3)}
        allowed = first if measure.endswith(("calls", "requests")) else first * SLACK
        if measure == "rollback S3 requests":
            allowed += BETWEEN_CHECKPOINTS
        if last > allowed:
            grown.append(f"{measure}: {first} in the first fifth, {last} in the last")
    return report, grown
