"""Sessions that really run: pip's PySpark, a SPARK_HOME, spark-submit --jars, after another session, and stock readers beside them."""

import os
import subprocess
import sys
from pathlib import Path

from sfbatch import jar_path
from sfbatch.installed import installed_spark

WRITE = """
spark.range(3).selectExpr("id", "id % 2 day").write.format("sfbatch").partitionBy("day").saveAsTable("{db}.t")
print("rows", spark.table("{db}.t").count())
"""


def test_a_table_written_by_us_is_read_by_stock_spark(spark, stock_spark, db, tree):
    spark.range(4).selectExpr("id", "id % 2 day").write.format("sfbatch").partitionBy("day").saveAsTable(f"{db}.t")
    assert stock_spark.sql(f"SELECT count(*), sum(id) FROM {db}.t WHERE day = 1") == [[2, 4]]
    location = spark.sql(f"DESCRIBE FORMATTED {db}.t").where("col_name = 'Location'").first()[1]
    assert {path.split("/")[0] for path in tree(location)} == {"0", "1"}


def test_a_running_stock_session_reads_the_new_rows_on_its_next_query(spark, stock_spark, db):
    spark.range(4).selectExpr("id", "id % 2 day").write.format("sfbatch").partitionBy("day").saveAsTable(f"{db}.t")
    assert stock_spark.sql(f"SELECT count(*) FROM {db}.t") == [[4]]
    spark.sql(f"INSERT OVERWRITE {db}.t PARTITION (day = 1) SELECT 99L")
    assert stock_spark.sql(f"SELECT id, day FROM {db}.t ORDER BY id") == [[0, 0], [2, 0], [99, 1]]


def test_a_spark_home_and_findspark(metastore, spark, db, run_driver):
    script = f"import findspark; findspark.init()\nfrom conftest import small_session\nspark = small_session()\n{WRITE.format(db=db)}"
    assert "rows 3" in run_driver(script, env={"SPARK_HOME": str(installed_spark().home)}).out


def test_spark_submit_with_the_jar(metastore, spark, db, tmp_path):
    script = f"from conftest import small_session\nspark = small_session()\n{WRITE.format(db=db)}"
    ended = spark_submit(tmp_path, script, "--jars", str(jar_path()))
    assert "rows 3" in ended.stdout, ended.stderr[-3000:]


def test_spark_submit_without_the_jar_is_refused_by_name(metastore, tmp_path):
    ended = spark_submit(tmp_path, "from conftest import small_session\nspark = small_session()")
    assert ended.returncode != 0
    assert "[SFBATCH_SPARK_RUNNING]" in ended.stdout + ended.stderr
    assert "--jars" in ended.stdout + ended.stderr


def test_a_session_already_running_without_sfbatch_is_refused_by_name(metastore, run_driver):
    ended = run_driver("""
from pyspark.sql import SparkSession
SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
from conftest import small_session
try:
    small_session()
except Exception as error:
    print(error.code)
""")
    assert ended.out.strip() == "SFBATCH_SPARK_RUNNING"


def test_a_second_session_of_the_same_process(metastore, spark, db, run_driver):
    script = (
        f"from conftest import small_session\nsmall_session().stop()\nspark = small_session()\n{WRITE.format(db=db)}"
    )
    assert "rows 3" in run_driver(script).out


def spark_submit(folder, script, *options):
    (folder / "job.py").write_text(script)
    home = installed_spark().home
    conf = [
        word
        for pair in (
            "spark.master=local[1]",
            "spark.ui.enabled=false",
            "spark.driver.memory=700m",
            "spark.driver.host=127.0.0.1",
        )
        for word in ("--conf", pair)
    ]
    return subprocess.run(
        [home / "bin" / "spark-submit", *conf, *options, folder / "job.py"],
        cwd=folder, env={**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_installed_product_is_the_wheel():
    import sfbatch

    assert "site-packages" in Path(sfbatch.__file__).parts
