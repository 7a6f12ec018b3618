"""Runs in a process of its own: a stock Spark session that answers one JSON line on a pipe per JSON line; knows nothing of sfbatch."""

import json
import sys
import traceback


def main():
    uri, read_fd, write_fd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    from jvm import QUICK
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").appName("stock").enableHiveSupport()
    for key, value in {
        "spark.hadoop.hive.metastore.uris": uri,
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "700m",
        "spark.python.authenticate.socketTimeout": "120s",
        "spark.driver.extraJavaOptions": " ".join(QUICK),
    }.items():
        builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    scope = {"spark": spark}
    with open(read_fd) as requests, open(write_fd, "w") as answers:
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in requests:
            request = json.loads(line)
            try:
                if "sql" in request:
                    value = [list(row) for row in spark.sql(request["sql"]).collect()]
                else:
                    scope.pop("result", None)
                    exec(request["code"], scope)
                    value = scope.get("result")
                answer = {"value": value}
            except Exception:
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer, default=str), file=answers, flush=True)
    spark.stop()


main()
