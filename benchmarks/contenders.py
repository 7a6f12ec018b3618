"""The contenders: how each makes its table and writes it, by the fastest documented way of its own that was found."""

# ruff: noqa: ARG002, ARG004
from __future__ import annotations

from abc import ABC, abstractmethod

from lake import DATABASE, LINEITEM, MANY_COLUMNS, ONE_MONTH, Lake, many_value

DELTA = "io.delta:delta-spark_2.12:3.3.3"
ICEBERG = "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.12.0"
HUDI = "org.apache.hudi:hudi-spark3.5-bundle_2.12:1.2.0"


class Contender(ABC):
    """One way to keep a partitioned table. `before` is not timed, what it returns is called and timed."""

    name = ""
    title = ""
    #: Contenders of one process share a session.
    process = ""

    def __init__(self, lake: Lake, spark) -> None:
        self.lake, self.spark = lake, spark
        self.table = f"{DATABASE}.lineitem_{self.name}"
        self.location = lake.place(f"lineitem_{self.name}")

    @staticmethod
    def configure(builder, lake: Lake, uri: str):
        return builder.enableHiveSupport()

    def create(self) -> None:  # noqa: B027
        """Make the table, without a partition; nothing where the first write makes it."""

    @abstractmethod
    def write(self, rows, month: str | None):
        """Return what writes `rows`: all months, or one."""

    def count(self) -> int:
        return self.spark.table(self.table).count()


class Bare(Contender):
    """Parquet files and one `alter_partitions` made ready beforehand: less cannot be done, and nothing protects it."""

    name = process = "bare"
    title = "bare Parquet + metastore calls"

    @staticmethod
    def configure(builder, lake, uri):
        if lake.s3:
            cloud = "org.apache.spark.internal.io.cloud"
            builder = builder.config(
                "spark.sql.sources.commitProtocolClass", f"{cloud}.PathOutputCommitProtocol"
            ).config("spark.sql.parquet.output.committer.class", f"{cloud}.BindingParquetOutputCommitter")
        return builder.enableHiveSupport()

    def create(self) -> None:
        self.spark.sql(
            f"CREATE EXTERNAL TABLE {self.table} ({LINEITEM}) PARTITIONED BY (shipmonth string) STORED AS PARQUET LOCATION '{self.location}'"
        )
        jvm = self.spark._jvm
        conf = self.spark._jsc.hadoopConfiguration()
        self.client = jvm.org.apache.hadoop.hive.metastore.HiveMetaStoreClient(
            jvm.org.apache.hadoop.hive.conf.HiveConf(
                conf, jvm.java.lang.Class.forName("org.apache.hadoop.hive.conf.HiveConf")
            )
        )
        self.no_statistics = jvm.org.apache.hadoop.hive.metastore.api.EnvironmentContext(
            jvm.java.util.HashMap({"DO_NOT_UPDATE_STATS": "true"})
        )
        self.runs = 0

    def write(self, rows, month):
        self.runs += 1
        target = f"{self.location}/{self.runs}"
        known = [
            p
            for p in self.client.listPartitions(DATABASE, f"lineitem_{self.name}", -1)
            if month in (None, p.getValues()[0])
        ]
        moved = self.spark._jvm.java.util.ArrayList()
        for partition in known:
            partition.getSd().setLocation(f"{target}/shipmonth={partition.getValues()[0]}")
            moved.add(partition)

        def run() -> None:
            rows.write.partitionBy("shipmonth").parquet(target)
            if known:
                self.client.alter_partitions(DATABASE, f"lineitem_{self.name}", moved, self.no_statistics)

        return run if known else lambda: (run(), self.add(target))

    def add(self, target: str) -> None:
        """The first time: add_partitions."""
        path = self.spark._jvm.org.apache.hadoop.fs.Path(target)
        found = path.getFileSystem(self.spark._jsc.hadoopConfiguration()).listStatus(path)
        months = sorted(f.getPath().getName() for f in found if "=" in f.getPath().getName())
        specs = [f"PARTITION (shipmonth='{month.partition('=')[2]}') LOCATION '{target}/{month}'" for month in months]
        self.spark.sql(f"ALTER TABLE {self.table} ADD {' '.join(specs)}")


class SfBatch(Contender):
    """Our own: a fresh batch directory in each partition, published at once."""

    name = process = "sfbatch"
    title = "sfbatch"

    @staticmethod
    def configure(builder, lake, uri):
        import sfbatch

        return sfbatch.configure_spark(builder)

    def create(self) -> None:
        self.spark.sql(
            f"CREATE TABLE {self.table} ({LINEITEM}, shipmonth string) USING sfbatch PARTITIONED BY (shipmonth) LOCATION '{self.location}'"
        )

    def write(self, rows, month):
        return lambda: rows.write.format("sfbatch").mode("overwrite").save(self.table)

    def create_many(self) -> None:
        many_partitions(self.spark, self.lake, self.name)
        self.spark.sql(f"CALL sfbatch.adopt(table => '{DATABASE}.many_{self.name}')").collect()

    def write_many(self, rows, i: int, static: bool):
        return insert_into(self.spark, f"{DATABASE}.many_{self.name}", rows, i, static)


class Hive(Contender):
    """A managed Hive table, `insertInto` as Spark 3.5 does it by default: its own Parquet writer, in place of the old files."""

    name = process = "hive"
    title = "Hive table, Spark's insertInto"
    native = "true"

    def create(self) -> None:
        self.spark.sql(f"CREATE TABLE {self.table} ({LINEITEM}) PARTITIONED BY (shipmonth string) STORED AS PARQUET")

    def write(self, rows, month):
        self.mode()
        return lambda: rows.write.mode("overwrite").insertInto(self.table)

    def mode(self) -> None:
        self.spark.conf.set("spark.sql.hive.convertInsertingPartitionedTable", self.native)
        self.spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
        self.spark.conf.set("hive.exec.dynamic.partition.mode", "nonstrict")

    def create_many(self) -> None:
        many_partitions(self.spark, self.lake, self.name)

    def write_many(self, rows, i: int, static: bool):
        self.mode()
        return insert_into(self.spark, f"{DATABASE}.many_{self.name}", rows, i, static)


class HiveSerde(Hive):
    """The same through Hive's own writer and `loadDynamicPartitions`, as Hive itself would."""

    name = "hive_serde"
    title = "Hive table, Hive's INSERT OVERWRITE"
    native = "false"


class Delta(Contender):
    """Delta Lake, its table in the same metastore."""

    name = process = "delta"
    title = "Delta Lake"

    @staticmethod
    def configure(builder, lake, uri):
        return (
            builder.config("spark.jars.packages", DELTA)
            .config("spark.jars.ivy", str(lake.ivy))
            .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
            .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
            .enableHiveSupport()
        )

    def create(self) -> None:
        self.spark.sql(
            f"CREATE TABLE {self.table} ({LINEITEM}, shipmonth string) USING delta PARTITIONED BY (shipmonth) LOCATION '{self.location}'"
        )

    def write(self, rows, month):
        writer = rows.write.format("delta").mode("overwrite")
        if month:
            writer = writer.option("replaceWhere", f"shipmonth = '{month}'")
        # saveAsTable also writes to the metastore, and fails when others do at the same time.
        return lambda: writer.save(self.location)


class Iceberg(Contender):
    """Apache Iceberg, its Hive catalog on the same metastore; Snappy as all others, and no shuffle before the write, as none of them has one."""

    name = process = "iceberg"
    title = "Apache Iceberg"

    def __init__(self, lake: Lake, spark) -> None:
        super().__init__(lake, spark)
        self.table = f"ice.{self.table}"

    @staticmethod
    def configure(builder, lake, uri):
        return (
            builder.config("spark.jars.packages", ICEBERG)
            .config("spark.jars.ivy", str(lake.ivy))
            .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
            .config("spark.sql.catalog.ice", "org.apache.iceberg.spark.SparkCatalog")
            .config("spark.sql.catalog.ice.type", "hive")
            .config("spark.sql.catalog.ice.uri", uri)
            .config("spark.sql.catalog.ice.warehouse", lake.place("ice"))
            .enableHiveSupport()
        )

    def create(self) -> None:
        self.spark.sql(
            f"CREATE TABLE {self.table} ({LINEITEM}, shipmonth string) USING iceberg PARTITIONED BY (shipmonth) LOCATION '{self.location}' "
            "TBLPROPERTIES ('write.parquet.compression-codec'='snappy', 'write.distribution-mode'='none')"
        )

    def write(self, rows, month):
        return lambda: rows.writeTo(self.table).overwritePartitions()


class Hudi(Contender):
    """Apache Hudi, copy on write: `insert_overwrite` replaces the partitions that the rows have. Read by its path, it asks no metastore."""

    name = process = "hudi"
    title = "Apache Hudi"

    @staticmethod
    def configure(builder, lake, uri):
        return (
            builder.config("spark.jars.packages", HUDI)
            .config("spark.jars.ivy", str(lake.ivy))
            .config("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
            .config("spark.kryo.registrator", "org.apache.spark.HoodieSparkKryoRegistrar")
            .enableHiveSupport()
        )

    def write(self, rows, month):
        options = {
            "hoodie.table.name": f"lineitem_{self.name}",
            "hoodie.datasource.write.operation": "insert_overwrite",
            "hoodie.datasource.write.partitionpath.field": "shipmonth",
            "hoodie.parquet.compression.codec": "snappy",
        }
        return lambda: rows.write.format("hudi").options(**options).mode("append").save(self.location)

    def count(self) -> int:
        return self.spark.read.format("hudi").load(self.location).count()


def many_partitions(spark, lake: Lake, name: str) -> None:
    """A Hive table of `lake.many` partitions: directories with hard links of one file, found by MSCK REPAIR TABLE."""
    table = f"{DATABASE}.many_{name}"
    location = lake.many_directory(f"many_{name}")
    spark.sql(
        f"CREATE EXTERNAL TABLE {table} ({MANY_COLUMNS}) PARTITIONED BY (part string) STORED AS PARQUET LOCATION '{location}'"
    )
    spark.sql(f"MSCK REPAIR TABLE {table}")


def insert_into(spark, table: str, rows, i: int, static: bool):
    """One small partition: `insertInto` of rows that carry its value, or INSERT OVERWRITE that names it."""
    if static:
        rows.createOrReplaceTempView("small")
        return lambda: spark.sql(
            f"INSERT OVERWRITE TABLE {table} PARTITION (part='{many_value(i)}') SELECT * FROM small"
        )
    valued = rows.selectExpr("*", f"'{many_value(i)}' AS part")
    return lambda: valued.write.mode("overwrite").insertInto(table)


CONTENDERS: dict[str, type[Contender]] = {c.name: c for c in (Bare, SfBatch, Hive, HiveSerde, Delta, Iceberg, Hudi)}
WITH_MANY = ("sfbatch", "hive", "hive_serde")
__all__ = ["CONTENDERS", "ONE_MONTH", "WITH_MANY", "Contender"]
