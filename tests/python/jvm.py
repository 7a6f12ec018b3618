"""How the tests' JVMs, which live a minute, start in half the time: `python jvm.py` archives the classes that a session loads (AppCDS)."""

import os
import sys
import tempfile
from pathlib import Path

ARCHIVE = Path(sys.prefix) / "classes.jsa"
LIGHT = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
#: Without the archive, or with that of another class path, they only start slower: hence no warning.
QUICK = [*LIGHT, f"-XX:SharedArchiveFile={ARCHIVE}", "-Xlog:disable"]


def load_metastore_classes(spark):
    """Those of the server: a metastore within the session's JVM, in memory."""
    conf = spark._jvm.org.apache.hadoop.hive.conf.HiveConf()
    for key, value in {
        "hive.metastore.uris": "",
        "javax.jdo.option.ConnectionURL": "jdbc:derby:memory:classes;create=true",
        "datanucleus.schema.autoCreateAll": "true",
        "datanucleus.connectionPoolingType": "HikariCP",
        "hive.metastore.schema.verification": "false",
    }.items():
        conf.set(key, value)
    client = spark._jvm.org.apache.hadoop.hive.metastore.HiveMetaStoreClient(conf)
    client.getAllDatabases()


def make_archive():
    from pyspark.sql import SparkSession
    from sfbatch import configure_spark, local_metastore

    with tempfile.TemporaryDirectory() as home:
        os.environ["SFBATCH_HOME"] = home
        made = Path(home) / "classes.jsa"
        options = " ".join([*LIGHT, f"-XX:ArchiveClassesAtExit={made}", "-Xlog:disable"])
        builder = SparkSession.builder.master("local[2]").config("spark.driver.extraJavaOptions", options)
        spark = configure_spark(builder.config("spark.ui.enabled", "false")).getOrCreate()
        spark.sparkContext.setLogLevel("ERROR")
        rows = spark.range(9).selectExpr("id", "cast(id % 3 as string) day")
        rows.write.format("sfbatch").mode("append").partitionBy("day").save("default.t")
        rows.write.format("sfbatch").mode("append").save("default.t")
        spark.sql("SELECT day, count(*) FROM t GROUP BY day ORDER BY day").collect()
        load_metastore_classes(spark)
        driver = spark.sparkContext._gateway.proc
        spark.stop()
        driver.stdin.close()  # it ends, and writes the archive
        driver.wait()
        local_metastore.stop()
        made.replace(ARCHIVE)


if __name__ == "__main__":
    make_archive()
