"""What every contender shares: rows to write, one metastore server, places for tables; must not favour any of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sfbatch import local_metastore

#: lineitem's columns, and the month it is partitioned by.
LINEITEM = (
    "l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber int, l_quantity decimal(15,2), "
    "l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2), l_returnflag string, "
    "l_linestatus string, l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct string, "
    "l_shipmode string, l_comment string"
)
DATABASE = "bench"
ONE_MONTH = "199501"
MANY_COLUMNS = "id bigint, amount double, note string"


@dataclass(frozen=True)
class Lake:
    """A directory with all of it. `scale` is TPC-H's: 0.5 is 3.0 M rows; `many` is the size of the table of small partitions.

    `s3`: the endpoint of the S3 server that has the tables; None: they lie on local disk.
    """

    work: Path
    scale: float
    many: int
    s3: str | None = None

    @property
    def home(self) -> Path:
        """SFBATCH_HOME of the metastore."""
        return self.work / "home"

    @property
    def tables(self) -> Path:
        """Where contenders put what they write."""
        return self.work / "tables"

    def place(self, name: str) -> str:
        """Where the table of that name lies."""
        return f"s3a://lake/{name}" if self.s3 else f"file:{self.tables / name}"

    def settings(self) -> dict[str, str]:
        """What every session needs to reach the tables."""
        if self.s3 is None:
            return {}
        s3a = {
            "endpoint": self.s3,
            "endpoint.region": "us-east-1",
            "path.style.access": "true",
            "connection.ssl.enabled": "false",
            "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            "access.key": "any",
            "secret.key": "any",
            "directory.marker.retention": "keep",
            "connection.maximum": "20000",  # Hudi leaves them open, and runs out of 500 too
            "committer.name": "magic",
            "committer.magic.enabled": "true",
        }
        jars = (Path(__file__).parents[1] / "build/s3-3.5.classpath").read_text()
        return {"spark.driver.extraClassPath": jars} | {f"spark.hadoop.fs.s3a.{k}": v for k, v in s3a.items()}

    @property
    def source(self) -> Path:
        """Lineitem as tpchgen-cli made it, with a column `shipmonth`; in the order of the orders, so every task meets every month."""
        return self.work / f"data/source-{self.scale}"

    @property
    def source_one(self) -> Path:
        """The rows of one month."""
        return self.work / f"data/one-{self.scale}"

    @property
    def seed(self) -> Path:
        """The rows of one small partition."""
        return self.work / "data/seed"

    @property
    def ivy(self) -> Path:
        """Where the peers' jars are kept."""
        return self.work / "ivy"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.work / f"log/{name}"

    def anew(self) -> str:
        """Forget the tables of the run before; return the URI of a fresh metastore, the embedded default of the wheel."""
        local_metastore.stop(self.home)
        for old in (self.home, self.tables, self.work / "log"):
            shutil.rmtree(old, ignore_errors=True)
        for new in (self.tables, self.work / "log"):
            new.mkdir(parents=True)
        return local_metastore.start(self.home).uri

    def generate(self) -> None:
        """TPC-H lineitem by tpchgen-cli, kept for the next run."""
        raw = self.work / f"data/tpch-{self.scale}"
        if not (raw / "lineitem.parquet").exists():
            raw.mkdir(parents=True, exist_ok=True)
            command = [str(Path(sys.executable).parent / "tpchgen-cli"), "parquet", "--scale-factor", str(self.scale)]
            command += ["--tables", "lineitem", "--output-dir", str(raw)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def prepare(self, spark) -> int:
        """Write the sources by a stock session, kept for the next run; return how many rows there are."""
        from pyspark.sql import functions as f

        if not (self.source / "_SUCCESS").exists():
            raw = spark.read.parquet(str(self.work / f"data/tpch-{self.scale}"))
            rows = raw.withColumn("shipmonth", f.date_format("l_shipdate", "yyyyMM"))
            rows.coalesce(4).write.mode("overwrite").parquet(str(self.source))
        rows = spark.read.parquet(str(self.source))
        if not (self.source_one / "_SUCCESS").exists():
            rows.where(f.col("shipmonth") == ONE_MONTH).coalesce(1).write.mode("overwrite").parquet(
                str(self.source_one)
            )
        if not (self.seed / "_SUCCESS").exists():
            seed = spark.range(100).selectExpr("id", "id * 1.5D AS amount", "concat('note ', id) AS note")
            seed.coalesce(1).write.mode("overwrite").parquet(str(self.seed))
        return rows.count()

    def many_directory(self, name: str) -> Path:
        """A directory with `many` partition directories, each with a hard link of the seed's one file."""
        table = self.tables / name
        file = next(self.seed.glob("*.parquet"))
        for i in range(self.many):
            partition = table / f"part={many_value(i)}"
            partition.mkdir(parents=True)
            (partition / file.name).hardlink_to(file)
        return table


def many_value(i: int) -> str:
    return f"p{i:05d}"
