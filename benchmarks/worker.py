"""A process with one warm Spark session, for the contenders that share its configuration; answers one request at a time and must do nothing between."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, ONE_MONTH
from lake import DATABASE, Lake


def cause(error: Exception) -> str:
    """What Java's innermost exception says, of an error that py4j reports."""
    said = str(error).strip().splitlines()
    causes = [line.strip() for line in said if line.startswith(("Caused by", ": "))]
    last = (causes or said or [repr(error)])[-1].removeprefix(": ")[:300]
    return re.sub(r"(file:)?/\S*?/build/bench", "...", last)


class Worker:
    """The parent's end: `worker.call("timed", "sfbatch", "rewrite", 0)`."""

    def __init__(self, process: str, lake: Lake, uri: str, memory: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, process, lake, uri, memory), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, method: str, *arguments: Any) -> Any:
        self.connection.send((method, arguments))
        ok, answer = self.connection.recv()
        if not ok:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        self.connection.send(("close", ()))
        self.process.join(30)


class Session:
    """The child's end."""

    def __init__(self, process: str, lake: Lake, uri: str, memory: str) -> None:
        from pyspark.sql import SparkSession

        self.lake = lake
        self.log = lake.log(f"{process}.log")
        builder = (
            SparkSession.builder.appName(f"bench {process}")
            .master("local[2]")
            .config("spark.driver.memory", memory)
            .config("spark.driver.host", "127.0.0.1")
            .config(
                "spark.driver.extraJavaOptions",
                # The whole heap from the start, or the collection before each run gives pages back, and taking them again is measured;
                # and a collector that works only while the program stands still: G1's threads on two cores double the spread.
                f"-Xms{memory} -XX:+AlwaysPreTouch -XX:+UseParallelGC -Dlog4j2.configurationFile={Path(__file__).parent / 'log4j2.properties'} -Dbench.log={self.log}",
            )
            .config("spark.ui.enabled", "false")
            .config("spark.local.dir", str(lake.work / "tmp"))
            .config("spark.sql.warehouse.dir", f"file:{lake.home}/warehouse")
            .config("spark.hadoop.hive.metastore.uris", uri)
        )
        for name, value in lake.settings().items():
            builder = builder.config(name, value)
        mine = [c for c in CONTENDERS.values() if c.process == process]
        self.spark = mine[0].configure(builder, lake, uri).getOrCreate()
        place = f"LOCATION '{lake.place('database')}'" if lake.s3 else ""
        self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {DATABASE} {place}")
        self.contenders = {c.name: c(lake, self.spark) for c in mine}

    def ready(self) -> dict[str, str]:
        """Versions, for the report."""
        jvm = self.spark._jvm
        return {
            "spark": self.spark.version,
            "scala": jvm.scala.util.Properties.versionNumberString(),
            "hadoop": jvm.org.apache.hadoop.util.VersionInfo.getVersion(),
            "java": jvm.java.lang.System.getProperty("java.version"),
        }

    def prepare(self) -> int:
        return self.lake.prepare(self.spark)

    def create(self, name: str) -> None:
        self.contenders[name].create()

    def create_many(self, name: str) -> float:
        started = time.perf_counter()
        self.contenders[name].create_many()
        return time.perf_counter() - started

    def count(self, name: str) -> int:
        return self.contenders[name].count()

    def together(self, name: str, writers: int, turns: int) -> dict[str, Any]:
        """So many threads at once, each overwriting a partition of its own `turns` times; what each write took, and what was refused."""
        from pyspark.sql.functions import lit

        contender = self.contenders[name]
        taken: list[float] = []
        refused: list[str] = []
        rows = self.spark.read.parquet(str(self.lake.source_one)).limit(1000)

        def write(writer: int) -> None:
            month = f"2100{writer + 1:02}"
            started = time.perf_counter()
            try:
                contender.write(rows.withColumn("shipmonth", lit(month)), month)()
                taken.append(time.perf_counter() - started)
            except Exception as error:
                refused.append(cause(error))

        for writer in range(writers):
            write(writer)
        taken.clear()
        refused.clear()
        started = time.perf_counter()
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(lambda writer: [write(writer) for _ in range(turns)], range(writers)))
        return {"seconds": time.perf_counter() - started, "taken": taken, "refused": refused}

    def reads(self, plain: str, ours: str) -> list[dict[str, Any]]:
        import reads

        return reads.compare(self.spark, plain, ours)

    def timed(self, name: str, task: str, run: int) -> dict[str, Any]:
        """One measured write. Garbage and dirty pages of whoever ran before are not this contender's cost."""
        contender = self.contenders[name]
        read = self.spark.read.parquet
        if task in ("floor", "rewrite"):
            write = contender.write(read(str(self.lake.source)), None)
        elif task == "one":
            write = contender.write(read(str(self.lake.source_one)), ONE_MONTH)
        else:
            # A partition of its own for each run, far from the one before.
            i = (run + 1) * 997 % self.lake.many
            write = contender.write_many(read(str(self.lake.seed)), i, static=task == "many_static")
        self.spark._jvm.System.gc()
        os.sync()
        logged = self.log.stat().st_size if self.log.exists() else 0
        began, started = time.time(), time.perf_counter()
        write()
        seconds = time.perf_counter() - started
        answer: dict[str, Any] = {"seconds": seconds}
        if name == "sfbatch":
            answer["steps"] = steps(self.log, logged, began, began + seconds)
        return answer

    def close(self) -> None:
        self.spark.stop()


def steps(log: Path, offset: int, began: float, ended: float) -> dict[str, float]:
    """Seconds up to each step since the one before, from the log of `sfbatch.Step`."""
    with log.open() as file:
        file.seek(offset)
        lines = [line.split(maxsplit=3) for line in file if " DEBUG Step " in line]
    moments = [(words[3].partition(":")[0], int(words[0]) / 1000) for words in lines]
    found: dict[str, float] = {}
    before = began
    for step, at in [*moments, ("returned", ended)]:
        found[step] = found.get(step, 0) + at - before
        before = at
    return found


def _serve(connection: Any, process: str, lake: Lake, uri: str, memory: str) -> None:
    with lake.log(f"{process}.out").open("w") as out:
        os.dup2(out.fileno(), sys.stdout.fileno())
        os.dup2(out.fileno(), sys.stderr.fileno())
    session: Session | None = None
    while True:
        method, arguments = connection.recv()
        try:
            session = session or Session(process, lake, uri, memory)
            connection.send((True, getattr(session, method)(*arguments)))
        except Exception:
            connection.send((False, traceback.format_exc()))
        if method == "close":
            return
